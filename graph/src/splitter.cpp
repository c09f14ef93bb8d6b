#include <tandem/splitter.hpp>

#include <pthread.h>

#include <chrono>
#include <utility>

#include <tandem/error.hpp>
#include <tandem/graph_access.hpp>
#include <tandem/node.hpp>
#include <tandem/ports.hpp>
#include <tandem/run.hpp>

namespace tandem {

Splitter::Splitter(flow::graph& graph, std::shared_ptr<Core> core, std::string name,
                   std::vector<std::string> arrays)
    : graph_{graph},
      core_{std::move(core)},
      name_{std::move(name)},
      index_{core_->add_split(name_, std::move(arrays))},
      source_{core_->source_of_split(index_)},
      rounds_{*core_, "split node '" + name_ + "'"} {
  if (core_->config().deterministic) {
    bit_ = core_->add_sequencer(*this, false);
  } else {
    core_->add_member(*this);
  }
}

void Splitter::leave() noexcept { leave_run(*core_, *this, graph_); }

void Splitter::take(std::span<Handle> items) noexcept {
  if (bit_ != 0) {
    order_.take(items, bit_, core_->sequencers());
  } else {
    put(items);
  }
}

void Splitter::message_left(std::uint32_t source, std::uint64_t sequence) noexcept {
  if (bit_ != 0) order_.skip(source, sequence);
}

void Splitter::put(std::span<Handle> items) noexcept {
  for (Handle& item : items) put_one(std::move(item));
}

void Splitter::put_one(Handle item) noexcept {
  source_.begin_input();  // before the graph lets go of it: see Ending
  Departures gone;        // told of last
  item.leave_graph(gone);
  bool dropped = false;
  {
    const std::lock_guard lock{mutex_};
    dropped = closed_;
    if (!closed_) queue_.push_back(std::move(item));
    waiting_.store(true, std::memory_order_relaxed);
  }
  if (dropped) return source_.end_input();
  arrived_.notify_one();
}

void Splitter::opened() {
  hold_.take(source_);
  thread_ = std::thread{[this] { run(); }};
}

void Splitter::close() noexcept {
  order_.close();
  std::deque<Handle> dropped;
  {
    const std::lock_guard lock{mutex_};
    closed_ = true;
    dropped.swap(queue_);
  }
  arrived_.notify_all();
}

void Splitter::join() noexcept {
  if (thread_.joinable()) thread_.join();
  hold_.let_go();
}

void Splitter::source_drained() noexcept {
  hold_.let_go_of(source_);
  if (!source_.drained()) return;
  { const std::lock_guard lock{mutex_}; }  // the thread is asleep by now, or looks again
  arrived_.notify_all();
}

void Splitter::run() noexcept {
  Core::inside() = core_.get();
  pthread_setname_np(pthread_self(), ("tandem:" + name_).substr(0, 15).c_str());
  // In a graph that was cancelled, items stay for ever in the nodes that are not Tandem's.
  const Cancelled cancelled = [this] { return is_cancelled(graph_); };
  while (std::optional<Handle> item = wait_item(cancelled)) {
    take_apart(*item, cancelled);
    item.reset();
    source_.end_input();
  }
  if (cancelled()) hold_.end_run();
}

// Nothing: none will come.
std::optional<Handle> Splitter::wait_item(const Cancelled& cancelled) noexcept {
  constexpr std::chrono::seconds kLook{1};
  linger_.wait([this] { return waiting_.load(std::memory_order_relaxed); });
  std::unique_lock lock{mutex_};
  for (;;) {
    if (closed_ || cancelled()) return std::nullopt;
    if (!queue_.empty()) break;
    if (source_.drained()) return std::nullopt;
    // Woken by put(), close() and the end of the source. A graph that is cancelled has nobody to wake us.
    arrived_.wait_for(lock, kLook);
  }
  Handle item = std::move(queue_.front());
  queue_.pop_front();
  waiting_.store(!queue_.empty(), std::memory_order_relaxed);
  return item;
}

void Splitter::take_apart(const Handle& item, const Cancelled& cancelled) noexcept {
  Lease& whole = *item;
  const std::uint64_t epoch = whole.root->epoch;
  // The next round's first item ends a round, too, if it came before the mark, or a plain node dropped that: where no order
  // is restored, all items of a round are here before its mark is made.
  while (rounds_.number() < epoch) {
    if (!end_round(cancelled)) return;
  }
  if (whole.root->round == Round::end) {
    if (rounds_.number() == epoch) end_round(cancelled);
    return;
  }
  if (whole.skipped) return;
  if (whole.failure) return make_failure(whole, std::make_unique<Failure>(*whole.failure), cancelled);
  std::size_t count = 0;
  std::optional<std::string> problem;
  try {
    count = cut(whole);
  } catch (...) { problem = current_exception_text(); }
  if (!problem) return make_parts(whole, count, cancelled);
  make_failure(whole,
               std::make_unique<Failure>(Failure{name_, whole.sequence, -1, 1,
                                                 "cannot split the item: " + *problem}),
               cancelled);
}

bool Splitter::end_round(const Cancelled& cancelled) noexcept {
  Lease* const mark = rounds_.wait_mark(source_, cancelled);
  if (mark == nullptr) return false;
  hand_on(Handle{mark, Part::graph});
  return true;
}

void Splitter::make_parts(Lease& whole, std::size_t count, const Cancelled& cancelled) noexcept {
  constexpr std::size_t kTurn = 32;  // that successors get at once; more would let them wait
  for (std::size_t number = 0; number < count;) {
    Lease* part = source_.wait_acquire(cancelled);
    if (part == nullptr) return;
    const Run run;
    for (std::size_t turn = 1; part != nullptr; ++turn) {
      begin_part(*part, whole, number, count);
      fill(*part, whole);
      hand_on(Handle{part, Part::graph});
      part = ++number < count && turn < kTurn ? source_.try_acquire() : nullptr;
    }
  }
}

void Splitter::make_failure(Lease& whole, std::unique_ptr<Failure> failure,
                            const Cancelled& cancelled) noexcept {
  Lease* const part = source_.wait_acquire(cancelled);
  if (part == nullptr) return;
  begin_part(*part, whole, 0, 1);
  part->failure = std::move(failure);
  hand_on(Handle{part, Part::graph});
}

void Splitter::begin_part(Lease& part, Lease& whole, std::size_t number, std::size_t count) const noexcept {
  if (whole.root->round != Round::none) rounds_.stamp(part);
  part.worker = whole.worker;
  part.attempt = whole.attempt;
  whole.add(Part::user);  // beside that of our item
  part.is_part = true;
  part.piece.whole = &whole;
  part.piece.block = whole.root == &whole ? whole.piece.block : &whole;
  part.piece.number = number;
  part.piece.count = count;
  // It will not come here, so that nobody need say so when it has left.
  part.sequencers.store(bit_, std::memory_order_relaxed);
}

}  // namespace tandem
