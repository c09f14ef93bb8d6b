#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <oneapi/tbb/flow_graph.h>

#include <tandem/core.hpp>
#include <tandem/edge.hpp>
#include <tandem/graph_access.hpp>
#include <tandem/item.hpp>
#include <tandem/log.hpp>

// How Tandem's nodes take part in a oneTBB graph. Between two of Tandem's nodes an item is handed on
// by a plain call: nothing runs there that would be worth a task. To any other node it goes through an
// Edge with its own queue, from a task that is enqueued in the graph's own arena. So no item is lost when
// that node rejects or reserves, no code of the user runs in Tandem's threads, and the item finds a thread
// also where oneTBB has none to spare (one processor): it brings one for an enqueued task, and that thread
// does what was spawned in its arena, as the node's own tasks are, before it leaves. For a task that is put
// from another arena it brings none.

namespace tandem {

namespace flow = oneapi::tbb::flow;

/// What every node's destructor does first. The run ends, and the graph's tasks with it: plain nodes may still
/// hold items that were on their way, and are alive now, which they may not be later.
inline void leave_run(Core& core, Member& member, flow::graph& graph) noexcept {
  core.stop();
  core.remove_member(member);
  if (Core::inside() == &core) return;  // in one of its own bodies, which cannot wait for itself
  try {
    graph.wait_for_all();
  } catch (...) {
    log_warning("a node of the graph threw while the graph was ending: " + current_exception_text());
  }
}

/// The receiving side of a node.
template <class T>
class InputPort : public flow::function_node<Item<T>, flow::continue_msg, flow::lightweight> {
 public:
  /// Takes an item from a port or a node. By any thread.
  void receive(Item<T> item) noexcept {
    if (!item) return;
    if (!core_.owns(*item.handle())) {  // its block and its number mean something else here
      log_warning(
          "an item of another Runtime was dropped; nodes that are joined by edges need the same Runtime");
      return;
    }
    accept(std::move(item));
  }

 protected:
  /// Called by any thread; must not wait or throw.
  virtual void accept(Item<T> item) noexcept = 0;

  InputPort(flow::graph& graph, const Core& core) : Node{graph, flow::unlimited, PutBack{*this}}, core_{core} {}

 private:
  using Node = flow::function_node<Item<T>, flow::continue_msg, flow::lightweight>;
  // An item that comes from a node counts as the graph's again, also if a user put it there.
  struct PutBack {
    InputPort& port;
    flow::continue_msg operator()(const Item<T>& item) const noexcept {
      port.receive(Item<T>{item.handle().for_graph()});
      return {};
    }
  };

  const Core& core_;
};

/// The sending side of a node. Edges are made and removed while no item flows, as oneTBB asks.
template <class T>
class OutputPort : public flow::sender<Item<T>> {
 public:
  explicit OutputPort(flow::graph& graph) : graph_{graph} {}
  OutputPort(const OutputPort&) = delete;
  OutputPort& operator=(const OutputPort&) = delete;
  ~OutputPort() override { wait_idle(); }

  /// Hands an item to all successors. By any thread.
  void emit(Item<T> item) noexcept {
    if (!others_.empty()) put_outside(item);
    if (ours_.empty()) return;
    for (std::size_t index = 0; index + 1 < ours_.size(); ++index) ours_[index]->receive(item);
    ours_.back()->receive(std::move(item));
  }

  /// Whether an edge leads from here.
  bool is_connected() const noexcept { return !ours_.empty() || !others_.empty(); }

  /// Returns once no task of this port is left.
  void wait_idle() noexcept {
    std::unique_lock lock{mutex_};
    idle_.wait(lock, [this] { return !scheduled_; });
  }

 private:
  using successor_type = flow::receiver<Item<T>>;
  bool register_successor(successor_type& node) override {
    if (auto* const port = dynamic_cast<InputPort<T>*>(&node)) {
      ours_.push_back(port);
    } else {
      others_.push_back(std::make_unique<Edge<T>>(node, [this] { schedule(); }));
    }
    return true;
  }

  bool remove_successor(successor_type& node) override {
    if (auto* const port = dynamic_cast<InputPort<T>*>(&node)) return std::erase(ours_, port) > 0;
    wait_idle();
    return std::erase_if(others_, [&](const auto& edge) {
             if (&edge->node() != &node) return false;
             edge->withdraw();
             return true;
           }) > 0;
  }

  void put_outside(const Item<T>& item) noexcept {
    for (const auto& edge : others_) edge->add(item);
    schedule();
  }

  void schedule() noexcept {
    {
      const std::lock_guard lock{mutex_};
      again_ = true;
      if (scheduled_) return;
      scheduled_ = true;
    }
    graph_.reserve_wait();
    arena_of(graph_).enqueue([this] { forward(); });
  }

  // One task at a time, so that items leave in the order in which they came.
  void forward() noexcept {
    for (;;) {
      {
        const std::lock_guard lock{mutex_};
        if (!again_) {
          graph_.release_wait();
          scheduled_ = false;
          idle_.notify_all();  // under the lock: this port may be gone right after
          return;
        }
        again_ = false;
      }
      for (const auto& edge : others_) edge->push();
    }
  }

  flow::graph& graph_;
  std::vector<InputPort<T>*> ours_;
  std::vector<std::unique_ptr<Edge<T>>> others_;

  std::mutex mutex_;    // guards all below
  bool again_ = false;  // something was queued, or a node wants items again, since the task's last look
  bool scheduled_ = false;
  std::condition_variable idle_;
};

}  // namespace tandem
