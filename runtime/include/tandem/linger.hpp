#pragma once

#include <chrono>
#include <cstdint>

namespace tandem {

/// Whether to give way for a moment before going to sleep. A wake-up across processors costs tens of
/// microseconds; where work comes every few, both sides would do little else than sleep and wake. So a
/// side that is about to sleep first lets others run (sched_yield(2), no busy loop while anybody else
/// could use the processor), for about as long as a wake-up costs. When that was in vain it sleeps
/// straight away the next few times, and twice as many each time that it is in vain again.
/// Threads   one.
class Linger {
 public:
  /// Returns true when ready() became true.
  template <class Ready>
  bool wait(Ready ready) noexcept {
    if (skip_ > 0) {
      --skip_;
      return false;
    }
    const auto end = std::chrono::steady_clock::now() + kLongest;
    do {
      for (int look = 0; look < kLooks; ++look) {
        if (ready()) {
          penalty_ = 1;
          return true;
        }
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      }
      give_way();
    } while (std::chrono::steady_clock::now() < end);
    skip_ = penalty_;
    penalty_ = penalty_ < kMostSkipped ? penalty_ * 2 : kMostSkipped;
    return false;
  }

 private:
  static constexpr std::chrono::microseconds kLongest{30};
  static constexpr std::uint32_t kMostSkipped = 128;
  static constexpr int kLooks = 4;  // before it gives way, which takes longer than some of them
  static void give_way() noexcept;

  std::uint32_t skip_ = 0;
  std::uint32_t penalty_ = 1;
};

}  // namespace tandem
