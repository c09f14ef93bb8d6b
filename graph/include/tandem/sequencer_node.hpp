#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include <oneapi/tbb/flow_graph.h>

#include <tandem/core.hpp>
#include <tandem/ports.hpp>
#include <tandem/reorder.hpp>
#include <tandem/runtime.hpp>

namespace tandem {

/// Restores the commander's order, when `deterministic` is on; passes straight through when it is off.
///
/// Gaps      none can stop it: a message that the graph is done with before it came here is passed over.
/// Memory    bounded by the items in flight.
/// Sources   items of several commanders are each put in their own commander's order.
/// Lifetime  the destructor stops the runtime.
template <class T>
class sequencer_node : public flow::composite_node<std::tuple<Item<T>>, std::tuple<Item<T>>>, private Member {
  using base_type = flow::composite_node<std::tuple<Item<T>>, std::tuple<Item<T>>>;

 public:
  sequencer_node(flow::graph& graph, Runtime& runtime)
      : base_type{graph}, graph_{graph}, core_{runtime.core()}, input_{graph, *this}, output_{graph} {
    base_type::set_external_ports(typename base_type::input_ports_type{input_},
                                  typename base_type::output_ports_type{output_});
    if (core_->config().deterministic) {
      bit_ = core_->add_sequencer(*this);
    } else {
      core_->add_member(*this);
    }
  }

  ~sequencer_node() {
    leave_run(*core_, *this, graph_);
    output_.wait_idle();
  }

 private:
  class Input final : public InputPort<T> {
   public:
    Input(flow::graph& graph, sequencer_node& node) : InputPort<T>{graph, *node.core_}, node_{node} {}
    void accept(Item<T> item) noexcept override { node_.take(std::move(item)); }

   private:
    sequencer_node& node_;
  };

  void take(Item<T> item) noexcept {
    if (bit_ == 0) {
      output_.emit(std::move(item));
      return;
    }
    Lease& lease = *item.handle();
    // Relaxed: whoever drops the last handle comes after this line by way of the item's own hand-over.
    lease.root->sequencers.fetch_or(bit_, std::memory_order_relaxed);
    const std::uint64_t sequence = lease.sequence;
    std::unique_lock lock{mutex_};
    if (closed_) return;
    order_of(lease.source).put(sequence, std::move(item));
    let_out(lock);
  }

  void message_left(std::uint32_t source, std::uint64_t sequence) noexcept override {
    std::unique_lock lock{mutex_};
    if (closed_) return;
    order_of(source).skip(sequence);
    let_out(lock);
  }

  // Emits what is due. One thread at a time, the others leave their items to it: two threads that
  // emitted side by side could pass each other between the lock and the successor.
  void let_out(std::unique_lock<std::mutex>& lock) noexcept {
    if (emitting_) return;
    emitting_ = true;
    for (;;) {
      for (const auto& order : orders_) {
        if (order) order->take_due(due_);
      }
      if (due_.empty()) break;
      std::vector<Item<T>> now;
      now.swap(due_);
      lock.unlock();
      for (Item<T>& item : now) output_.emit(std::move(item));
      now.clear();
      lock.lock();
      if (due_.empty()) due_.swap(now);  // keeps its memory
    }
    emitting_ = false;
    lock.unlock();
  }

  Reorder<Item<T>>& order_of(std::uint32_t source) {
    if (orders_.size() <= source) orders_.resize(source + 1);
    if (!orders_[source]) orders_[source] = std::make_unique<Reorder<Item<T>>>();
    return *orders_[source];
  }

  void close() noexcept override {
    std::vector<std::unique_ptr<Reorder<Item<T>>>> dropped;
    const std::lock_guard lock{mutex_};
    closed_ = true;
    dropped.swap(orders_);
  }

  flow::graph& graph_;
  const std::shared_ptr<Core> core_;
  Input input_;
  OutputPort<T> output_;
  std::uint64_t bit_ = 0;  // ours in Lease::sequencers; 0: pass straight through

  std::mutex mutex_;  // guards all below; no handle is dropped and nothing emitted under it
  std::vector<std::unique_ptr<Reorder<Item<T>>>> orders_;  // by source
  std::vector<Item<T>> due_;
  bool emitting_ = false;
  bool closed_ = false;
};

}  // namespace tandem
