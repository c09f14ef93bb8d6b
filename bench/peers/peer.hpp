#pragma once

#include <functional>
#include <string>
#include <vector>

#include "../report.hpp"
#include "job.hpp"

namespace bench {

/// Something that Tandem is compared with.
struct Peer {
  std::string name;      // in tables
  std::string key;       // in the names of figures
  std::string version;   // of the program or library
  std::string left_out;  // why, and what to do; empty: it takes part
  std::function<double(Kind, const Options&)> measure;
  std::vector<Kind> kinds;  // the jobs that it can do
};

/// One that does all jobs, with forked workers.
Peer by_processes(std::string name, std::string key, std::string version, DoJob do_job);
/// One that is not there.
Peer left_out(std::string name, std::string key, std::string why);

Peer pipeline_peer();
Peer hand_over_peer();
Peer message_queue_peer();
Peer zeromq_peer();
Peer iceoryx_peer();
Peer mpi_peer();
std::vector<Peer> python_peers();

/// All of them, those that are left out too.
std::vector<Peer> all_peers();

}  // namespace bench
