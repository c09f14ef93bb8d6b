#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <tuple>
#include <utility>

#include <oneapi/tbb/flow_graph.h>

#include <tandem/core.hpp>
#include <tandem/in_order.hpp>
#include <tandem/ports.hpp>
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
class sequencer_node : public flow::composite_node<std::tuple<Item<T>>, std::tuple<Item<T>>>,
                       private Member,
                       private Outlet {
  using base_type = flow::composite_node<std::tuple<Item<T>>, std::tuple<Item<T>>>;

 public:
  explicit sequencer_node(flow::graph& graph, Runtime& runtime, std::size_t branches = 1)
      : base_type{graph},
        graph_{graph},
        core_{runtime.core()},
        input_{graph, *this},
        output_{graph, *core_},
        order_{*this, branches} {
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
    void accept(std::span<Handle> items) noexcept override { node_.take(items); }

   private:
    sequencer_node& node_;
  };

  void take(std::span<Handle> items) noexcept {
    if (bit_ == 0) {
      output_.emit(items);
    } else {
      order_.take(items, bit_, core_->sequencers());
    }
  }

  void emit(std::span<Handle> items) noexcept override { output_.emit(items); }

  void message_left(std::uint32_t source, std::uint64_t sequence) noexcept override {
    order_.skip(source, sequence);
  }

  void close() noexcept override { order_.close(); }

  flow::graph& graph_;
  const std::shared_ptr<Core> core_;
  Input input_;
  OutputPort<T> output_;
  InOrder order_;
  std::uint64_t bit_ = 0;  // ours in Lease::sequencers; 0: pass straight through
};

}  // namespace tandem
