#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace tandem {

/// Whether to give way for a moment before going to sleep. A wake-up across processors costs tens of
/// microseconds; where work comes every few, both sides would do little else than sleep and wake. So a
/// side that is about to sleep first lets others run (sched_yield(2), no busy loop while anybody else
/// could use the processor), for about as long as a wake-up costs. When that was in vain it sleeps
/// straight away the next few times, and twice as many each time that it is in vain again, until it finds something that has come
/// already. It also was in vain when the others took much longer to give the processor back: who sleeps is rung when something
/// comes, and gets it sooner.
/// What comes right after it has given way once came from another processor, perhaps, while this one was in the kernel. So who may spin
/// looks for a microsecond or two before it gives way the next time, and goes on doing so as long as that is how things come.
/// Threads   one.
class Linger {
 public:
  /// Returns true when ready() became true.
  template <class Ready>
  bool wait(Ready ready) noexcept {
    return wait(ready, kLongest, false);
  }

  /// The same, and looks for a moment before it gives way when that is how things come. Where nobody writes to what ready() looks at
  /// but to make it true, or a few microseconds before it is: to look all the time at what others change all the time takes it away from
  /// them each time.
  template <class Ready>
  bool wait_or_spin(Ready ready) noexcept {
    return wait(ready, kLongest, true);
  }

  /// The same for up to a quarter of what a worker's messages take: who comes that often loses less by it than by the wake-up of a
  /// processor that has gone to sleep.
  template <class Ready>
  bool wait_for_message(Ready ready, std::chrono::nanoseconds service) noexcept {
    return wait(ready, std::clamp<std::chrono::nanoseconds>(service / kPart, kLongest, kTooLong), true);
  }

 private:
  template <class Ready>
  bool wait(Ready& ready, std::chrono::nanoseconds longest, bool may_spin) noexcept {
    if (ready()) {  // so it comes quickly
      skip_ = 0;
      penalty_ = 1;
      return true;
    }
    if (skip_ > 0) {
      --skip_;
      return false;
    }
    if (may_spin && spins_ && spin(ready)) {
      penalty_ = 1;
      return true;
    }
    const auto begin = std::chrono::steady_clock::now();
    for (auto waited = kNone; waited < longest;) {
      if (is_ready(ready, kLooks)) {
        penalty_ = 1;
        if (waited > kNone && waited < kSoon) came_soon();
        return true;
      }
      give_way();
      waited = std::chrono::steady_clock::now() - begin;
      if (waited < kTooLong && waited >= longest && is_ready(ready, kLooks)) return true;
    }
    skip_ = penalty_;
    penalty_ = penalty_ < kMostSkipped ? penalty_ * 2 : kMostSkipped;
    return ready();
  }

  template <class Ready>
  bool spin(Ready& ready) noexcept {
    spins_ = is_ready(ready, kSpins);
    if (spins_) {
      spin_penalty_ = 1;
    } else {
      spin_skip_ = spin_penalty_;
      spin_penalty_ = spin_penalty_ < kMostSpinsSkipped ? spin_penalty_ * 2 : kMostSpinsSkipped;
    }
    return spins_;
  }
  void came_soon() noexcept {
    spins_ = spin_skip_ == 0;
    if (!spins_) --spin_skip_;
  }

  template <class Ready>
  static bool is_ready(Ready& ready, int looks) noexcept {
    for (int look = 0; look < looks; ++look) {
      if (ready()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    return false;
  }

  static constexpr std::chrono::nanoseconds kNone{0};
  static constexpr std::chrono::microseconds kLongest{30};
  static constexpr std::chrono::microseconds kTooLong{300};
  static constexpr int kPart = 4;  // of a message's time
  static constexpr std::uint32_t kMostSkipped = 128;
  static constexpr int kLooks = 4;  // before it gives way, which takes longer than some of them
  static constexpr int kSpins = 64;
  static constexpr std::uint32_t kMostSpinsSkipped = 16;
  static constexpr std::chrono::microseconds kSoon{3};
  static void give_way() noexcept;

  std::uint32_t skip_ = 0;
  std::uint32_t penalty_ = 1;
  bool spins_ = false;
  std::uint32_t spin_skip_ = 0;
  std::uint32_t spin_penalty_ = 1;
};

}  // namespace tandem
