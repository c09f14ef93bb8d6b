#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <tandem/array.hpp>
#include <tandem/lease.hpp>
#include <tandem/lease_table.hpp>
#include <tandem/segment.hpp>

namespace tandem {

/// What lies in each block of a node: [the message, if it travels by value][the output].
/// Offsets and sizes in bytes; both parts begin at a multiple of 64.
struct BlockLayout {
  std::size_t message_bytes = 0;
  std::size_t output_bytes = 0;
  std::shared_ptr<const ArraysLayout> arrays;  // null when the output is one struct

  std::size_t output_offset() const noexcept { return round_up(message_bytes, kAlign); }
  /// Distance of two blocks. Large blocks begin on a page, so that no two share one.
  std::size_t stride() const noexcept;

  static constexpr std::size_t kAlign = 64;
  static constexpr std::size_t kLargeBlock = 32 * 1024;
};

/// The ledger of one node: its leases and the blocks that they lend. In the host only.
///
///     free here + returned + lent = size, at any time
///
/// Blocks are lent last-in-first-out, so that a consumer that keeps up works in a few hot ones, and
/// get their pages when they are first lent.
/// Threads   take(), give_back() and back() by one thread at a time (the crew's lock); ended() by
///           any thread at any time.
class Pool final : public LeaseOwner {
 public:
  enum class Backing { backed, refused };

  /// Lends from `count` blocks that begin at `offset` of the segment.
  Pool(std::string node, Segment& segment, std::size_t offset, const BlockLayout& layout, std::uint32_t count);

  /// The lease used last, or null when all are lent: then on_returned runs at the next return.
  /// Its reference count, root and contents are the caller's to set.
  [[nodiscard]] Lease* take() noexcept;
  /// Returns a lease that was taken and never handed on.
  void give_back(Lease& lease) noexcept;
  /// Makes sure that the lease's block has pages. A refused lease can carry an error, no value.
  [[nodiscard]] Backing back(Lease& lease) noexcept;
  /// Puts a lease that was taken aside for good, because its block got no pages.
  void withdraw(Lease& lease) noexcept;

  Lease& at(std::uint32_t index) noexcept { return table_.at(index); }
  std::uint32_t size() const noexcept { return table_.size(); }
  std::uint32_t usable() const noexcept { return size() - withdrawn_; }
  /// Leases in somebody's hands, counted now; exact only while nothing moves. O(size).
  std::uint32_t lent() const noexcept;
  const BlockLayout& layout() const noexcept { return layout_; }
  std::byte* block(std::uint32_t index) const noexcept {
    return segment_.base() + offset_ + std::size_t{index} * stride_;
  }
  int refusal() const noexcept { return refusal_; }

  void entered_graph() noexcept override {}
  void left_graph(std::uint64_t, std::uint64_t) noexcept override {}
  void ended(Lease& lease) noexcept override;

  /// Called by the thread that returns a lease after take() found none. Must not block.
  std::function<void()> on_returned;

 private:
  // Constant after construction.
  const std::string node_;
  Segment& segment_;
  const std::size_t offset_;
  const BlockLayout layout_;
  const std::size_t stride_;

  LeaseTable table_;

  // Guarded by the crew's lock.
  std::size_t backed_bytes_ = 0;  // pages exist for [offset_, offset_ + backed_bytes_)
  std::uint32_t withdrawn_ = 0;
  int refusal_ = 0;  // errno of the first block that the system refused

  // Shared.
  std::atomic<bool> wanted_{false};
};

}  // namespace tandem
