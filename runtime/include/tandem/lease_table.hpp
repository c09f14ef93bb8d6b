#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include <tandem/lease.hpp>

namespace tandem {

/// A fixed table of leases, lent last-in-first-out.
///
/// Threads   take() and put_back() by one thread at a time; put() by any thread at any time.
/// Fields    free_: the taker's own. returned_: pushed by put(), emptied as a whole by take(), so
///           that no address is compared after it was reused.
class LeaseTable {
 public:
  LeaseTable(LeaseOwner& owner, std::uint32_t count)
      : count_{count}, leases_{std::make_unique<Lease[]>(count)} {
    for (std::uint32_t index = count; index-- > 0;) {
      Lease& lease = leases_[index];
      lease.owner = &owner;
      lease.index = index;
      lease.next = std::exchange(free_, &lease);
    }
  }

  /// The lease used last, or null when all are lent.
  [[nodiscard]] Lease* take() noexcept {
    // RETURN(lease): acquire, so that the new holder comes after the last one. seq_cst, because
    // Pool and Source look here a second time after they have said that they want a lease.
    if (Lease* chain = returned_.exchange(nullptr, std::memory_order_seq_cst)) {
      Lease* last = chain;
      while (last->next != nullptr) last = last->next;
      last->next = std::exchange(free_, chain);  // the latest return comes first
    }
    if (free_ == nullptr) return nullptr;
    Lease* lease = std::exchange(free_, free_->next);
    lease->next = nullptr;
    ++lease->generation;
    return lease;
  }

  /// The taker returns a lease that it never handed on.
  void put_back(Lease& lease) noexcept { lease.next = std::exchange(free_, &lease); }

  /// Any thread returns a lease.
  void put(Lease& lease) noexcept {
    lease.next = returned_.load(std::memory_order_relaxed);
    // RETURN(lease): release for the next holder; seq_cst for the second look, see take().
    while (!returned_.compare_exchange_weak(lease.next, &lease, std::memory_order_seq_cst,
                                            std::memory_order_relaxed)) {}
  }

  Lease& at(std::uint32_t index) noexcept { return leases_[index]; }
  const Lease& at(std::uint32_t index) const noexcept { return leases_[index]; }
  std::uint32_t size() const noexcept { return count_; }

 private:
  const std::uint32_t count_;
  const std::unique_ptr<Lease[]> leases_;
  Lease* free_ = nullptr;
  alignas(64) std::atomic<Lease*> returned_{nullptr};
};

}  // namespace tandem
