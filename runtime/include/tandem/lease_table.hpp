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
///           that no address is compared after it was reused.
class LeaseTable {
 public:
  /// All leases are in the last list at first.
  LeaseTable(LeaseOwner& owner, std::uint32_t count, std::uint32_t lists = 1)
      : count_{count}, leases_{std::make_unique<Lease[]>(count)}, free_(lists, nullptr) {
    for (std::uint32_t index = count; index-- > 0;) {
      Lease& lease = leases_[index];
      lease.owner = &owner;
      lease.index = index;
      lease.list = lists - 1;
      put_back(lease);
    }
  }

  /// The lease of the list that was used last, or null when all of them are lent.
  [[nodiscard]] Lease* take(std::uint32_t list = 0) noexcept {
    collect();
    Lease* const lease = free_[list];
    if (lease == nullptr) return nullptr;
    free_[list] = std::exchange(lease->next, nullptr);
    ++lease->generation;
    return lease;
  }

  /// Whether take() would find one.
  [[nodiscard]] bool any(std::uint32_t list) noexcept {
    collect();
    return free_[list] != nullptr;
  }

  /// The taker returns a lease that it never handed on.
  void put_back(Lease& lease) noexcept { lease.next = std::exchange(free_[lease.list], &lease); }

  /// Any thread returns a lease.
  void put(Lease& lease) noexcept {
    lease.next = returned_.load(std::memory_order_relaxed);
    // RETURN(lease): release for the next holder; seq_cst for the second look, see collect().
    while (!returned_.compare_exchange_weak(lease.next, &lease, std::memory_order_seq_cst,
                                            std::memory_order_relaxed)) {}
  }

  /// How many are in the lists. By the taker, who sees all that were put() before.
  [[nodiscard]] std::uint32_t free() noexcept {
    collect();
    std::uint32_t free = 0;
    for (const Lease* lease : free_) {
      for (; lease != nullptr && free <= count_; lease = lease->next) ++free;
    }
    return free;
  }

  Lease& at(std::uint32_t index) noexcept { return leases_[index]; }
  const Lease& at(std::uint32_t index) const noexcept { return leases_[index]; }
  std::uint32_t size() const noexcept { return count_; }

 private:
  // Into their lists, the latest return on top.
  void collect() noexcept {
    if (returned_.load(std::memory_order_seq_cst) == nullptr) return;
    // RETURN(lease): acquire, so that the new holder comes after the last one. seq_cst, because
    // Pool and Source look here a second time after they have said that they want a lease.
    Lease* chain = returned_.exchange(nullptr, std::memory_order_seq_cst);
    Lease* oldest = nullptr;
    while (chain != nullptr) {
      Lease* const next = std::exchange(chain->next, oldest);
      oldest = std::exchange(chain, next);
    }
    while (oldest != nullptr) put_back(*std::exchange(oldest, oldest->next));
  }

  const std::uint32_t count_;
  const std::unique_ptr<Lease[]> leases_;
  std::vector<Lease*> free_;  // by list
  alignas(64) std::atomic<Lease*> returned_{nullptr};
};

}  // namespace tandem
