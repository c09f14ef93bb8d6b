#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace tandem {

/// When a loop that does something again and again is likely to do it next. Whoever has to act on it looks then, and
/// need not be woken: that would cost the loop more than what it does (24 us for one futex on a virtual machine whose caches are full of
/// something else; and what is pushed takes 1).
/// A loop that waits for what comes of it has nothing of that: each time that somebody had to act at once, it is left alone for a while.
/// Threads   beat() by one at a time; the rest by any.
class Rhythm {
 public:
  using Clock = std::chrono::steady_clock;

  /// It is done now. Returns whether that was to be expected at about this time.
  bool beat(Clock::time_point now) noexcept;
  /// When to look for what is done next, or once more; max(): it is not known, or has stopped.
  [[nodiscard]] Clock::time_point next_look(Clock::time_point now) const noexcept;
  /// What was expected could not wait.
  void spoil() noexcept;

 private:
  // Hints: who sees one of them old looks at the wrong time, once.
  std::atomic<std::int64_t> last_{0};    // in nanoseconds of the clock, as the next
  std::atomic<std::int64_t> period_{0};  // 0: none
  std::atomic<std::uint32_t> skip_{0};   // so many beats are not counted
  std::atomic<std::uint32_t> penalty_{1};
  bool was_expected_ = false;  // the last beat, and it counted; beat()'s own
};

}  // namespace tandem
