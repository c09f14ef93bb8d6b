#pragma once

#include <pthread.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <oneapi/tbb/flow_graph.h>

#include <tandem/core.hpp>
#include <tandem/graph_access.hpp>
#include <tandem/graph_hold.hpp>
#include <tandem/hold_watch.hpp>
#include <tandem/item.hpp>
#include <tandem/ports.hpp>
#include <tandem/run.hpp>
#include <tandem/runtime.hpp>
#include <tandem/several.hpp>

namespace tandem {

/// A source whose items are made by a loop of the program's own, in place: the loop borrows a buffer, writes its
/// step there, and pushes it. No copy is made; workers read what the loop wrote.
///
///     auto frame = steps.loan();
///     solver.advance(frame->matrix<double>("temperature"));
///     steps.push(std::move(frame));
///
/// Full      in_flight steps are in the graph, or in the hands of whoever consumes the results. Then `full` of
///           [node.NAME] decides. "block": a loan waits for a free buffer. "drop_newest": the step that is pushed is
///           dropped. "drop_oldest": the step is kept until there is room, and takes the place of the one that was kept.
///           Dropped steps are counted, and have no number. With the last two there is always one buffer for a
///           loan, so a loop that holds one at a time never waits; a second loan, of this thread or another, may have to
///           wait for the first.
/// Order     steps are numbered as they are pushed; steps that were lent and not pushed leave no gap.
/// End       finish(); or the end of the run. A graph that is cancelled ends the run within a second or two.
/// Threads   all functions by any thread.
/// Lifetime  the destructor stops the runtime. Loans may outlive it, but not be pushed.
template <class T>
class feeder_node : public flow::composite_node<std::tuple<>, std::tuple<Item<T>>>, private Member {
  static_assert(Transportable<T>, "a step must be Arrays or trivially copyable: it lives in shared memory");
  using base_type = flow::composite_node<std::tuple<>, std::tuple<Item<T>>>;
  static constexpr bool kArrays = std::is_same_v<T, Arrays>;

 public:
  /// A buffer that is lent: a T of indeterminate contents, to be written by the holder. Goes back when it is
  /// destroyed without having been pushed.
  class Loan {
   public:
    /// Nothing.
    Loan() noexcept = default;
    Loan(Loan&& other) noexcept = default;
    Loan& operator=(Loan&& other) noexcept = default;

    explicit operator bool() const noexcept { return static_cast<bool>(handle_); }
    /// Errors    throws Error when this is no loan, or not any more.
    T& operator*() const { return *get(); }
    T* operator->() const { return get(); }

   private:
    friend class feeder_node;
    Loan(Feed& feed, Lease& lease) noexcept : feed_{&feed}, handle_{&lease, Part::graph} {}

    T* get() const {
      if (!handle_) throw Error("this loan holds nothing: it was pushed, or moved from");
      return static_cast<T*>(handle_->payload);
    }

    Feed* feed_ = nullptr;  // whose loan it is
    Handle handle_;
  };

  /// Steps that are structs.
  feeder_node(flow::graph& graph, Runtime& runtime, std::string name)
    requires(!kArrays)
      : feeder_node{graph, runtime, std::move(name), BlockLayout::of_struct<T>()} {}

  /// Steps that are sets of arrays of fixed shapes.
  /// Errors    throws Error when two arrays share a name or one has none.
  feeder_node(flow::graph& graph, Runtime& runtime, std::string name, std::vector<ArraySpec> arrays)
    requires(kArrays)
      : feeder_node{graph, runtime, std::move(name), BlockLayout::of_arrays(std::move(arrays))} {}

  ~feeder_node() {
    leave_run(*core_, *this, graph_);  // joins watch_
    output_.wait_idle();
  }

  /// A buffer to write the next step into. Waits for one. Starts the runtime at the first call.
  /// Errors    throws Error when the run was stopped, finish() was called or the graph was cancelled; when every
  ///           item in flight has been outside the graph for `hold_timeout` without one being given back (one thread that
  ///           both pushes and consumes must consume in between); MemoryError; what Runtime::start() throws.
  [[nodiscard]] Loan loan() { return borrow(Clock::time_point::max()).value(); }
  /// A buffer if one is free now. Never waits, but starts the runtime at the first call.
  /// Errors    as loan().
  [[nodiscard]] std::optional<Loan> try_loan() { return borrow(Clock::time_point::min()); }
  /// A buffer if one comes free in time.
  /// Errors    as loan().
  [[nodiscard]] std::optional<Loan> loan_for(std::chrono::nanoseconds timeout) {
    const Clock::time_point now = Clock::now();
    const bool for_ever = timeout >= Clock::time_point::max() - now;
    return borrow(for_ever ? Clock::time_point::max() : now + timeout);
  }

  /// Hands the step on. Never waits. In a loop that pushes regularly, worker processes that sleep are woken by another thread, which
  /// comes a 64th of the usual time after the step was due, and a few times more; to wake them takes longer than the rest of a push. Whoever
  /// waits for what comes of a step, in next(), next_for(), finish() or a loan, has it done at once; who polls waits a little longer.
  /// Returns   false when this step was dropped, at once; a step that waits may be dropped later ("drop_oldest").
  ///           After the end of the run steps are dropped, too, but not counted.
  /// Errors    throws Error when it is no loan of this node.
  bool push(Loan&& loan) {
    Loan mine = std::move(loan);
    if (!mine)
      throw Error(name_ + ": push() was given a loan that holds nothing: it was pushed, or moved from");
    if (mine.feed_ != core_->feed(index_)) throw Error(name_ + ": push() was given another node's loan");
    Lease* const lease = mine.handle_.release();
    const Feed::Outcome outcome = mine.feed_->push(*lease);
    const Run run{outcome.expected ? Run::Pace::can_wait : Run::Pace::at_once};
    for (Lease* const enters : outcome.enter) {
      if (enters != nullptr) emit(*enters);
    }
    if (outcome.dropped != nullptr) outcome.dropped->drop(Part::graph);
    return outcome.dropped != lease;
  }

  /// No further loan: who asks for one, or waits for one, is told so. Consumers see the end after the last step, and after
  /// what is lent still has been pushed or given back. Starts the runtime, as a loan does, so that consumers can see the
  /// end; does nothing after the end of the run.
  /// Errors    what Runtime::start() throws.
  void finish() {
    core_->start();
    if (Feed* const feed = core_->feed(index_)) feed->finish();  // null: stopped before it could start
    core_->hurry();
  }

  /// How many steps were dropped because there was no room.
  [[nodiscard]] std::uint64_t dropped() const noexcept {
    const Feed* const feed = core_->feed(index_);
    return feed == nullptr ? 0 : feed->dropped();
  }
  /// How many steps have entered the graph.
  [[nodiscard]] std::uint64_t entered() const noexcept { return source_.emitted(); }

 private:
  using Clock = std::chrono::steady_clock;

  feeder_node(flow::graph& graph, Runtime& runtime, std::string name, BlockLayout layout)
      : base_type{graph},
        graph_{graph},
        core_{runtime.core()},
        name_{std::move(name)},
        output_{graph, *core_},
        index_{core_->add_feed(name_, std::move(layout))},
        source_{core_->source_of_feed(index_)} {
    base_type::set_external_ports(typename base_type::output_ports_type{output_});
    core_->add_member(*this);
  }

  std::optional<Loan> borrow(Clock::time_point until) {
    core_->start();
    check();
    HoldWatch watch{*core_, HoldWatch::For::loan};
    const bool for_ever = until == Clock::time_point::max();
    bool held = false;
    const auto hopeless = [&] {
      held = for_ever && watch.expired();
      return held || is_cancelled(graph_);
    };
    Feed& feed = *core_->feed(index_);
    if (Lease* const lease = feed.loan(until, hopeless)) {
      if constexpr (kIsSeveral<T>) static_cast<T*>(lease->payload)->clear();
      return Loan{feed, *lease};
    }
    check();
    if (held) throw Error(watch.text(name_));
    return std::nullopt;
  }

  // Throws when no step can follow.
  void check() const {
    const Feed* const feed = core_->feed(index_);  // null: stopped before it could start
    const char* why = nullptr;
    if (feed == nullptr || core_->is_closed() || source_.stopped()) {
      why = "the run was stopped";
    } else if (is_cancelled(graph_)) {
      why = "the graph was cancelled";
    } else if (feed->finished()) {
      why = "finish() was called";
    }
    if (why != nullptr) throw Error(name_ + ": " + why + "; no step can follow");
  }

  void opened() override {
    hold_.take(source_);
    watch_ = std::thread{[this] { watch(); }};
    if (core_->stopping().load(std::memory_order_relaxed) != 0) close();  // a body's start() was faster
  }
  void close() noexcept override {
    Feed* const feed = core_->feed(index_);
    if (feed == nullptr) return;
    if (Lease* const waiting = feed->close()) waiting->drop(Part::graph);
    feed->finish();
  }
  void join() noexcept override {
    if (watch_.joinable()) watch_.join();
    hold_.let_go();
  }
  void source_drained() noexcept override { hold_.let_go_of(source_); }

  // In a graph that was cancelled, items stay for ever in the nodes that are not Tandem's. The program's own loop may be
  // waiting for the graph by then, or for what comes out of it.
  void watch() noexcept {
    pthread_setname_np(pthread_self(), ("tandem:" + name_).substr(0, 15).c_str());
    source_.wait_drained([this] { return is_cancelled(graph_); });
    if (is_cancelled(graph_)) hold_.end_run();
  }

  void credit_free(std::uint32_t source_id) noexcept override {
    if (source_id != source_.id()) return;
    if (Lease* const lease = core_->feed(index_)->enter_waiting()) emit(*lease);
  }

  void emit(Lease& lease) noexcept { output_.emit(Handle{&lease, Part::graph}); }

  flow::graph& graph_;
  const std::shared_ptr<Core> core_;
  const std::string name_;
  OutputPort<T> output_;
  const std::uint32_t index_;
  Source& source_;
  GraphHold hold_{graph_, *core_};
  std::thread watch_;
};

}  // namespace tandem
