#pragma once

#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <utility>

#include <oneapi/tbb/flow_graph.h>

#include <tandem/item.hpp>
#include <tandem/log.hpp>
#include <tandem/node.hpp>

namespace tandem {

namespace flow = oneapi::tbb::flow;

/// One edge from a Tandem node to a node of another kind, with a queue of its own: so nothing is lost when that
/// node is busy and rejects, or reserves, and no other successor waits for it.
///
/// Why not a queue_node: that one spawns tasks of its own, also when the edge is made, and a task that has not
/// run when the node is destroyed runs on a dead node.
/// Protocol  oneTBB's: we push while the node accepts; once it rejects we become its predecessor, and it takes
///           with try_get() until that fails, which makes it our successor again.
/// Threads   push() by the port's task, one at a time; the others by any. Nothing of the node is called under the lock.
template <class T>
class Edge final : public flow::sender<Item<T>> {
 public:
  using receiver_type = flow::receiver<Item<T>>;

  /// schedule: has push() called soon, in a task; called by any thread.
  Edge(receiver_type& node, std::function<void()> schedule) : node_{node}, schedule_{std::move(schedule)} {}
  receiver_type& node() const noexcept { return node_; }

  void add(const Item<T>& item) {
    const std::lock_guard lock{mutex_};
    queue_.push_back(item);
  }
  /// Hands on what the node accepts.
  void push() noexcept;
  /// The edge is being removed: the node must not pull any more.
  void withdraw() { remove_predecessor(node_, static_cast<flow::sender<Item<T>>&>(*this)); }

  bool try_get(Item<T>& item) override {
    const std::lock_guard lock{mutex_};
    if (reserved_ || queue_.empty()) return false;
    item = std::move(queue_.front());
    queue_.pop_front();
    return true;
  }
  bool try_reserve(Item<T>& item) override {
    const std::lock_guard lock{mutex_};
    if (reserved_ || queue_.empty()) return false;
    reserved_ = true;
    item = queue_.front();
    return true;
  }
  bool try_release() override {
    const std::lock_guard lock{mutex_};
    reserved_ = false;
    return true;
  }
  bool try_consume() override {
    const Item<T> consumed = take_reserved();
    return true;
  }

 private:
  // The node gave up pulling. Not pushed to from here: it may be in the middle of its own work.
  bool register_successor(receiver_type&) override {
    bool anything = false;
    {
      const std::lock_guard lock{mutex_};
      pulled_ = false;
      anything = !queue_.empty();
    }
    if (anything) schedule_();
    return true;
  }
  bool remove_successor(receiver_type&) override { return true; }

  Item<T> take_reserved() {
    const std::lock_guard lock{mutex_};
    Item<T> item = std::move(queue_.front());
    queue_.pop_front();
    reserved_ = false;
    return item;
  }

  bool try_put(const Item<T>& item) noexcept;

  receiver_type& node_;
  const std::function<void()> schedule_;

  std::mutex mutex_;  // guards all below
  std::deque<Item<T>> queue_;
  bool pulled_ = false;    // we are the node's predecessor: it takes, we do not push
  bool reserved_ = false;  // the front is promised to the node
};

// The functions that the user gives to a key_matching join_node or to oneTBB's sequencer_node are called in here. When one
// throws, oneTBB's node refers to what was on the stack: the program cannot go on, but it can say why.
template <class T>
bool Edge<T>::try_put(const Item<T>& item) noexcept {
  try {
    return node_.try_put(item);
  } catch (...) {
    log_warning(
        "a key function of a join_node or sequencer_node threw, which oneTBB does not survive; use "
        "Item::sequence(), or ask Item::ok() before the value: " +
        current_exception_text());
    std::terminate();
  }
}

template <class T>
void Edge<T>::push() noexcept {
  for (;;) {
    Item<T> item;
    {
      const std::lock_guard lock{mutex_};
      if (pulled_ || reserved_ || queue_.empty()) return;
      item = std::move(queue_.front());
      queue_.pop_front();
    }
    if (try_put(item)) continue;
    {
      const std::lock_guard lock{mutex_};
      queue_.push_front(std::move(item));
      pulled_ = true;
    }
    if (register_predecessor(node_, static_cast<flow::sender<Item<T>>&>(*this))) return;
    // A node that neither takes the item nor will ever ask for it. It is dropped, as oneTBB would; without the lock, since
    // its credit may bring the next item here.
    Item<T> dropped;
    {
      const std::lock_guard lock{mutex_};
      pulled_ = false;
      if (!queue_.empty()) {
        dropped = std::move(queue_.front());
        queue_.pop_front();
      }
    }
    log_warning("an item was dropped: the node at the end of an edge neither takes nor pulls it");
  }
}

}  // namespace tandem
