#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include <tandem/audit.hpp>
#include <tandem/lease.hpp>
#include <tandem/lease_table.hpp>
#include <tandem/linger.hpp>

namespace tandem {

class Source;

/// Hears from a source what the nodes behind it must know. Called by any thread, without locks.
class SourceListener {
 public:
  /// The graph is done with a message of which some sequencer has not heard.
  virtual void message_left(Source& source, std::uint64_t sequence) noexcept = 0;
  /// The source has ended and the graph is done with all its messages.
  virtual void source_drained(Source& source) noexcept = 0;
  /// A credit is free, and somebody had asked to be told (tell_next_credit()).
  virtual void credit_free(Source& source) noexcept = 0;

 protected:
  ~SourceListener() = default;
};

/// Where the messages of a source live, one place for each credit. Host memory.
class MessageStore {
 public:
  virtual ~MessageStore() = default;
  virtual void destroy(std::uint32_t index) noexcept = 0;
};

/// The credits and root leases of one commander or feeder.
///
/// A message exists from acquire() until its last handle is gone, and holds one credit all that
/// time. Of these messages some are still in the graph, the others only in the user's hands:
///
///     messages = in_graph + held by users <= in_flight
///
/// Threads   acquire(), loan(), number(), discard() and finish() by one thread at a time; the rest by any.
/// Lifetime  kept by its runtime's state, which it keeps in turn while a message exists.
class Source final : public LeaseOwner {
 public:
  static constexpr auto kNever = std::chrono::steady_clock::time_point::max();

  explicit Source(std::uint32_t id) : id_{id} {}
  ~Source();

  /// Called once, before the first acquire(). extra: credits beyond in_flight, for what a feeder keeps outside the
  /// graph.
  void open(SourceListener& listener, std::shared_ptr<void> keep, std::unique_ptr<MessageStore> store,
            std::uint32_t in_flight, std::uint32_t extra, std::uint64_t all_sequencers);

  /// A root lease with the next sequence number and one graph handle, which the caller adopts.
  /// Waits for a credit; woken by the thread that drops a message's last handle, and by stop().
  /// Returns null when the source was stopped, or when hopeless(), asked now and then, says that no
  /// credit will come.
  [[nodiscard]] Lease* wait_acquire(const std::function<bool()>& hopeless = nullptr);
  /// The same in two steps: a lease without a number, waited for until `until` at most, which may be discarded in any
  /// order; then its number.
  [[nodiscard]] Lease* wait_loan(const std::function<bool()>& hopeless = nullptr,
                                 std::chrono::steady_clock::time_point until = kNever);
  void number(Lease& lease) noexcept;
  /// The loan is about to be dropped without a number.
  void forget_loan() noexcept {
    if (extra_ > 0) loans_.fetch_sub(1, std::memory_order_relaxed);  // else nobody counted it
  }
  /// From now on the last credit is lent only when all others are with users, so that nobody but the borrower
  /// may be able to free one. Before the first loan.
  void keep_reserve() noexcept { reserve_ = 1; }
  /// Returns once the graph is done with all messages so far, or the source was stopped, or hopeless().
  void wait_empty(const std::function<bool()>& hopeless);
  /// After finish(): returns once the graph is done with all messages, or the source was stopped, or hopeless().
  void wait_drained(const std::function<bool()>& hopeless);
  [[nodiscard]] Lease* try_acquire() noexcept;
  /// Takes back the lease that was acquired last and not handed on; its number was never given.
  void discard(Lease& lease) noexcept;
  /// Nobody need hear of this lease, should it end before it is handed on.
  void keep_quiet(Lease& lease) const noexcept {
    lease.sequencers.store(all_sequencers_, std::memory_order_relaxed);
  }
  /// From now on listener.credit_free() is called once, at the next credit that comes back.
  void tell_next_credit() noexcept { telling_.store(true, std::memory_order_seq_cst); }
  /// No message will follow.
  void finish() noexcept;
  /// Wakes the emitter for good; acquire() fails from now on.
  void stop() noexcept;
  /// The runtime lets go; the last message to end releases what keep holds.
  void close() noexcept;

  std::uint32_t id() const noexcept { return id_; }
  std::uint32_t in_flight_limit() const noexcept { return limit_ - extra_; }
  /// Adds this source's numbers, and what is wrong with them.
  void audit(const std::string& name, Audit& audit) const;
  std::uint64_t emitted() const noexcept { return next_sequence_.load(std::memory_order_relaxed); }
  std::uint32_t in_graph() const noexcept { return graph_part(state_.load(std::memory_order_seq_cst)); }
  std::uint32_t live() const noexcept { return live_part(state_.load(std::memory_order_seq_cst)); }
  bool stopped() const noexcept { return stopped_.load(std::memory_order_relaxed); }
  /// Ended, and nothing of it is left in the graph.
  bool drained() const noexcept {
    // DRAINED: seq_cst, with finish() and left_graph(); the end must not be seen before the last
    // message was handed on.
    return finished_.load(std::memory_order_seq_cst) && in_graph() == 0;
  }
  /// Every credit is with the user: only the user can make the next message possible.
  bool exhausted_by_user() const noexcept;

  void entered_graph() noexcept override { state_.fetch_add(kInGraph, std::memory_order_seq_cst); }
  void left_graph(std::uint64_t sequence, std::uint64_t sequencers) noexcept override;
  void ended(Lease& lease) noexcept override;

 private:
  // state_, bit by bit: 0..23 messages that exist; 24..47 those in the graph; 48..62 threads inside
  // leave(); 63 closed. One word, so that exactly one thread sees a closed source fall to nothing.
  static constexpr std::uint64_t kLive = 1;
  static constexpr std::uint64_t kInGraph = std::uint64_t{1} << 24;
  static constexpr std::uint64_t kInside = std::uint64_t{1} << 48;
  static constexpr std::uint64_t kClosed = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kCount = (std::uint64_t{1} << 24) - 1;
  static std::uint32_t live_part(std::uint64_t state) noexcept {
    return static_cast<std::uint32_t>(state & kCount);
  }
  static std::uint32_t graph_part(std::uint64_t state) noexcept {
    return static_cast<std::uint32_t>((state >> 24) & kCount);
  }
  /// May be below zero for a moment: a lease is lent again before the state has counted its return.
  std::int64_t free_credits() const noexcept {
    return std::int64_t{limit_} - std::int64_t{live_part(state_.load(std::memory_order_seq_cst))};
  }
  Lease* try_loan() noexcept;
  bool wait_credit(const std::function<bool()>& hopeless, std::chrono::steady_clock::time_point until);
  bool may_lend() const noexcept;
  void leave(std::uint64_t what) noexcept;

  // Constant after open().
  const std::uint32_t id_;
  SourceListener* listener_ = nullptr;
  std::unique_ptr<MessageStore> store_;
  std::unique_ptr<LeaseTable> table_;
  std::uint32_t limit_ = 0;  // credits
  std::uint32_t extra_ = 0;  // of them, beyond in_flight
  std::uint32_t reserve_ = 0;
  std::uint64_t all_sequencers_ = 0;

  std::atomic<std::uint64_t> next_sequence_{0};  // written by the emitter only

  alignas(64) std::atomic<std::uint64_t> state_{0};
  std::atomic<bool> finished_{false};
  std::atomic<bool> stopped_{false};
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> telling_{false};
  std::atomic<std::uint32_t> loans_{
      0};                       // without a number yet: they count as in the graph, and are with the user
  std::shared_ptr<void> keep_;  // the runtime's state; reset by the thread that sees the last end

  Linger linger_;     // the emitter's
  std::mutex mutex_;  // only for the emitter's sleep
  std::condition_variable wake_;
};

}  // namespace tandem
