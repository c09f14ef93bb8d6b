#include <cstddef>
#include <cstdint>
#include <vector>

#include "../shared_lines.hpp"
#include "peer.hpp"
#include "workers.hpp"

// Large arrays with nothing but what there must be: each worker makes all of its arrays in one that is shared, says so, and waits until the
// host, which sleeps meanwhile, has looked at it. So none is copied, and as few are in use as can be. It survives nothing, and nothing can
// be in flight but the arrays that are being made: no way to do the job, but the limit of all that give each worker one.

namespace bench {
namespace {

struct Desk {
  Lines& lines;
  std::byte* array;
};

void do_job(const Job& job) {
  std::vector<Desk> desks;
  for (int worker = 0; worker < job.workers; ++worker) desks.push_back({shared_lines(), map_shared(job.bytes)});
  const auto workers = static_cast<std::uint64_t>(job.workers);
  fork_workers(job.workers, [&](int worker) {
    const Desk& desk = desks[static_cast<std::size_t>(worker)];
    for (std::uint32_t turn = 1; turn <= job.share(worker); ++turn) {
      job.make((turn - 1) * workers + static_cast<std::uint64_t>(worker), desk.array);
      store_and_wake(desk.lines.there, turn);
      sleep_until(desk.lines.back, turn);
    }
  });
  for (std::uint64_t number = 0; number < job.all; ++number) {
    const Desk& desk = desks[number % workers];
    const auto turn = static_cast<std::uint32_t>(number / workers + 1);
    sleep_until(desk.lines.there, turn);
    job.take(desk.array);
    store_and_wake(desk.lines.back, turn);
  }
}

}  // namespace

Peer hand_over_peer() {
  Peer peer = by_processes("bare hand-over", "hand_over", {}, do_job);
  peer.kinds = {Kind::big};
  return peer;
}

}  // namespace bench
