#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace tandem {

/// Reports bodies on threads that run past their node's deadline, while they still run: nothing can end them, but
/// somebody who wonders why nothing moves finds their thread. One thread of its own, between start() and stop().
///
/// Threads   begin() and end() of one worker by one thread at a time, whichever runs the worker; start() and
///           stop() by the crew.
/// Exact     to a millisecond: a body that is over its deadline for less may not be reported.
/// Cost      of begin() and end(): a reading of the clock and four stores, no lock, nobody woken.
class DeadlineWatch {
 public:
  DeadlineWatch(std::string node, std::chrono::nanoseconds deadline, std::size_t workers);
  ~DeadlineWatch() { stop(); }
  DeadlineWatch(const DeadlineWatch&) = delete;
  DeadlineWatch& operator=(const DeadlineWatch&) = delete;

  /// Errors    throws std::system_error when there is no thread.
  void start();
  /// Returns once nothing is reported any more. May be called twice.
  void stop() noexcept;

  /// The calling thread gives this message to that worker's body.
  void begin(std::uint32_t worker, std::uint64_t sequence) noexcept;
  /// The body has returned.
  void end(std::uint32_t worker) noexcept;

 private:
  // A worker and its message. Written by whoever runs the worker; `reported` by the watching thread, which alone
  // reads the others.
  struct alignas(64) Turn {
    std::atomic<std::int64_t> since{0};  // of the steady clock, in nanoseconds; 0: at no message
    std::atomic<std::uint64_t> sequence{0};
    std::atomic<pid_t> thread{0};
    std::int64_t reported = 0;  // `since` of the message that was reported
  };

  void run();
  std::int64_t look(std::int64_t now);
  void report(std::size_t worker, std::uint64_t sequence, pid_t thread) const;

  const std::string node_;
  const std::chrono::nanoseconds deadline_;
  std::vector<Turn> turns_;  // by worker

  std::mutex mutex_;
  std::condition_variable stopping_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace tandem
