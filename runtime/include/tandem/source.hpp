#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <typeinfo>
#include <vector>

#include <tandem/audit.hpp>
#include <tandem/lease.hpp>
#include <tandem/lease_table.hpp>
#include <tandem/linger.hpp>

namespace tandem {

class Source;

/// Whom a source's messages go to.
class Downstream {
 public:
  /// Whether it has enough to do for now. By any thread.
  virtual bool has_plenty() const noexcept = 0;

 protected:
  ~Downstream() = default;
};

/// Hears from a source what the nodes behind it must know. Called by any thread, without locks.
class SourceListener {
 public:
  /// The graph is done with a message of which some sequencer has not heard.
  virtual void message_left(Source& source, std::uint64_t sequence) noexcept = 0;
  /// The source has ended and the graph is done with all its messages.
  virtual void source_drained(Source& source) noexcept = 0;
  /// A credit is free, and somebody had asked to be told (tell_next_credit()).
  virtual void credit_free(Source& source) noexcept = 0;
  /// It has become quiet(), and somebody wants to be told (tell_quiet()).
  virtual void source_quiet(Source&) noexcept {}

 protected:
  ~SourceListener() = default;
};

/// Where the messages of a source live, one place for each credit. Host memory.
class MessageStore {
 public:
  virtual ~MessageStore() = default;
  virtual void destroy(std::uint32_t index) noexcept = 0;
  /// Of the messages, where a consumer may ask for them. Constant.
  virtual const std::type_info* type() const noexcept { return nullptr; }
  /// Whether destroy() does anything. Constant.
  virtual bool destroys() const noexcept { return true; }
};

/// Of messages that need no destructor.
struct NoStore final : MessageStore {
  void destroy(std::uint32_t) noexcept override {}
  bool destroys() const noexcept override { return false; }
};

/// The credits and root leases of one commander, feeder or split node.
///
/// A message exists from acquire() until its last handle is gone, and holds one credit all that
/// time. Of these messages some are still in the graph, others only in the user's hands; a feeder's loans have no
/// number yet, and are in neither:
///
///     messages = in_graph + held by users + loans <= in_flight + extra
///
/// Threads   functions that acquire, lend, number or discard are called by one thread at a time, except that
///           numbering may go on beside lending; the rest by any.
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
  /// Waits for a credit; woken by the thread that drops a message's last handle, by stop() and by finish().
  /// Returns null when the source was stopped, or when hopeless(), asked now and then without locks, says that no
  /// credit will come.
  [[nodiscard]] Lease* wait_acquire(const std::function<bool()>& hopeless);
  [[nodiscard]] Lease* try_acquire() noexcept;
  /// The same in two steps: first a loan, a lease without a number, which may be dropped like that in any order; then
  /// its number. Null: no credit is free that may be lent, or the source was stopped.
  [[nodiscard]] Lease* try_loan() noexcept;
  void number(Lease& lease) noexcept;
  /// Until it is worth another try_loan() or try_acquire(), or it was stopped or finished. False when that did not come
  /// in time, or hopeless(). By one thread at a time.
  [[nodiscard]] bool wait_credit(const std::function<bool()>& hopeless,
                                 std::chrono::steady_clock::time_point until = kNever);
  /// From now on the last credit is lent only when all others are with users, so that nobody but the borrower
  /// may be able to free one. Before the first loan.
  void keep_reserve() noexcept { reserve_ = 1; }
  /// Its messages go straight to these and to nobody else, and theirs all come from it. While all of them have plenty to do, its emitter sleeps on until a
  /// quarter of the credits are free: a wake-up costs more than a message does. Before the first acquire(). Empty: it is woken
  /// for each credit. Lifetime: theirs is that of the runtime's state.
  void feed(std::vector<const Downstream*> feeds) { feeds_ = std::move(feeds); }
  /// One of them has not plenty to do any more.
  void hurry() noexcept;
  /// Returns once the graph is done with all messages so far, or the source was stopped, or hopeless().
  void wait_empty(const std::function<bool()>& hopeless);
  /// After finish(): returns once the graph is done with all messages, or the source was stopped, or hopeless().
  void wait_drained(const std::function<bool()>& hopeless);
  /// Takes back the lease that was acquired last and not handed on; its number was never given.
  void discard(Lease& lease) noexcept;
  /// From now on listener.credit_free() is called once, at the end of the next message that had a number.
  /// TELL: that is asked before the look whether there is one already. Who returns a lease sees the mark, or did so before it was made.
  void tell_next_credit() noexcept { table_->mark(kTells); }
  /// Of a split node's source, whose messages are made from the items that come to the node: it has one more of these, from
  /// before the graph lets go of it, and one less, once all that comes of it is in the graph.
  void begin_input() noexcept { inputs_.fetch_add(kInput + kInputEver, std::memory_order_seq_cst); }
  void end_input() noexcept;
  /// How many have begun, ever.
  std::uint32_t inputs_begun() const noexcept {
    return static_cast<std::uint32_t>(inputs_.load(std::memory_order_seq_cst) >> 32);
  }
  /// The node has no input, and the graph no message of it. In this order: no message comes without an input.
  bool quiet() const noexcept { return !has_input() && is_idle(); }
  /// It has an input and a credit.
  bool may_make() const noexcept { return has_input() && free_credits() > 0; }
  /// From now on listener.source_quiet() is called whenever it may have become quiet().
  void tell_quiet() noexcept { telling_quiet_.store(true, std::memory_order_seq_cst); }
  /// No message will follow, but what is lent may still get its number. Ends wait_credit().
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
  // What has gone is read before what has come, so that too much is counted rather than too little.
  std::uint32_t in_graph() const noexcept {
    const std::uint64_t left = left_.load(std::memory_order_seq_cst);
    return static_cast<std::uint32_t>(numbered_.load(std::memory_order_acquire) - left);
  }
  std::uint32_t live() const noexcept {
    if (!table_) return 0;
    const std::uint32_t gone = table_->returns().count;
    return difference(taken_.load(std::memory_order_acquire), gone);
  }
  /// Messages that exist, without the loans.
  std::uint32_t numbered() const noexcept {
    const std::uint32_t all = live();
    if (!lends_.load(std::memory_order_relaxed)) return all;  // last: all of them are messages
    const std::uint64_t ended = ended_.load(std::memory_order_seq_cst);
    return static_cast<std::uint32_t>(numbered_.load(std::memory_order_acquire) - ended);
  }
  bool stopped() const noexcept { return stopped_.load(std::memory_order_relaxed); }
  /// Ended, and nothing of it is left in the graph, or is lent and may still come.
  bool drained() const noexcept {
    // DRAINED: seq_cst, with finish() and leave(); the end must not be seen before the last
    // message was handed on.
    return finished_.load(std::memory_order_seq_cst) && is_idle();
  }
  /// Every credit is with the user: only the user can make the next message possible. Who waits for an item asks
  /// without the loans: from each of them an item may still come.
  bool exhausted_by_user(bool with_loans) const noexcept;

  void entered_graph() noexcept override {
    references_.fetch_add(1, std::memory_order_relaxed);  // the caller's handle keeps one meanwhile
    left_.fetch_sub(1, std::memory_order_seq_cst);
  }
  void left_graph(std::span<const Departure> messages) noexcept override;
  void ended(Lease& lease) noexcept override;

 private:
  static constexpr std::uint64_t kNoNumber = ~std::uint64_t{0};  // Lease::sequence of a loan
  static constexpr std::uint64_t kStash = 4096;

  // Nothing is in the graph, nor is lent and may still come. A loan that gets its number meanwhile is not missed: the number
  // is read first and the loans last, and at all times taken_ - returned_ >= numbered_.
  bool is_idle() const noexcept {
    const std::uint64_t numbered = numbered_.load(std::memory_order_seq_cst);
    const std::uint64_t returned = returned_.load(std::memory_order_seq_cst);
    return left_.load(std::memory_order_seq_cst) == numbered &&
           taken_.load(std::memory_order_seq_cst) - returned == numbered;
  }
  bool has_loans() const noexcept {
    const std::uint64_t gone =
        returned_.load(std::memory_order_seq_cst) + numbered_.load(std::memory_order_acquire);
    return taken_.load(std::memory_order_acquire) != gone;
  }
  // Of two counts, of which the second is known modulo kCounts.
  static std::uint32_t difference(std::uint64_t more, std::uint64_t fewer) noexcept {
    return static_cast<std::uint32_t>(more - fewer) % LeaseTable::kCounts;
  }
  std::int64_t free_credits() const noexcept { return std::int64_t{limit_} - live(); }
  // inputs_: those that the node has now in the lower half, those that it ever had in the upper.
  static constexpr std::uint64_t kInput = 1;
  static constexpr std::uint64_t kInputEver = std::uint64_t{1} << 32;
  bool has_input() const noexcept {
    return static_cast<std::uint32_t>(inputs_.load(std::memory_order_seq_cst)) != 0;
  }
  Lease* take() noexcept;
  void give_number(Lease& lease) noexcept;
  bool may_lend() const noexcept;
  bool is_over() const noexcept;
  using Counter = std::atomic<std::uint64_t>;
  static void count_one(Counter& mine) noexcept {
    // Written by one thread at a time. Release: who reads numbered_ and then taken_ sees at least as much there.
    mine.store(mine.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  // What whoever returns a lease must know, in the table's word.
  static constexpr std::uint32_t kSleeps = 1;   // the emitter, or it is about to
  static constexpr std::uint32_t kHungry = 2;   // and does not let credits gather
  static constexpr std::uint32_t kCounted = 4;  // each message that exists has a reference
  static constexpr std::uint32_t kTells = 8;    // the listener wants to hear of the next credit

  void end_and_look(Lease& lease) noexcept;
  void look_for_the_end() noexcept;
  void announce_sleep() noexcept;
  bool are_enough(std::uint32_t returned) const noexcept;
  bool is_hungry() const noexcept;
  void wake_emitter() noexcept;
  void release(std::uint64_t count = 1) noexcept;

  // Constant after open().
  const std::uint32_t id_;
  SourceListener* listener_ = nullptr;
  std::unique_ptr<MessageStore> store_;
  bool destroys_ = true;  // messages need a destructor
  std::unique_ptr<LeaseTable> table_;
  std::uint32_t limit_ = 0;  // credits
  std::uint32_t extra_ = 0;  // of them, beyond in_flight
  std::uint32_t reserve_ = 0;
  std::uint64_t all_sequencers_ = 0;
  std::vector<const Downstream*> feeds_;

  // The lending and numbering side's: nobody else writes in this line, and who ends messages does not look at it.
  alignas(64) std::atomic<std::uint64_t> next_sequence_{0};
  // Leases that were lent, from kFirstCount on; those that are back are counted by the table, which begins there too.
  Counter taken_{LeaseTable::kFirstCount};
  Counter numbered_{0};             // of them, those that became messages, and entered the graph
  std::uint64_t stash_ = 0;         // counted in references_, and not used yet
  std::atomic<bool> lends_{false};  // loans; before the first

  // Counted by whoever drops a handle.
  alignas(64) Counter left_{0};                // messages that the graph is done with
  Counter ended_{0};                           // messages that nobody holds any more, of a source that lends
  Counter returned_{LeaseTable::kFirstCount};  // loans that never became messages, from where taken_ begins
  // kOpen until close(), one for each message that is in the graph, the stash, and one for who looks at this source after the table has
  // counted its message; from close() on, and of loans at any time, one for each that exists. Each is kept until its thread has done what is
  // to be done, so that exactly one thread sees a closed source fall to nothing, as its last look.
  static constexpr std::uint64_t kOpen = std::uint64_t{1} << 62;
  Counter references_{kOpen};

  alignas(64) std::atomic<bool> finished_{false};
  std::atomic<bool> stopped_{false};
  std::atomic<bool> sleeping_{false};
  std::atomic<std::uint32_t> enough_{0};  // while it sleeps: it is woken when so many have come back
  std::atomic<bool> telling_quiet_{false};
  std::atomic<bool> closed_{false};
  std::atomic<std::uint64_t> inputs_{0};
  std::shared_ptr<void> keep_;  // the runtime's state; reset by the thread that sees the last end

  Linger linger_;                 // the emitter's
  std::mutex mutex_;              // only for sleeps
  std::condition_variable wake_;  // the emitter's, or whoever's turn it is to wait for a loan
  std::condition_variable over_;  // of wait_empty() and wait_drained()
};

}  // namespace tandem
