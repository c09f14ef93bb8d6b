#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <oneapi/tbb/flow_graph.h>

#include <tandem/core.hpp>
#include <tandem/graph_hold.hpp>
#include <tandem/in_order.hpp>
#include <tandem/linger.hpp>
#include <tandem/rounds.hpp>

namespace tandem {

/// What all split nodes have in common: a queue of items, and a thread that makes parts of them while credits are free.
///
/// An item that is due here leaves the graph, as it does in a stream: it waits in the queue as a user's, and each of its parts
/// keeps it by one user's handle. So its commander's messages in the graph are those that have yet to come here, and its credit
/// is free when the last part is gone. Parts are messages of a source of this node's, with credits of their own:
///
///     who waits                   for         woken by, or told
///     this thread                 an item     put(), the end of its source, close(); looks each second whether the graph
///                                             was cancelled
///     this thread, item in hand   a credit    the thread that drops a part's last handle; Source::stop(); looks likewise
///     a commander whose items     a credit    the thread that drops the last part of one
///     are all here or in parts
///     a consumer who holds all    an item     an error after `hold_timeout`: Core::waits_for_user() finds no message in the
///     parts, or one of each item              graph, and no split node that has both an item and a credit
///     stop()                      the thread  its own close() and Source::stop() end the thread's waits, for good
///     a stream, at the end        the end     Ending, by whoever brings the last count to zero
///
/// Nobody waits for a credit of a source with a message of the same source in hand: items wait for parts, and parts for
/// nothing here. So as long as the user does not hold them, parts go on to their end, and then the items.
/// Threads   take() by any; what is virtual is called by the node's thread, in one item at a time.
class Splitter : protected Member {
 protected:
  /// arrays: see Split.
  Splitter(flow::graph& graph, std::shared_ptr<Core> core, std::string name, std::vector<std::string> arrays);
  ~Splitter() = default;

  /// Takes items from the graph. Never waits.
  void take(std::span<Handle> items) noexcept;
  /// The node's destructor must begin with this.
  void leave() noexcept;

  /// How many parts the item has.
  /// Errors    what it throws becomes an error item in place of the parts.
  virtual std::size_t cut(Lease& whole) = 0;
  /// Makes part.payload the value of this part; its place in the whole is known.
  virtual void fill(Lease& part, Lease& whole) = 0;
  /// Hands a part to the node's successors.
  virtual void hand_on(Handle part) noexcept = 0;

  Core& core() const noexcept { return *core_; }
  Split& split() const noexcept { return core_->split(index_); }
  std::uint32_t index() const noexcept { return index_; }

 private:
  using Cancelled = std::function<bool()>;
  // Items that are due.
  struct Due final : Outlet {
    explicit Due(Splitter& splitter_in) : splitter{splitter_in} {}
    void emit(std::span<Handle> items) noexcept override { splitter.put(items); }
    Splitter& splitter;
  };

  void opened() override;
  void close() noexcept override;
  void join() noexcept override;
  void message_left(std::uint32_t source, std::uint64_t sequence) noexcept override;
  void source_drained() noexcept override;

  void put(std::span<Handle> items) noexcept;
  void put_one(Handle item) noexcept;
  void run() noexcept;
  std::optional<Handle> wait_item(const Cancelled& cancelled) noexcept;
  void take_apart(const Handle& item, const Cancelled& cancelled) noexcept;
  bool end_round(const Cancelled& cancelled) noexcept;
  void make_parts(Lease& whole, std::size_t count, const Cancelled& cancelled) noexcept;
  void make_failure(Lease& whole, std::unique_ptr<Failure> failure, const Cancelled& cancelled) noexcept;
  void begin_part(Lease& part, Lease& whole, std::size_t number, std::size_t count) const noexcept;

  flow::graph& graph_;
  const std::shared_ptr<Core> core_;
  const std::string name_;
  const std::uint32_t index_;
  Source& source_;
  Due due_{*this};
  InOrder order_{due_, 1};
  std::uint64_t bit_ = 0;  // ours in Lease::sequencers; 0: items are taken as they come
  Rounds rounds_;          // the thread's
  Linger linger_;          // the thread's
  std::thread thread_;
  GraphHold hold_{graph_, *core_};

  std::atomic<bool> waiting_{false};  // something is in queue_: for a look without the lock
  std::mutex mutex_;                  // guards all below; no handle is dropped under it
  std::condition_variable arrived_;
  std::deque<Handle> queue_;
  bool closed_ = false;
};

}  // namespace tandem
