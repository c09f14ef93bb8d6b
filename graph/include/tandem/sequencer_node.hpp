#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
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
/// Branches  with `branches` = 2, edges of two branches lead here, and the items of message n follow those of n - 1, in the
///           order in which the nodes that made them were made. Each branch must bring one item for each message:
///           on a branch, filter with Context::skip(), and do not drop items.
/// Memory    bounded by the items in flight.
/// Sources   items of several commanders are each put in their own commander's order.
/// Lifetime  the destructor stops the runtime.
template <class T>
class sequencer_node : public flow::composite_node<std::tuple<Item<T>>, std::tuple<Item<T>>>, private Member {
  using base_type = flow::composite_node<std::tuple<Item<T>>, std::tuple<Item<T>>>;

 public:
  explicit sequencer_node(flow::graph& graph, Runtime& runtime, std::size_t branches = 1)
      : base_type{graph},
        graph_{graph},
        core_{runtime.core()},
        input_{graph, *this},
        output_{graph},
        branches_{branches} {
    if (branches == 0) throw Error("a sequencer_node has at least one branch");
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
    if (branches_ > 1) {
      gather(lease.source, sequence, std::move(item));
    } else {
      order_of(lease.source).put(sequence, std::move(item));
    }
    let_out(lock);
  }

  void gather(std::uint32_t source, std::uint64_t sequence, Item<T> item) {
    const auto place = gathered_.try_emplace({source, sequence}).first;
    std::vector<Item<T>>& items = place->second;
    items.push_back(std::move(item));
    if (items.size() < branches_) return;
    std::sort(items.begin(), items.end(),
              [](const Item<T>& a, const Item<T>& b) { return a.handle()->node < b.handle()->node; });
    for (Item<T>& one : items) order_of(source).put(sequence, std::move(one));
    gathered_.erase(place);
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
    decltype(gathered_) gathered;
    const std::lock_guard lock{mutex_};
    closed_ = true;
    dropped.swap(orders_);
    gathered.swap(gathered_);
  }

  flow::graph& graph_;
  const std::shared_ptr<Core> core_;
  Input input_;
  OutputPort<T> output_;
  const std::size_t branches_;
  std::uint64_t bit_ = 0;  // ours in Lease::sequencers; 0: pass straight through

  std::mutex mutex_;  // guards all below; no handle is dropped and nothing emitted under it
  std::vector<std::unique_ptr<Reorder<Item<T>>>> orders_;                             // by source
  std::map<std::pair<std::uint32_t, std::uint64_t>, std::vector<Item<T>>> gathered_;  // by source and number
  std::vector<Item<T>> due_;
  bool emitting_ = false;
  bool closed_ = false;
};

}  // namespace tandem
