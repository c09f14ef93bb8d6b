#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include <fmt/format.h>

#include "fill.hpp"
#include "median.hpp"
#include "report.hpp"
#include "setup.hpp"

namespace bench {

/// Counts what comes, and takes the time from the end of the warm-up to the last of it.
class Consumer {
 public:
  using Clock = std::chrono::steady_clock;

  Consumer(std::uint64_t warm_up, std::uint64_t timed) : warm_up_{warm_up}, all_{warm_up + timed} {}

  std::uint64_t all() const noexcept { return all_; }
  /// The number of the message whose result must be the next one.
  std::uint64_t next() const noexcept { return next_; }

  void count(bool right) noexcept {
    wrong_ += right ? 0 : 1;
    ++next_;
    if (next_ == warm_up_) begin_ = Clock::now();
    if (next_ == all_) end_ = Clock::now();
  }

  /// Errors    throws std::runtime_error unless all results came, each right and in its place.
  double per_second() const {
    if (next_ != all_ || wrong_ != 0) {
      throw std::runtime_error(fmt::format("{} of {} results came, {} of them wrong or out of order", next_,
                                           all_, wrong_));
    }
    return static_cast<double>(all_ - warm_up_) / std::chrono::duration<double>(end_ - begin_).count();
  }

 private:
  const std::uint64_t warm_up_, all_;
  std::uint64_t next_ = 0;
  std::uint64_t wrong_ = 0;
  Clock::time_point begin_, end_;
};

/// What a tiny message becomes.
struct Result {
  std::uint64_t number;
  std::uint64_t words[7];
};
static_assert(sizeof(Result) == 64);

/// The body of every tiny variant: next to nothing, so that the way is what is measured.
inline void make(const Message& message, Result& result) noexcept {
  result.number = message.number;
  for (std::uint64_t i = 0; i < 7; ++i) result.words[i] = message.number * (2 * i + 3);
}

/// Round trips before the clock starts.
inline constexpr std::uint64_t kTripsBefore = 500;

/// Looks at every word of each result. rate() is results per second.
class TinyConsumer : public Consumer {
 public:
  explicit TinyConsumer(const Options& options)
      : Consumer{10 * std::uint64_t{options.in_flight}, options.messages} {}
  /// For any number of them.
  using Consumer::Consumer;

  void take(const Result& result) noexcept {
    std::uint64_t wrong = result.number ^ next();
    for (std::uint64_t i = 0; i < 7; ++i) wrong |= result.words[i] ^ (next() * (2 * i + 3));
    count(wrong == 0);
  }

  double rate() const { return per_second(); }
};

/// One message at a time: trip() is how long one takes from the end of the one before, in microseconds, the median of all. Looks at the clock
/// each time, which counts too.
class TripConsumer : public TinyConsumer {
 public:
  explicit TripConsumer(const Options& options) : TinyConsumer{kTripsBefore, options.trips} {
    ends_.reserve(all());
  }

  void take(const Result& result) {
    TinyConsumer::take(result);
    ends_.push_back(Clock::now());
  }

  double trip() const {
    per_second();  // throws if one of them was wrong
    std::vector<double> trips;
    for (std::size_t number = kTripsBefore; number < ends_.size(); ++number)
      trips.push_back(std::chrono::duration<double, std::micro>(ends_[number] - ends_[number - 1]).count());
    return median(trips);
  }

 private:
  std::vector<Clock::time_point> ends_;
};

/// Until all arrays have been touched, and who lends them knows how many it needs.
inline std::uint64_t big_warm_up(const Options& options) noexcept {
  return 50 * std::uint64_t{options.big_in_flight};
}

/// Looks at 65 bytes of each array. rate() is GB/s (10^9 bytes).
class BigConsumer : public Consumer {
 public:
  explicit BigConsumer(const Options& options) : Consumer{big_warm_up(options), options.arrays} {}

  void take(const std::byte* array) noexcept { count(is_filled(array, next())); }

  double rate() const { return per_second() * static_cast<double>(kBigBytes) / 1e9; }
};

}  // namespace bench
