#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <tandem/lease.hpp>

namespace tandem {

/// A fixed table of leases, lent last-in-first-out from one or several lists.
///
/// Threads   take(), any(), free() and put_back() by one thread at a time; put() by any thread at any time.
/// Fields    free_: the taker's own. returned_: pushed by put(), emptied as a whole by the taker, so
///           that no place is compared after it was reused; with it how many came back, and marks of the owner's, so that who returns one
///           learns in the same step whether anybody wants to hear of it. next_: the links of all lists, side by side: what is in
///           one is walked through without a look at the leases, which others had last.
class LeaseTable {
 public:
  /// All leases are in the last list at first. hot_first: whether take() looks for returned leases each time, and not only
  /// when its list is empty. For messages, which are small, that costs more than it brings.
  LeaseTable(LeaseOwner& owner, std::uint32_t count, std::uint32_t lists = 1, bool hot_first = false)
      : count_{count},
        leases_{std::make_unique<Lease[]>(count)},
        next_{std::make_unique<std::uint32_t[]>(count)},
        free_(lists, kNone),
        lengths_(lists, 0),
        firsts_(lists, kNone),
        lasts_(lists, kNone),
        hot_first_{hot_first} {
    touched_.reserve(lists);
    for (std::uint32_t index = count; index-- > 0;) {
      Lease& lease = leases_[index];
      lease.owner = &owner;
      lease.index = index;
      lease.list = lists - 1;
      put_back(lease);
    }
  }

  /// The lease of the list that was used last, as far as is known, or null when all of them are lent.
  [[nodiscard]] Lease* take(std::uint32_t list = 0) noexcept {
    if (hot_first_ || free_[list] == kNone) collect();
    const std::uint32_t index = free_[list];
    if (index == kNone) return nullptr;
    free_[list] = next_[index];
    --lengths_[list];
    if (next_[index] != kNone) __builtin_prefetch(&leases_[next_[index]], 1);  // it is likely to be the next
    return &leases_[index];
  }

  /// One of any list, the last before all others; null when all are lent.
  [[nodiscard]] Lease* take_any() noexcept {
    collect();
    auto list = static_cast<std::uint32_t>(free_.size());
    while (list > 0 && free_[list - 1] == kNone) --list;
    return list > 0 ? take(list - 1) : nullptr;
  }

  /// Whether take() would find one.
  [[nodiscard]] bool any(std::uint32_t list) noexcept {
    if (hot_first_ || free_[list] == kNone) collect();
    return free_[list] != kNone;
  }

  /// How many are in the list.
  [[nodiscard]] std::uint32_t length(std::uint32_t list) noexcept {
    collect();
    return lengths_[list];
  }

  /// Whether something was put() since the taker looked last. By any thread; a hint.
  [[nodiscard]] bool has_returned() const noexcept {
    return static_cast<std::uint32_t>(returned_.load(std::memory_order_relaxed)) != kNone;
  }

  /// The taker returns a lease that it never handed on.
  void put_back(Lease& lease) noexcept { put_back(place_of(lease)); }

  /// What one word says beside which leases came back last.
  struct Returns {
    std::uint32_t count = 0;  // kFirstCount, and how many ever came back by put(), modulo kCounts
    std::uint32_t marks = 0;  // the owner's, kMarks of them
  };
  static constexpr int kMarks = 4;
  static constexpr std::uint32_t kCounts = std::uint32_t{1} << (32 - kMarks);
  /// Where the count begins: every program sees it overflow, and not only one that has run for a minute.
  static constexpr std::uint32_t kFirstCount = kCounts - 1000;

  /// Any thread returns a lease. Returns what the word says from then on.
  Returns put(Lease& lease) noexcept {
    Returns after;
    put_if(lease, [&after](Returns now) {
      after = now;
      return true;
    });
    return after;
  }
  /// The same, if `may` agrees to what the word would say from then on. Otherwise nothing is done, and it returns false.
  template <class May>
  bool put_if(Lease& lease, May may) noexcept {
    const std::uint32_t index = place_of(lease);
    std::uint64_t last = returned_.load(std::memory_order_acquire);
    std::uint64_t now = 0;
    // RETURN(lease): release for the next holder; seq_cst for the second look, see collect(), and for CREDIT.
    do {
      now = ((last & ~kPlaces) | index) + kOne;
      if (!may(read(now))) return false;
      next_[index] = static_cast<std::uint32_t>(last);
    } while (!returned_.compare_exchange_weak(last, now, std::memory_order_seq_cst, std::memory_order_acquire));
    return true;
  }
  /// By any thread. Returns what the word said before.
  Returns mark(std::uint32_t marks) noexcept {
    return read(returned_.fetch_or(std::uint64_t{marks} << 32, std::memory_order_seq_cst));
  }
  Returns unmark(std::uint32_t marks) noexcept {
    return read(returned_.fetch_and(~(std::uint64_t{marks} << 32), std::memory_order_seq_cst));
  }
  Returns returns() const noexcept { return read(returned_.load(std::memory_order_seq_cst)); }

  /// How many are in the lists. By the taker, who sees all that were put() before.
  [[nodiscard]] std::uint32_t free() noexcept {
    collect();
    std::uint32_t free = 0;
    for (std::uint32_t index : free_) {
      for (; index != kNone && free <= count_; index = next_[index]) ++free;
    }
    return free;
  }

  Lease& at(std::uint32_t index) noexcept { return leases_[index]; }
  const Lease& at(std::uint32_t index) const noexcept { return leases_[index]; }
  std::uint32_t size() const noexcept { return count_; }

 private:
  static constexpr std::uint32_t kNone = 0xFFFFFFFFU;

  // returned_: the place that came back last, or kNone, in the lower half; above it the marks, and the count, which may overflow.
  static constexpr std::uint64_t kPlaces = 0xFFFFFFFFU;
  static constexpr std::uint64_t kOne = std::uint64_t{1} << (32 + kMarks);
  static Returns read(std::uint64_t word) noexcept {
    return {static_cast<std::uint32_t>(word >> (32 + kMarks)),
            static_cast<std::uint32_t>(word >> 32) & ((1U << kMarks) - 1)};
  }

  // Into their lists, the latest return on top: as they come, since the latest is the first in the chain.
  void collect() noexcept {
    if (static_cast<std::uint32_t>(returned_.load(std::memory_order_seq_cst)) == kNone) return;
    // RETURN(lease): acquire, so that the new holder comes after the last one. seq_cst, because
    // Pool and Source look here a second time after they have said that they want a lease.
    auto place = static_cast<std::uint32_t>(returned_.fetch_or(kNone, std::memory_order_seq_cst));
    while (place != kNone) {
      const std::uint32_t list = list_of(place);
      std::uint32_t& last = lasts_[list];
      if (last == kNone) {
        firsts_[list] = place;
        touched_.push_back(list);
      } else {
        next_[last] = place;
      }
      last = place;
      ++lengths_[list];
      place = next_[place];
    }
    for (const std::uint32_t list : touched_)
      next_[std::exchange(lasts_[list], kNone)] = std::exchange(free_[list], firsts_[list]);
    touched_.clear();
  }

  void put_back(std::uint32_t index) noexcept {
    const std::uint32_t list = list_of(index);
    next_[index] = std::exchange(free_[list], index);
    ++lengths_[list];
  }
  std::uint32_t list_of(std::uint32_t place) const noexcept {
    return free_.size() == 1 ? 0 : leases_[place].list;
  }
  std::uint32_t place_of(const Lease& lease) const noexcept {
    return static_cast<std::uint32_t>(&lease - leases_.get());
  }

  const std::uint32_t count_;
  const std::unique_ptr<Lease[]> leases_;
  const std::unique_ptr<std::uint32_t[]> next_;  // by place
  std::vector<std::uint32_t> free_;              // by list: the place of the first
  std::vector<std::uint32_t> lengths_;           // by list
  // By list: of what is being collected.
  std::vector<std::uint32_t> firsts_;
  std::vector<std::uint32_t> lasts_;
  std::vector<std::uint32_t> touched_;  // the lists of which there is something
  const bool hot_first_;
  alignas(64) std::atomic<std::uint64_t> returned_{kFirstCount * kOne | kNone};
};

}  // namespace tandem
