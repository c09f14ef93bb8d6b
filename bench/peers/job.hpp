#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

#include "../report.hpp"

namespace bench {

/// One of the jobs of the comparison, as peers between processes do it: the host asks for result 0, 1, 2 ... `all`,
/// of its workers in turn, and takes them in the same order. The body takes the same time for each, so nothing is
/// faster; and whoever deals in turn needs no sequencer.
struct Job {
  int workers;
  std::uint64_t all;                                      // with the warm-up
  std::uint64_t in_flight;                                // asked for and not yet taken, at most
  std::size_t bytes;                                      // of a result
  void (*make)(std::uint64_t number, std::byte* result);  // in a worker
  std::function<void(const std::byte* result)> take;      // in the host

  /// How many results a worker is asked for.
  std::uint64_t share(int worker) const {
    const auto all_workers = static_cast<std::uint64_t>(workers);
    return (all + all_workers - 1 - static_cast<std::uint64_t>(worker)) / all_workers;
  }
  /// How many of them at a time, at most.
  std::uint64_t ahead() const {
    const auto all_workers = static_cast<std::uint64_t>(workers);
    return (in_flight + all_workers - 1) / all_workers;
  }
};

/// Does a job with a peer; returns when all results were taken.
using DoJob = std::function<void(const Job&)>;

/// Which of the jobs.
enum class Kind { tiny, big, round_trip };
inline constexpr Kind kKinds[] = {Kind::tiny, Kind::big, Kind::round_trip};

/// "tiny", "big", "round_trip".
std::string_view name_of(Kind kind);

/// Errors    throws std::runtime_error when the name is none of these.
Kind kind_of(std::string_view name);

/// Does it and returns its figure: results per second, GB/s, or microseconds for each message.
/// Errors    throws std::runtime_error when a result was wrong or out of its place.
double measure(Kind kind, const Options& options, const DoJob& do_job);
/// The same in a process that is only a worker: takes nothing.
void do_as_worker(Kind kind, const Options& options, const DoJob& do_job);

/// The host's part, the same for all. `send(worker, number)` asks, and must not wait when no more than Job::ahead()
/// are asked of a worker; `receive(worker)` waits for the next result of a worker and gives it to Job::take.
/// Tiny messages are asked for again when half of them are back: that wakes the workers less often.
template <class Send, class Receive>
void pass_in_turn(const Job& job, Send&& send, Receive&& receive) {
  const auto workers = static_cast<std::uint64_t>(job.workers);
  const std::uint64_t few = job.in_flight < 64 ? job.in_flight - 1 : job.in_flight / 2;
  std::uint64_t sent = 0;
  for (std::uint64_t next = 0; next < job.all; ++next) {
    if (sent - next <= few) {
      for (; sent < job.all && sent - next < job.in_flight; ++sent)
        send(static_cast<int>(sent % workers), sent);
    }
    receive(static_cast<int>(next % workers));
  }
}

}  // namespace bench
