#pragma once

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
#include <tandem/linger.hpp>
#include <tandem/ports.hpp>
#include <tandem/run.hpp>
#include <tandem/runtime.hpp>

namespace tandem {

/// Where a consumer takes items out of the graph: with a range-for, next(), try_next() or next_for().
///
/// Items     are the workers' own memory; nothing is copied. Each holds a credit until its last handle is
///           gone, so a consumer that keeps in_flight items gets no further one.
/// End       when every commander has ended and the graph is done with every message; or after stop().
/// Errors    an item that carries an error is thrown as ProducerError at its place; the next call goes on
///           with the next item.
/// Threads   any number of consumers; each item goes to one of them.
/// Lifetime  the destructor stops the runtime.
template <class T>
class stream_node : public flow::composite_node<std::tuple<Item<T>>, std::tuple<>>, private Member, private Flushable {
  using base_type = flow::composite_node<std::tuple<Item<T>>, std::tuple<>>;

 public:
  stream_node(flow::graph& graph, Runtime& runtime)
      : base_type{graph}, core_{runtime.core()}, input_{graph, *this} {
    base_type::set_external_ports(typename base_type::input_ports_type{input_});
    core_->add_member(*this);
  }

  ~stream_node() {
    core_->stop();
    core_->remove_member(*this);
  }

  /// The next item; nothing at the end. Starts the runtime at the first call. Waits.
  /// Errors    throws ProducerError in an item's place; Error when every item in flight has been in the
  ///           consumer's hands for `hold_timeout` without one being given back; what Runtime::start() throws.
  std::optional<Item<T>> next() { return wait_next(std::nullopt); }

  /// The next item if one is there. Never waits, but starts the runtime at the first call.
  /// Returns   nothing when there is none now, or at the end: ended() tells which.
  std::optional<Item<T>> try_next() { return wait_next(std::chrono::nanoseconds{0}); }

  /// The next item if one comes in time. Returns nothing otherwise, or at the end.
  std::optional<Item<T>> next_for(std::chrono::nanoseconds timeout) { return wait_next(timeout); }

  /// True when no item will come any more.
  bool ended() const {
    const std::lock_guard lock{mutex_};
    return at_end();
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
    Input(flow::graph& graph, stream_node& node) : InputPort<T>{graph}, node_{node} {}
    void accept(Item<T> item) noexcept override { node_.take(std::move(item)); }

   private:
    stream_node& node_;
  };

  void take(Item<T> item) noexcept {
    if (!item) return;
    // An item in the queue is the consumer's, so that one stream can end while another still has some.
    // The graph lets go of it only once it is in the queue: the other way round, the stream could look
    // ended with one still to come.
    const Handle keep = item.handle();
    item.handle().leave_graph();
    core_->queued(keep->source, 1);
    {
      const std::lock_guard lock{mutex_};
      if (closed_) return;
      queue_.push_back(std::move(item));
      waiting_.store(queue_.size() - head_, std::memory_order_relaxed);
    }
    Run::touch(*this);
  }

  void flush() noexcept override {
    {
      const std::lock_guard lock{mutex_};
      if (sleepers_ == 0) return;
    }
    arrived_.notify_all();
  }

  bool at_end() const {  // under the lock
    return head_ == queue_.size() && (closed_ || core_->is_closed() || (core_->is_open() && core_->drained()));
  }

  std::optional<Item<T>> pop() {  // under the lock
    if (head_ == queue_.size()) return std::nullopt;
    std::optional<Item<T>> item{std::move(queue_[head_++])};
    waiting_.store(queue_.size() - head_, std::memory_order_relaxed);
    if (head_ == queue_.size()) {
      queue_.clear();
      head_ = 0;
    }
    return item;
  }

  std::optional<Item<T>> wait_next(std::optional<std::chrono::nanoseconds> timeout) {
    core_->start();
    std::optional<Item<T>> item;
    {
      std::unique_lock lock{mutex_};
      item = pop();
      if (!item && (!timeout || timeout->count() > 0)) {
        lock.unlock();
        linger();
        lock.lock();
        item = sleep_until_item(lock, timeout);
      }
    }
    if (!item) return item;
    core_->queued(item->handle()->source, -1);
    if (const Failure* const failure = item->error()) throw ProducerError(*failure);
    return item;
  }

  std::optional<Item<T>> sleep_until_item(std::unique_lock<std::mutex>& lock,
                                          std::optional<std::chrono::nanoseconds> timeout) {
    using Clock = std::chrono::steady_clock;
    // Woken by take(), by the end of a source, and by close(). The hold time-out, which has nobody to
    // wake it, wakes by itself, and only while it is possible that nothing will ever come.
    const auto end = timeout ? Clock::now() + *timeout : Clock::time_point::max();
    const std::chrono::nanoseconds hold = core_->config().hold_timeout;
    auto held_since = Clock::now();
    std::uint64_t held = core_->live_messages();
    ++sleepers_;
    std::optional<Item<T>> item;
    for (;;) {
      item = pop();
      if (item || at_end()) break;
      const auto now = Clock::now();
      if (now >= end) break;
      if (timeout) {
        arrived_.wait_until(lock, end);
        continue;
      }
      const std::uint64_t live = core_->live_messages();
      if (live != held || !core_->waits_for_user()) {
        held = live;
        held_since = now;
      } else if (now - held_since >= hold) {
        --sleepers_;
        throw Error(hold_text(live));
      }
      arrived_.wait_for(lock, hold);
    }
    --sleepers_;
    return item;
  }

  // One consumer at a time gives way before it sleeps; see Linger.
  void linger() noexcept {
    if (lingering_.exchange(true, std::memory_order_acquire)) return;
    linger_.wait([this] { return waiting_.load(std::memory_order_relaxed) > 0; });
    lingering_.store(false, std::memory_order_release);
  }

  std::string hold_text(std::uint64_t live) const {
    return "stream: all " + std::to_string(live) +
           " items in flight are held outside the graph, so no other can come; give some back before asking "
           "for the next, or raise in_flight (" +
           std::to_string(core_->in_flight()) + ")";
  }

  void source_drained() noexcept override { wake_all(); }

  void close() noexcept override {
    std::vector<Item<T>> dropped;
    {
      const std::lock_guard lock{mutex_};
      closed_ = true;
      dropped.swap(queue_);
      head_ = 0;
    }
    arrived_.notify_all();
  }

  void wake_all() noexcept {
    { const std::lock_guard lock{mutex_}; }  // a consumer is asleep by now, or looks again
    arrived_.notify_all();
  }

  const std::shared_ptr<Core> core_;
  Input input_;

  std::atomic<std::size_t> waiting_{0};  // items in the queue, for a look without the lock
  std::atomic<bool> lingering_{false};
  Linger linger_;  // of the consumer that set lingering_

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable arrived_;
  std::vector<Item<T>> queue_;  // from head_ on
  std::size_t head_ = 0;
  int sleepers_ = 0;
  bool closed_ = false;
};

}  // namespace tandem
