#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/version.hpp>
#include <fmt/format.h>

#include "peer.hpp"
#include "workers.hpp"

// Boost.Interprocess: two queues for each worker, each with room for all that can be in it, so that no send ever
// waits. A message is copied in and out: such is its interface. Arrays are made in one warm array and copied into
// another.

namespace bench {
namespace {

namespace ipc = boost::interprocess;

// Made before the workers are forked, which share its mapping; its name is gone at once.
std::unique_ptr<ipc::message_queue> nameless_queue(std::uint64_t room, std::size_t bytes) {
  const std::string name = fmt::format("tandem_bench_{}", getpid());
  auto queue = std::make_unique<ipc::message_queue>(ipc::create_only, name.c_str(), room, bytes);
  ipc::message_queue::remove(name.c_str());
  return queue;
}

struct Queues {
  std::unique_ptr<ipc::message_queue> requests, results;
};

void do_job(const Job& job) {
  std::vector<Queues> queues;
  for (int worker = 0; worker < job.workers; ++worker) {
    queues.push_back({nameless_queue(job.ahead(), sizeof(std::uint64_t)),
                      nameless_queue(job.ahead(), job.bytes)});
  }
  std::vector<std::byte> array(job.bytes);
  unsigned int priority = 0;
  std::size_t came = 0;
  fork_workers(job.workers, [&](int worker) {
    const Queues& mine = queues[static_cast<std::size_t>(worker)];
    for (std::uint64_t left = job.share(worker); left > 0; --left) {
      std::uint64_t number = 0;
      mine.requests->receive(&number, sizeof number, came, priority);
      job.make(number, array.data());
      mine.results->send(array.data(), array.size(), 0);
    }
  });
  pass_in_turn(
      job,
      [&](int worker, std::uint64_t number) {
        queues[static_cast<std::size_t>(worker)].requests->send(&number, sizeof number, 0);
      },
      [&](int worker) {
        queues[static_cast<std::size_t>(worker)].results->receive(array.data(), array.size(), came, priority);
        job.take(array.data());
      });
}

}  // namespace

Peer message_queue_peer() {
  return by_processes("Boost.Interprocess message_queue", "message_queue",
                      fmt::format("Boost {}.{}.{}", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000,
                                  BOOST_VERSION % 100),
                      do_job);
}

}  // namespace bench
