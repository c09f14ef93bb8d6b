#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace tandem {

/// How many large blocks the workers of a node are lent at a time, all together: as few as keep them at work, since the one that a
/// consumer has just given back is still in cache. (One AMD EPYC, 2 processors: 12.6 MB are filled there in 0.13 ms, and in memory in
/// 1 ms.)
///
/// A worker that could begin a message and has no block within the limit waits for one to come back. When that takes long, a
/// few more are tried; now and then, fewer. What a message then costs, with the wait before it, decides; and what has turned out wrong
/// is tried less often. One limit for all workers, since they have the cache in common.
/// Threads   one at a time.
class Circulation {
 public:
  /// block_bytes: of each; blocks: how many there are.
  Circulation(std::size_t block_bytes, std::uint32_t blocks, std::uint32_t workers) noexcept;

  std::uint32_t limit() const noexcept { return limit_; }
  /// Whether the limit is below what there is.
  bool holds_back() const noexcept { return limit_ < most_; }

  /// Who has waited for so long waits for somebody who keeps what he has: raise() is called for. A few times as long as a message takes,
  /// since one that is earlier in the order may be with another worker, within bounds.
  std::chrono::nanoseconds longest_wait() const noexcept { return longest_wait_; }
  void raise() noexcept;
  /// A block was lent to a worker that had waited so long for it. service_nanoseconds: what a message takes the worker.
  void lend(std::chrono::nanoseconds waited, std::uint64_t service_nanoseconds) noexcept;

 private:
  enum class Trial : std::uint8_t { none, more, less };

  void set_limit(std::uint32_t limit, Trial trial) noexcept;
  void judge() noexcept;
  std::uint32_t fewer() const noexcept;
  std::uint32_t a_few() const noexcept;
  std::uint32_t later(std::uint32_t after) const noexcept;

  const std::uint32_t most_;
  const std::uint32_t least_;
  const std::uint32_t look_;  // at the cost, after so many messages
  const std::uint32_t few_;   // of them make a difference, at least
  std::uint32_t limit_;
  std::chrono::nanoseconds longest_wait_;

  // Since the limit was changed; not the first ones of a trial, which find what was before it in the cache.
  std::uint32_t first_ = 0;
  Trial trial_ = Trial::none;
  std::uint32_t lends_ = 0;
  double waits_ = 0;  // in nanoseconds, as all below
  double costs_ = 0;  // waits, and what the messages took

  std::uint32_t before_ = 0;  // the limit before the trial
  double cost_before_ = 0;    // of a message then
  std::uint32_t try_less_after_;
  std::uint32_t try_more_after_;
  std::uint32_t step_;      // how many more are tried
  bool tries_half_ = true;  // of what is more than least_; false: a few less, since half turned out wrong
};

}  // namespace tandem
