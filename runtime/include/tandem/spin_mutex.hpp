#pragma once

#include <atomic>

namespace tandem {

/// A mutex for what takes a few instructions and is seldom wanted by two at a time: where most of a message's way is locks, it costs
/// half of what others do, since to unlock it is a plain store. So nobody tells those who wait: they look again, give way, and soon
/// sleep for a moment between two looks, so that a holder that has lost the processor gets it back, whatever its priority.
class SpinMutex {
 public:
  SpinMutex() = default;
  SpinMutex(const SpinMutex&) = delete;
  SpinMutex& operator=(const SpinMutex&) = delete;

  void lock() noexcept {
    if (!try_lock()) wait();
  }
  bool try_lock() noexcept { return !locked_.exchange(true, std::memory_order_acquire); }
  void unlock() noexcept { locked_.store(false, std::memory_order_release); }

 private:
  void wait() noexcept;

  std::atomic<bool> locked_{false};
};

}  // namespace tandem
