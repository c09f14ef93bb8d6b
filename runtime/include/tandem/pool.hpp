#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <tandem/array.hpp>
#include <tandem/audit.hpp>
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
  bool is_large() const noexcept { return stride() >= kLargeBlock; }

  /// Errors    throws Error as ArraysLayout does.
  static BlockLayout of_arrays(std::vector<ArraySpec> arrays);
  template <class T>
  static BlockLayout of_struct() {
    static_assert(alignof(T) <= kAlign, "what lives in a block is aligned to 64 bytes at most");
    BlockLayout layout;
    layout.output_bytes = sizeof(T);
    return layout;
  }

  static constexpr std::size_t kAlign = 64;
  static constexpr std::size_t kLargeBlock = 32 * 1024;
};

/// Where the blocks of a node lie: `areas` equal parts of the segment, each with room for all `count` blocks
/// that can be lent at a time. A worker process can write the area of its own number only, so that a stray pointer
/// reaches no other worker's items. Areas are address space; pages exist for `count` blocks in all
/// (small blocks share pages, and may have them in every area).
struct BlockAreas {
  std::size_t offset = 0;  // in the segment, in bytes; a multiple of a page
  std::size_t stride = 0;
  std::uint32_t count = 0;
  std::uint32_t areas = 1;

  std::size_t area_bytes() const noexcept { return round_up(stride * count, Segment::page_bytes()); }
  std::size_t bytes() const noexcept { return area_bytes() * areas; }
  std::size_t area_offset(std::uint32_t area) const noexcept { return offset + area * area_bytes(); }
  /// block: its number over all areas.
  std::size_t block_offset(std::uint32_t block) const noexcept {
    return area_offset(block / count) + (block % count) * stride;
  }
};

/// The ledger of one node: its leases and the blocks that they lend. In the host only.
///
///     free + lent + withdrawn = size, whenever nothing moves
///
/// A lease lends a block of the area of the worker that it is lent for. It keeps that block when it is
/// returned, and is lent last-in-first-out, so that a consumer that keeps up works in a few hot blocks. Only
/// when an area has no free block, and no lease is without one, is a block of another area given up for a new one; where
/// there is a limit, only when it is asked for.
/// Threads   take(), has(), give_back(), back() and audit() by one thread at a time (the crew's lock);
///           ended() by any thread at any time.
class Pool final : public LeaseOwner {
 public:
  enum class Backing { backed, refused };

  Pool(std::string node, Segment& segment, const BlockLayout& layout, const BlockAreas& where);

  /// A lease with a block of this area, or null when all are lent: then on_returned runs at the next
  /// return. Its reference count, root and contents are the caller's to set.
  [[nodiscard]] Lease* take(std::uint32_t area) noexcept {
    Lease* const lease = limit_ == kNoLimit ? table_.take(area) : nullptr;  // as nearly always
    return lease != nullptr ? lease : take_or_want(area);
  }
  /// The same for an item that needs no block, because it carries an error.
  [[nodiscard]] Lease* take_any() noexcept;
  /// Whether take() would find one without giving up a block of another area.
  [[nodiscard]] bool has(std::uint32_t area) noexcept {
    return is_below_limit(area) && (table_.any(area) || table_.any(unbound()));
  }
  /// The same; where there is none, on_returned runs at the next return.
  [[nodiscard]] bool has_or_wants(std::uint32_t area) noexcept;
  /// From now on, take() lends so many at a time, and does not give up a block of another area for one of its own. Each area has its
  /// part of them, so that the same blocks are lent again and again; one at least. All of them are no limit: then any area may have any
  /// number.
  void limit(std::uint32_t blocks) noexcept {
    if (limit_ != blocks) share_out(blocks, favoured_);
  }
  /// The same; what is over when each has as many goes to this area first.
  void limit(std::uint32_t blocks, std::uint32_t favoured) noexcept { share_out(blocks, favoured); }
  /// Nobody takes blocks of this area any more: the others share the limit.
  void leave_out(std::uint32_t area) noexcept;
  /// Whether fewer of the area are lent than its part of the limit.
  [[nodiscard]] bool is_below_limit(std::uint32_t area) noexcept {
    return limit_ >= usable() || areas_[area].bound - table_.length(area) < areas_[area].part;
  }
  /// Whether one has come back since the last look at a list. By any thread; a hint.
  [[nodiscard]] bool has_returned() const noexcept { return table_.has_returned(); }
  /// Takes a block that is not lent from another area, so that take() finds a lease for this one. False: all are lent.
  bool give_up_one_for(std::uint32_t area) noexcept;
  /// Returns a lease that was taken and never handed on.
  void give_back(Lease& lease) noexcept;
  /// Makes sure that the lease's block has pages. A refused lease can carry an error, no value.
  [[nodiscard]] Backing back(Lease& lease) noexcept { return lease.backed ? Backing::backed : back_now(lease); }
  /// A worker with this area has ended by itself or was killed: what it wrote where no block is lent has taken pages that
  /// nobody counts, and they are given back to the system.
  void scrub(std::uint32_t area) noexcept;
  /// Puts a lease that was taken aside for good, because its block got no pages.
  void withdraw(Lease& lease) noexcept;

  Lease& at(std::uint32_t index) noexcept { return table_.at(index); }
  std::uint32_t size() const noexcept { return table_.size(); }
  std::uint32_t usable() const noexcept { return size() - withdrawn_; }
  std::uint32_t withdrawn() const noexcept { return withdrawn_; }
  std::uint32_t free() noexcept { return table_.free(); }
  /// Leases in somebody's hands, counted now; exact only while nothing moves. O(size).
  std::uint32_t lent() const noexcept;
  const BlockLayout& layout() const noexcept { return layout_; }
  std::byte* block(const Lease& lease) const noexcept { return lease.memory; }
  int refusal() const noexcept { return refusal_; }
  /// Adds this node's numbers, and what is wrong with them.
  void audit(Audit& audit);

  void entered_graph() noexcept override {}
  void left_graph(std::span<const Departure>) noexcept override {}
  void ended(Lease& lease) noexcept override;

  /// Called by the thread that returns a lease after take() found none. Must not block.
  std::function<void()> on_returned;

 private:
  static constexpr std::uint32_t kNoLimit = 0xFFFFFFFFU;

  struct Area {
    std::uint32_t fresh = 0;           // blocks from here on were never lent
    std::vector<std::uint32_t> given;  // blocks before it that no lease has any more
    std::uint32_t bound = 0;           // leases that have one
    std::uint32_t part = 1;            // of the limit: how many are lent at a time
    bool left_out = false;
    std::size_t backed_bytes = 0;  // of small blocks: pages exist from the area's beginning to here
  };

  std::uint32_t unbound() const noexcept { return where_.areas; }  // the list of leases without a block
  template <class Find>
  auto find_or_want(Find find) noexcept;
  Lease* take_or_want(std::uint32_t area) noexcept;
  Lease* find(std::uint32_t area) noexcept;
  void share_out(std::uint32_t limit, std::uint32_t favoured) noexcept;
  void bind(Lease& lease, std::uint32_t area);
  void unbind(Lease& lease);
  Backing back_now(Lease& lease) noexcept;
  Backing back_small(Lease& lease) noexcept;

  // Constant after construction.
  const std::string node_;
  Segment& segment_;
  const BlockLayout layout_;
  const bool large_;  // blocks do not share pages
  const BlockAreas where_;

  LeaseTable table_;

  // Guarded by the crew's lock.
  std::vector<Area> areas_;
  std::uint32_t withdrawn_ = 0;
  std::uint32_t limit_ = kNoLimit;
  std::uint32_t favoured_ = 0;
  int refusal_ = 0;  // errno of the first block that the system refused

  // Shared.
  std::atomic<bool> wanted_{false};
};

}  // namespace tandem
