#include <tandem/circulation.hpp>

#include <algorithm>

namespace tandem {
namespace {

// Below, cache is not what it is about: as many blocks as there are in this are lent whenever they are wanted.
constexpr std::size_t kAlwaysInCache = 8 << 20;
// A wait of this part of a message's time is worth a trial.
constexpr double kWorthATrial = 0.1;
// One of this part is worth it so many times as soon: a consumer may keep one, and let the workers take turns.
constexpr double kWorthATrialSoon = 0.4;
constexpr std::uint32_t kSooner = 8;
constexpr std::uint32_t kLook = 16;  // messages of each worker
constexpr std::uint32_t kMostLooks = 256;
constexpr std::uint32_t kFirstTrial = 4;  // looks before it
// So many times each block is lent before what was in the cache before a trial is not any more.
constexpr std::uint32_t kSettle = 2;
// More are kept when they bring so much at least; they take memory, too.
constexpr double kGain = 0.95;
// Bounds of longest_wait(), and how many messages' time it is between them.
constexpr std::chrono::milliseconds kShortestLongWait{3};
constexpr std::chrono::milliseconds kLongestLongWait{20};
constexpr std::uint64_t kLongWait = 4;
// A wait that is longer was somebody's rest, or the machine's.
constexpr std::chrono::nanoseconds kLongestCounted = kLongestLongWait;

// One for each worker at least.
std::uint32_t blocks_in_cache(std::size_t block_bytes, std::uint32_t blocks, std::uint32_t workers) {
  const std::size_t fit =
      std::max<std::size_t>(kAlwaysInCache / std::max<std::size_t>(block_bytes, 1), workers);
  return static_cast<std::uint32_t>(std::min<std::size_t>(fit, std::max<std::uint32_t>(blocks, 1)));
}

}  // namespace

Circulation::Circulation(std::size_t block_bytes, std::uint32_t blocks, std::uint32_t workers) noexcept
    : most_{std::max<std::uint32_t>(blocks, 1)},
      least_{blocks_in_cache(block_bytes, blocks, workers)},
      look_{kLook * workers},
      few_{std::max<std::uint32_t>(workers / 2, 1)},
      limit_{least_},
      longest_wait_{kShortestLongWait},
      try_less_after_{look_},
      try_more_after_{kFirstTrial * look_},
      step_{few_} {}

void Circulation::raise() noexcept {
  std::uint32_t limit = limit_ + a_few();
  if (trial_ == Trial::less) {
    try_less_after_ = later(try_less_after_);
    tries_half_ = false;
    limit = std::max(limit, before_);
  }
  set_limit(std::min(most_, limit), Trial::none);
}

std::uint32_t Circulation::fewer() const noexcept {
  const std::uint32_t above = limit_ - least_;
  return limit_ - std::min(above, std::max(a_few(), tries_half_ ? (above + 1) / 2 : 0));
}

std::uint32_t Circulation::a_few() const noexcept { return std::max(limit_ / 4, few_); }

std::uint32_t Circulation::later(std::uint32_t after) const noexcept {
  return std::min(after * 2, look_ * kMostLooks);
}

void Circulation::set_limit(std::uint32_t limit, Trial trial) noexcept {
  before_ = limit_;
  cost_before_ = lends_ == 0 ? 0 : costs_ / lends_;
  limit_ = limit;
  trial_ = trial;
  first_ = kSettle * limit;
  lends_ = 0;
  waits_ = 0;
  costs_ = 0;
}

void Circulation::lend(std::chrono::nanoseconds waited, std::uint64_t service_nanoseconds) noexcept {
  longest_wait_ =
      std::clamp<std::chrono::nanoseconds>(std::chrono::nanoseconds{kLongWait * service_nanoseconds},
                                           kShortestLongWait, kLongestLongWait);
  const auto wait = static_cast<double>(std::min(waited, kLongestCounted).count());
  if (first_ > 0) {
    --first_;
    return;
  }
  ++lends_;
  waits_ += wait;
  costs_ += wait + static_cast<double>(service_nanoseconds);
  judge();
}

void Circulation::judge() noexcept {
  const double cost = costs_ / lends_;
  if (trial_ != Trial::none) {
    if (lends_ < look_) return;
    const bool more = trial_ == Trial::more;
    const bool right = more ? cost < kGain * cost_before_ : kGain * cost <= cost_before_;
    std::uint32_t& again = more ? try_more_after_ : try_less_after_;
    again = right ? (more ? kFirstTrial : 1) * look_ : later(again);
    if (!more) tries_half_ = right;
    // Where a few more bring nothing, twice as many may: a consumer that keeps some needs more than those.
    if (more) step_ = right || limit_ == most_ ? few_ : step_ * 2;
    if (!right) return set_limit(before_, Trial::none);
    trial_ = Trial::none;
  }
  const std::uint32_t more_after =
      waits_ > kWorthATrialSoon * costs_ ? try_more_after_ / kSooner : try_more_after_;
  if (lends_ >= more_after && limit_ < most_ && waits_ > kWorthATrial * costs_)
    return set_limit(std::min(limit_ + step_, most_), Trial::more);
  if (lends_ >= try_less_after_ && limit_ > least_) return set_limit(fewer(), Trial::less);
  // Older messages count for less and less.
  if (lends_ >= 2 * std::max(try_less_after_, try_more_after_)) {
    lends_ /= 2;
    waits_ /= 2;
    costs_ /= 2;
  }
}

}  // namespace tandem
