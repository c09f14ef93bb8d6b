#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

#include <tandem/audit.hpp>
#include <tandem/lease.hpp>
#include <tandem/node.hpp>
#include <tandem/pool.hpp>
#include <tandem/rhythm.hpp>
#include <tandem/source.hpp>

namespace tandem {

/// The buffers of a feeder: lent to a loop of the program's own, which fills them and pushes them into the graph.
/// In the host only.
///
///     credits of the source = messages in the graph or with users <= in_flight, and loans, and the one that waits
///
/// Full      when in_flight messages are in the graph or with users. `block` has one credit beyond these, which is
///           lent when all others are with users: a thread that pushes, and then consumes what has come, would
///           else wait for itself. `drop_newest` has one more, for the loan, and drops it when it is pushed. `drop_oldest`
///           has two more: the second is for the step that waits outside the graph; the next one takes its place.
/// Numbers   are given when a message enters the graph: what is dropped, or lent and never pushed, leaves no gap.
/// End       after finish() there is no loan; what is lent may still be pushed.
/// Threads   all by any thread; of those that wait for a loan, one at a time has its turn.
/// Locks     while one is held no handle is dropped, no item emitted, and nobody is told of the end.
class Feed final {
 public:
  using Clock = std::chrono::steady_clock;

  Feed(const NodeInfo& node, Pool& pool, Source& source, std::uint32_t in_flight);

  /// Credits, and blocks, that the policy needs beyond in_flight.
  static std::uint32_t extra(WhenFull full) noexcept;

  /// A buffer with pages of its own, and one graph handle that the caller adopts. Waits until `until` at most;
  /// hopeless is asked now and then, without locks. Null: there was none in time, or the source was stopped or finished.
  /// Errors    throws MemoryError when the system refuses the pages.
  [[nodiscard]] Lease* loan(Clock::time_point until, const std::function<bool()>& hopeless);
  /// A loan comes back full. (One that comes back unused is dropped.) What is to be done with leases, once no lock is
  /// held:
  struct Outcome {
    std::array<Lease*, 2> enter{};  // to be emitted, in this order
    Lease* dropped = nullptr;       // handle to be dropped; it was counted
    bool expected = false;          // the loop pushes regularly: see rhythm()
  };
  [[nodiscard]] Outcome push(Lease& lease) noexcept;
  /// After SourceListener::credit_free(): the step that waited, if there is room for it now; or null.
  [[nodiscard]] Lease* enter_waiting() noexcept;
  /// The run is ending: what waits is not to enter any more. The caller drops it.
  [[nodiscard]] Lease* close() noexcept;
  /// No further loan, also for who waits for one.
  void finish() noexcept;
  bool finished() const noexcept { return finished_.load(std::memory_order_relaxed); }

  /// When a step is likely to be pushed next.
  Rhythm& rhythm() noexcept { return rhythm_; }
  /// Called, without locks, by who is about to wait for a loan: what he waits for may come of what was pushed last.
  std::function<void()> on_wait;
  std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }
  void audit(Audit& audit);
  const NodeInfo& node() const noexcept { return node_; }

 private:
  Lease* borrow(Clock::time_point until, const std::function<bool()>& hopeless);
  Lease* prepare(Lease& root);
  bool has_room() const noexcept { return source_.numbered() < in_flight_; }
  Lease* number(Lease* lease) noexcept;

  const NodeInfo& node_;
  Pool& pool_;
  Source& source_;
  const std::uint32_t in_flight_;

  // Who waits for a credit has its turn alone; the lock is for moments.
  std::mutex lend_mutex_;  // guards the source's lending side, and the next three
  std::condition_variable turn_free_;
  bool turn_taken_ = false;
  std::atomic<bool> finished_{false};  // written under the lock, so that nobody lends after it

  std::mutex mutex_;  // guards the pool's taking side, the numbers, and all below
  Lease* waiting_ = nullptr;
  bool closed_ = false;
  Rhythm rhythm_;
  std::atomic<std::uint64_t> dropped_{0};
};

}  // namespace tandem
