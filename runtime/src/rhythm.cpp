#include <tandem/rhythm.hpp>

#include <algorithm>
#include <utility>

namespace tandem {
namespace {

// A loop that is slower than this does not notice what a wake-up costs.
constexpr std::int64_t kLongest = 20'000'000;
// For one that is faster somebody would have to come too often.
constexpr std::int64_t kShortest = 100'000;
constexpr std::uint32_t kMostSkipped = 1024;

// After a period and these parts of one: soon for a loop that is in time, and again for one that is not.
constexpr std::int64_t kParts[] = {64, 16, 8, 4, 2};

std::int64_t earliest(std::int64_t period) { return period - period / 4; }
std::int64_t latest(std::int64_t period) { return period + period / 2; }

}  // namespace

bool Rhythm::beat(Clock::time_point now) noexcept {
  const std::int64_t at = now.time_since_epoch().count();
  const std::int64_t gap = at - last_.load(std::memory_order_relaxed);
  const std::int64_t period = period_.load(std::memory_order_relaxed);
  last_.store(at, std::memory_order_relaxed);
  const std::uint32_t skip = skip_.load(std::memory_order_relaxed);
  if (skip > 0) {
    skip_.store(skip - 1, std::memory_order_relaxed);
    return false;
  }
  std::int64_t next = 0;
  if (gap <= kLongest) next = period == 0 ? gap : (3 * period + gap) / 4;
  period_.store(next, std::memory_order_relaxed);
  const bool expected = period >= kShortest && gap >= earliest(period) && gap <= latest(period);
  const std::uint32_t penalty = penalty_.load(std::memory_order_relaxed);
  const bool was_left_alone = std::exchange(was_expected_, expected) && period != 0;  // not spoiled
  if (was_left_alone && penalty > 1) penalty_.store(penalty - 1, std::memory_order_relaxed);
  return expected;
}

void Rhythm::spoil() noexcept {
  const std::uint32_t penalty = penalty_.load(std::memory_order_relaxed);
  period_.store(0, std::memory_order_relaxed);
  skip_.store(penalty, std::memory_order_relaxed);
  penalty_.store(std::min(penalty * 2, kMostSkipped), std::memory_order_relaxed);
}

Rhythm::Clock::time_point Rhythm::next_look(Clock::time_point now) const noexcept {
  const std::int64_t period = period_.load(std::memory_order_relaxed);
  if (period < kShortest) return Clock::time_point::max();
  const std::int64_t last = last_.load(std::memory_order_relaxed);
  const std::int64_t since = now.time_since_epoch().count() - last;
  for (const std::int64_t part : kParts) {
    const std::int64_t look = period + period / part;
    if (since < look) return Clock::time_point{Clock::duration{last + look}};
  }
  return Clock::time_point::max();
}

}  // namespace tandem
