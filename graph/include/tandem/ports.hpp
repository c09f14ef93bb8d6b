#pragma once

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
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
  /// Takes items over from a port of the same Runtime; what it leaves there is dropped by the caller. By any thread;
  /// must not wait or throw.
  virtual void accept(std::span<Handle> items) noexcept = 0;

  const Core& core() const noexcept { return core_; }
  /// The workers that what comes here goes straight to; null: it goes elsewhere. In an open run.
  virtual Crew* crew() noexcept { return nullptr; }

  /// What happens to an item of another Runtime: its block and its number mean something else here.
  static void refuse() noexcept {
    log_warning("an item of another Runtime was dropped; nodes that are joined by edges need the same Runtime");
  }

 protected:
  InputPort(flow::graph& graph, const Core& core) : Node{graph, flow::unlimited, PutBack{*this}}, core_{core} {}

 private:
  using Node = flow::function_node<Item<T>, flow::continue_msg, flow::lightweight>;
  // An item that comes from a node counts as the graph's again, also if a user put it there.
  struct PutBack {
    InputPort& port;
    flow::continue_msg operator()(const Item<T>& item) const noexcept {
      if (!item) return {};
      if (port.core_.owns(*item.handle())) {
        Handle mine = item.handle().for_graph();
        port.accept({&mine, 1});
      } else {
        refuse();
      }
      return {};
    }
  };

  const Core& core_;
};

/// The sending side of a node. Edges are made and removed while no item flows, as oneTBB asks.
template <class T>
class OutputPort : public flow::sender<Item<T>> {
 public:
  OutputPort(flow::graph& graph, const Core& core) : graph_{graph}, core_{core} {}
  OutputPort(const OutputPort&) = delete;
  OutputPort& operator=(const OutputPort&) = delete;
  ~OutputPort() override { wait_idle(); }

  /// Hands items to all successors: takes the handles over; what it leaves there is dropped by the caller. By any thread.
  void emit(std::span<Handle> items) noexcept {
    if (!others_.empty()) put_outside(items);
    if (ours_.empty()) return;
    for (std::size_t index = 0; index + 1 < ours_.size(); ++index) emit_copies(*ours_[index], items);
    hand_to(*ours_.back(), items);
  }
  void emit(Handle item) noexcept { emit({&item, 1}); }

  /// The workers that all items go straight to; empty, if some go elsewhere.
  std::vector<Crew*> crews() const {
    if (!others_.empty()) return {};
    std::vector<Crew*> crews;
    for (InputPort<T>* const port : ours_) crews.push_back(&port->core() == &core_ ? port->crew() : nullptr);
    if (std::find(crews.begin(), crews.end(), nullptr) != crews.end()) return {};
    return crews;
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

  void hand_to(InputPort<T>& port, std::span<Handle> items) const noexcept {
    if (&port.core() == &core_) return port.accept(items);
    for ([[maybe_unused]] const Handle& item : items) port.refuse();
  }

  void emit_copies(InputPort<T>& port, std::span<const Handle> items) const noexcept {
    std::array<Handle, 16> copies;
    while (!items.empty()) {
      const std::size_t count = std::min(items.size(), copies.size());
      std::copy_n(items.begin(), count, copies.begin());
      hand_to(port, std::span{copies}.first(count));
      items = items.subspan(count);
    }
  }

  void put_outside(std::span<const Handle> items) noexcept {
    for (const auto& edge : others_) {
      for (const Handle& item : items) edge->add(Item<T>{item});
    }
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
  const Core& core_;
  std::vector<InputPort<T>*> ours_;
  std::vector<std::unique_ptr<Edge<T>>> others_;

  std::mutex mutex_;    // guards all below
  bool again_ = false;  // something was queued, or a node wants items again, since the task's last look
  bool scheduled_ = false;
  std::condition_variable idle_;
};

}  // namespace tandem
