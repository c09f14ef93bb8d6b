#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stdexcept>

namespace legacy {

/// Lets workers on threads go through their calls in step: each makes its first, then each its second, and so on, one at a
/// time. So there is no data race, and what goes wrong is the same in every run.
/// Threads  one for each worker; message n belongs to the group n / workers.
class Turns {
 public:
  Turns(std::uint64_t workers, std::uint64_t calls) : workers_{workers}, calls_{calls} {}

  /// Makes a message's call when its turn has come.
  /// Errors    throws when it does not come, which means that a worker is missing.
  template <class Call>
  void take(std::uint64_t message, std::uint64_t number, Call call) {
    const std::uint64_t turn = (message / workers_ * calls_ + number) * workers_ + message % workers_;
    std::unique_lock lock{mutex_};
    if (!changed_.wait_for(lock, std::chrono::seconds{30}, [&] { return turn_ == turn; }))
      throw std::runtime_error("the other workers never came to their call");
    call();
    ++turn_;
    changed_.notify_all();
  }

 private:
  const std::uint64_t workers_;
  const std::uint64_t calls_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t turn_ = 0;
};

}  // namespace legacy
