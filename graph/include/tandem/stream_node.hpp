#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include <oneapi/tbb/flow_graph.h>

#include <tandem/core.hpp>
#include <tandem/error_policy.hpp>
#include <tandem/hold_watch.hpp>
#include <tandem/linger.hpp>
#include <tandem/log.hpp>
#include <tandem/ports.hpp>
#include <tandem/run.hpp>
#include <tandem/runtime.hpp>
#include <tandem/spin_mutex.hpp>

namespace tandem {

/// Where a consumer takes items out of the graph: with a range-for, next(), try_next() or next_for().
///
/// Items     are the workers' own memory; nothing is copied. Each holds a credit until its last handle is
///           gone, so a consumer that keeps in_flight items gets no further one.
/// End       when every commander has ended and the graph is done with every message; or after stop(). Before that,
///           nothing also comes at the end of each round of a commander with begin_epoch(): a range-for takes one
///           round, and the next one goes on. Rounds are for one commander and one consumer.
/// Errors    at the place of an item that carries an error, `on_error` of the node in which the error arose
///           decides: "throw": it is thrown as ProducerError; "skip": it is passed over, with a line in the log
///           for the first few, and once `max_errors` of a node are passed over, each further one is thrown as
///           TooManyErrors; "deliver": it is handed out, and ok() is false. Whatever was thrown, the next call
///           goes on with the next item. Each stream counts for itself, in the order of delivery.
/// Threads   any number of consumers; each item goes to one of them.
/// Lifetime  the destructor stops the runtime.
template <class T>
class stream_node : public flow::composite_node<std::tuple<Item<T>>, std::tuple<>>,
                    private Member,
                    private Flushable {
  using base_type = flow::composite_node<std::tuple<Item<T>>, std::tuple<>>;

 public:
  stream_node(flow::graph& graph, Runtime& runtime)
      : base_type{graph}, graph_{graph}, core_{runtime.core()}, input_{graph, *this} {
    base_type::set_external_ports(typename base_type::input_ports_type{input_});
    core_->add_member(*this);
  }

  ~stream_node() { leave_run(*core_, *this, graph_); }

  /// The next item; nothing at the end, and once at the end of each round. Starts the runtime at the first call. Waits.
  /// Errors    throws ProducerError or TooManyErrors in an item's place; Error when every item in flight has been in the
  ///           consumer's hands for `hold_timeout` without one being given back and no loan of a feeder is out, from
  ///           which one could come (so do not wait for an item with a loan in your own hands); or when the graph was
  ///           cancelled, as oneTBB does when the body of a node that is not Tandem's throws; what
  ///           Runtime::start() throws.
  std::optional<Item<T>> next() { return wait_next(std::nullopt); }

  /// The next item if one is there. Never waits, but starts the runtime at the first call. Looks past items that
  /// are skipped, as far as they were there when it was called.
  /// Returns   nothing when there is none now, or at the end: ended() tells which.
  std::optional<Item<T>> try_next() { return wait_next(std::chrono::nanoseconds{0}); }

  /// The next item if one comes in time. Returns nothing otherwise, or at the end. Items that are skipped use up
  /// the time.
  std::optional<Item<T>> next_for(std::chrono::nanoseconds timeout) { return wait_next(timeout); }

  /// How many items this stream has skipped, over all nodes (on_error = "skip").
  [[nodiscard]] std::uint64_t skipped() const noexcept { return errors_.skipped(); }

  /// How many rounds of the commander have ended here. See commander_node.
  [[nodiscard]] std::uint64_t epoch() const {
    const std::lock_guard lock{taking_mutex_};
    return epoch_;
  }

  /// True when no item will come any more, and no error either. False while an item is there that will be
  /// skipped: only the call that skips it looks at it, and returns nothing then.
  bool ended() const {
    const std::scoped_lock locks{taking_mutex_, mutex_};
    return next_taken_ == taken_.size() && at_end() && !is_cancelled(graph_);
  }

  /// A consuming iterator: each item is given back when the loop goes on to the next, or is left.
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Item<T>;
    using difference_type = std::ptrdiff_t;
    using pointer = const Item<T>*;
    using reference = const Item<T>&;

    iterator() = default;
    reference operator*() const { return *item_; }
    pointer operator->() const { return &*item_; }
    iterator& operator++() {
      item_.reset();  // first, so that its block can be lent again
      item_ = stream_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !item_; }

   private:
    friend class stream_node;
    explicit iterator(stream_node& stream) : stream_{&stream}, item_{stream.next()} {}
    stream_node* stream_ = nullptr;
    std::optional<Item<T>> item_;
  };

  iterator begin() { return iterator{*this}; }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  class Input final : public InputPort<T> {
   public:
    Input(flow::graph& graph, stream_node& node) : InputPort<T>{graph, *node.core_}, node_{node} {}
    void accept(std::span<Handle> items) noexcept override { node_.take(items); }

   private:
    stream_node& node_;
  };

  void take(std::span<Handle> items) noexcept {
    while (!items.empty()) {
      // Of one source: the departures of several are told of in between.
      std::size_t count = 1;
      while (count < items.size() && count < Departures::kMost && items[count]->source == items[0]->source)
        ++count;
      take_together(items.first(count));
      items = items.subspan(count);
    }
    Run::touch(*this);
  }

  void take_together(std::span<Handle> items) noexcept {
    // An item in the queue is the consumer's, so that one stream can end while another still has some.
    // The graph lets go of it only once it is in the queue: the other way round, the stream could look
    // ended with one still to come. So `gone` ends last.
    Departures gone;
    for (Handle& item : items) item.leave_graph(gone);
    const std::lock_guard lock{mutex_};
    if (closed_) return;
    for (Handle& item : items) queue_.emplace_back(std::move(item));
    waiting_.store(true, std::memory_order_relaxed);
  }

  void flush() noexcept override {
    bool listens = false;
    {
      const std::lock_guard lock{mutex_};
      if (sleepers_ == 0) return;
      listens = listens_;
    }
    tell_sleepers(listens);
  }
  // Without the lock, for which they would have to wait. Should the one that listened have woken meanwhile, another who does
  // so wakes for nothing.
  void tell_sleepers(bool listens) noexcept {
    if (listens) core_->wake_listener();
    arrived_.notify_all();
  }

  bool at_end() const {  // under mutex_
    return queue_.empty() && (closed_ || core_->is_closed() || (core_->is_open() && core_->drained()));
  }

  using Clock = std::chrono::steady_clock;

  std::optional<Item<T>> wait_next(std::optional<std::chrono::nanoseconds> timeout) {
    core_->start();
    if (std::optional<Item<T>> item = take_at_hand()) return item;  // as nearly always
    const Clock::time_point end = end_of(timeout);
    Taken taken = take_one(end);
    if (taken.item || taken.round_over) return std::move(taken.item);
    if (timeout && timeout->count() <= 0) {
      check_graph();
      return std::nullopt;
    }
    return wait_one(end, !timeout);
  }

  static Clock::time_point end_of(std::optional<std::chrono::nanoseconds> timeout) {
    if (!timeout) return Clock::time_point::max();
    if (timeout->count() <= 0) return Clock::time_point::min();
    const Clock::time_point now = Clock::now();
    return *timeout >= Clock::time_point::max() - now ? Clock::time_point::max() : now + *timeout;
  }

  // The next item, if it has been taken over already, and there is nothing more to say of it.
  std::optional<Item<T>> take_at_hand() noexcept {
    std::optional<Item<T>> item;
    const std::lock_guard taking{taking_mutex_};
    if (next_taken_ == taken_.size()) return item;
    Item<T>& first = taken_[next_taken_];
    if (!first.ok() || first.round() != Round::none) return item;
    prefetch_soon();
    ++next_taken_;
    item.emplace(std::move(first));
    return item;
  }

  // The next item that is for the consumer, if one is there; passes over what is to be skipped: all that was
  // there before, and until `end` also what comes meanwhile.
  struct Taken {
    std::optional<Item<T>> item{};
    bool round_over = false;  // the consumer is to hear of it, with no item
  };
  Taken take_one(Clock::time_point end) {
    std::optional<std::size_t> there;
    for (;;) {
      std::optional<Item<T>>
          item;  // dropped without the lock, if it is skipped: its credit sets others to work
      ErrorPolicy::Ruling ruling;
      {
        const std::lock_guard taking{taking_mutex_};
        if (!take_over()) return {};
        item = std::move(taken_[next_taken_++]);
        if (round_is_over(item)) return {std::nullopt, true};
        if (item->ok()) return {std::move(item)};
        if (item->skipped()) {
          ruling.skip = true;
        } else {
          ruling = errors_.rule(*item->error());  // under the lock: in the order of delivery
        }
        if (ruling.skip && !there) there = count_waiting();
      }
      if (!ruling.warning.empty()) log_warning(ruling.warning);
      if (!ruling.skip) return {std::move(item)};
      if (*there == 0 && Clock::now() >= end) return {};
      if (*there > 0) --*there;
    }
  }

  // The consumers' side of the queue: all that has arrived is taken over at once, so that consumers and
  // producers seldom meet at one lock. Returns whether there is anything. Under taking_mutex_.
  bool take_over() {
    if (next_taken_ == taken_.size()) {
      taken_.clear();
      next_taken_ = 0;
      const std::lock_guard lock{mutex_};
      taken_.swap(queue_);
      few_came_.store(taken_.size() <= kFew, std::memory_order_relaxed);
      waiting_.store(false, std::memory_order_relaxed);
      if (taken_.size() > 1 && sleepers_ > 0) arrived_.notify_all();  // there is something for others too
    }
    if (next_taken_ == taken_.size()) return false;
    prefetch_soon();
    return true;
  }

  // What comes soon was written by other threads: it is on its way into this one's cache while the consumer is at the items
  // before it.
  void prefetch_soon() const noexcept {  // under taking_mutex_
    if (next_taken_ + 12 < taken_.size()) { __builtin_prefetch(taken_[next_taken_ + 12].handle().get(), 1); }
    if (next_taken_ + 6 < taken_.size()) {
      const Lease* const near = taken_[next_taken_ + 6].handle().get();
      __builtin_prefetch(near->payload);
      __builtin_prefetch(near->root, 1);
    }
  }

  // Told by the round's mark, or by the next round's first item, if a plain node dropped the mark: then that item
  // goes back to where it was.
  bool round_is_over(std::optional<Item<T>>& item) {  // under taking_mutex_
    if (item->round() == Round::none) return false;
    if (item->epoch() > epoch_) {
      taken_[--next_taken_] = std::move(*item);
      ++epoch_;
      return true;
    }
    if (item->epoch() < epoch_ && !item->ends_epoch()) {
      throw Error("stream: an item of round " + std::to_string(item->epoch()) +
                  " came after the round's end; put a sequencer_node before the stream");
    }
    if (!item->ends_epoch() || item->epoch() < epoch_) return false;
    ++epoch_;
    return true;
  }

  std::size_t count_waiting() const {  // under taking_mutex_
    const std::lock_guard lock{mutex_};
    return taken_.size() - next_taken_ + queue_.size();
  }

  std::optional<Item<T>> wait_one(Clock::time_point end, bool for_ever) {
    HoldWatch watch{*core_, HoldWatch::For::item};
    for (;;) {
      core_->hurry();
      linger();
      Taken taken = take_one(end);
      if (taken.item || taken.round_over) return std::move(taken.item);
      // Both without our lock: they look into crews, whose locks do what others have left to do, when they are let go.
      const bool stuck = for_ever && watch.expired();
      const std::string why = stuck ? watch.text("stream") : std::string{};
      // Woken by take(), by the end of a source, and by close(). A graph that is cancelled and the hold
      // time-out have nobody to wake us: we look now and then.
      Core::Listening listening{*core_, few_came_.load(std::memory_order_relaxed)};
      std::unique_lock taking{taking_mutex_};
      std::unique_lock lock{mutex_};
      const bool late = Clock::now() >= end;
      if (!queue_.empty() || next_taken_ != taken_.size()) {
        if (late) return std::nullopt;  // all that has come so far was skipped
        continue;
      }
      taking.unlock();  // under mutex_, nobody can take over anything
      check_graph_locked();
      if (at_end() || late) return std::nullopt;
      if (stuck) throw Error(why);
      const std::chrono::nanoseconds look{
          std::min<std::chrono::nanoseconds>(core_->config().hold_timeout, std::chrono::seconds{1})};
      sleep(lock, std::min(end, Clock::now() + look), listening);
    }
  }

  // One consumer to whom few items come at a time hears the workers itself; the others are told by whoever brings something.
  void sleep(std::unique_lock<std::mutex>& lock, Clock::time_point until, Core::Listening& listening) {
    ++sleepers_;
    bool rung = false;
    if (listening) {
      listens_ = true;
      lock.unlock();
      rung = listening.sleep(until);
      lock.lock();
      listens_ = false;
    } else {
      arrived_.wait_until(lock, until);
    }
    --sleepers_;
    lock.unlock();
    if (rung) Core::Helping{*core_}.help_at_once();
  }

  // One consumer at a time gives way before it sleeps; see Linger.
  void linger() noexcept {
    if (lingering_.exchange(true, std::memory_order_acquire)) return;
    const auto arrived = [this] { return waiting_.load(std::memory_order_relaxed); };
    if (few_came_.load(std::memory_order_relaxed)) {
      std::optional<Core::Helping> helping;  // from the first look on, if there is one
      linger_.wait_or_spin([&] {
        if (!helping) helping.emplace(*core_);
        helping->help();
        return arrived();
      });
    } else {
      linger_.wait(arrived);  // where many come together, whoever brings them does that beside the consumer
    }
    lingering_.store(false, std::memory_order_release);
  }

  // Throws when what is missing will not come. Looked at before the end is: that comes too early then, and the
  // commander ends the run.
  void check_graph_locked() const {  // under mutex_
    if (!is_cancelled(graph_)) return;
    throw Error(
        "stream: the graph was cancelled, and items in it are lost; either graph.cancel() was called, or the "
        "body of a node that is not one of Tandem's threw an exception, which graph.wait_for_all() throws "
        "again after Runtime::stop(); catch in that body what may be thrown, and let the item pass");
  }
  void check_graph() const {
    const std::lock_guard lock{mutex_};
    check_graph_locked();
  }

  void source_drained() noexcept override { wake_all(); }

  void close() noexcept override {
    std::vector<Item<T>> dropped;
    std::vector<Item<T>> dropped_too;
    {
      const std::scoped_lock locks{taking_mutex_, mutex_};
      closed_ = true;
      dropped.swap(queue_);
      dropped_too.swap(taken_);
      next_taken_ = 0;
    }
    wake_all();
  }

  void wake_all() noexcept {
    bool listens = false;
    {
      const std::lock_guard lock{mutex_};  // a consumer is asleep by now, or looks again
      listens = listens_;
    }
    tell_sleepers(listens);
  }

  flow::graph& graph_;
  const std::shared_ptr<Core> core_;
  Input input_;

  static constexpr std::size_t kFew = 64;  // so many are handed on sooner than the pump is awake

  // Consumers and those who bring items write to lines of their own.
  alignas(64) mutable SpinMutex
      taking_mutex_;            // guards what consumers took over; before mutex_, if both are taken
  std::vector<Item<T>> taken_;  // from next_taken_ on
  std::size_t next_taken_ = 0;
  std::uint64_t epoch_ = 0;              // rounds that have ended
  ErrorPolicy errors_{core_->config()};  // ruled by who holds taking_mutex_

  alignas(64) std::atomic<bool> lingering_{false};
  Linger linger_;  // of the consumer that set lingering_

  alignas(64) mutable std::mutex mutex_;  // guards what arrives
  std::vector<Item<T>> queue_;
  std::condition_variable arrived_;
  int sleepers_ = 0;
  bool listens_ = false;  // one of them, in the pump's place
  bool closed_ = false;

  alignas(64) std::atomic<bool> waiting_{false};  // something is in queue_: for a look without the lock
  std::atomic<bool> few_came_{true};              // when somebody looked last
};

}  // namespace tandem
