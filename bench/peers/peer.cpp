#include "peer.hpp"

#include <utility>

namespace bench {

Peer by_processes(std::string name, std::string key, std::string version, DoJob do_job) {
  return {std::move(name),
          std::move(key),
          std::move(version),
          {},
          [job = std::move(do_job)](Kind kind, const Options& options) { return measure(kind, options, job); },
          {std::begin(kKinds), std::end(kKinds)}};
}

Peer left_out(std::string name, std::string key, std::string why) {
  return {std::move(name), std::move(key), {}, std::move(why), {}, {}};
}

#if !TANDEM_BENCH_ZEROMQ
Peer zeromq_peer() {
  return left_out("ZeroMQ, ipc", "zeromq", "cppzmq was not found when this was built (Debian: cppzmq-dev)");
}
#endif
#if !TANDEM_BENCH_ICEORYX
Peer iceoryx_peer() {
  return left_out("iceoryx", "iceoryx", "it was not found when this was built (Debian: libiceoryx-posh-dev)");
}
#endif

std::vector<Peer> all_peers() {
  std::vector<Peer> peers{pipeline_peer(), hand_over_peer(), message_queue_peer(),
                          zeromq_peer(),   iceoryx_peer(),   mpi_peer()};
  for (Peer& peer : python_peers()) peers.push_back(std::move(peer));
  return peers;
}

}  // namespace bench
