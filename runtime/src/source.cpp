#include <tandem/source.hpp>

#include <chrono>
#include <utility>

#include <fmt/format.h>

#include <tandem/error.hpp>

namespace tandem {
namespace {

constexpr std::chrono::seconds kLook{1};  // how often somebody who waits asks whether that is hopeless

}  // namespace

Source::~Source() = default;

void Source::open(SourceListener& listener, std::shared_ptr<void> keep, std::unique_ptr<MessageStore> store,
                  std::uint32_t in_flight, std::uint32_t extra, std::uint64_t all_sequencers) {
  listener_ = &listener;
  keep_ = std::move(keep);
  store_ = std::move(store);
  limit_ = in_flight + extra;
  extra_ = extra;
  all_sequencers_ = all_sequencers;
  table_ = std::make_unique<LeaseTable>(*this, limit_);
}

Lease* Source::try_acquire() noexcept {
  Lease* const lease = try_loan();
  if (lease != nullptr) number(*lease);
  return lease;
}

// One that is in nobody's hands but the user's cannot come back by itself.
bool Source::may_lend() const noexcept {
  const std::uint64_t state = state_.load(std::memory_order_seq_cst);
  const std::int64_t free = std::int64_t{limit_} - std::int64_t{live_part(state)};
  return free > std::int64_t{reserve_} ||
         (free > 0 && graph_part(state) <= loans_.load(std::memory_order_relaxed));
}

Lease* Source::try_loan() noexcept {
  if (stopped_.load(std::memory_order_relaxed) || !table_) return nullptr;
  if (reserve_ > 0 && !may_lend()) return nullptr;
  Lease* lease = table_->take();
  if (lease == nullptr) return nullptr;
  state_.fetch_add(kLive + kInGraph, std::memory_order_relaxed);
  lease->root = lease;
  lease->run = listener_;
  lease->source = id_;
  lease->worker = -1;
  lease->attempt = 1;
  lease->skipped = false;
  lease->epoch = 0;
  lease->epoch_begin = 0;
  lease->ends_epoch = false;
  lease->payload = nullptr;
  lease->sequencers.store(0, std::memory_order_relaxed);
  lease->open();
  if (extra_ > 0) loans_.fetch_add(1, std::memory_order_relaxed);
  return lease;
}

void Source::number(Lease& lease) noexcept {
  forget_loan();
  // Only the emitter writes the number; others read it as a statistic.
  const std::uint64_t sequence = next_sequence_.load(std::memory_order_relaxed);
  next_sequence_.store(sequence + 1, std::memory_order_relaxed);
  lease.sequence = sequence;
}

Lease* Source::wait_acquire(const std::function<bool()>& hopeless) {
  Lease* const lease = wait_loan(hopeless);
  if (lease != nullptr) number(*lease);
  return lease;
}

Lease* Source::wait_loan(const std::function<bool()>& hopeless, std::chrono::steady_clock::time_point until) {
  // Again, because the reserve that could be lent a moment ago need not be any more.
  for (;;) {
    if (Lease* lease = try_loan()) return lease;
    if (stopped_.load(std::memory_order_relaxed) || until <= std::chrono::steady_clock::now()) return nullptr;
    if (!wait_credit(hopeless, until)) return nullptr;
  }
}

// False when there is none in time, or hopeless().
bool Source::wait_credit(const std::function<bool()>& hopeless, std::chrono::steady_clock::time_point until) {
  // A wake-up costs more than a message does, so an emitter that ran out of credits lets some gather
  // where they come back quickly; where they come slowly, Linger soon stops waiting for more than one. A loop that
  // borrows has better to do.
  const auto some_free = [this] { return free_credits() > std::int64_t{limit_ / 4}; };
  if (reserve_ == 0 && linger_.wait(some_free)) return true;
  std::unique_lock lock{mutex_};
  // CREDIT: the flag before the look at the state, both seq_cst; leave() does the state before the
  // flag. Weaker: the emitter could sleep with a credit free and nobody left to wake it.
  while (!stopped_.load(std::memory_order_relaxed)) {
    sleeping_.store(true, std::memory_order_seq_cst);
    if (may_lend()) break;
    const auto now = std::chrono::steady_clock::now();
    const auto look = until - now < kLook ? until : now + kLook;
    const bool late = now >= until;
    if (late || (wake_.wait_until(lock, look) == std::cv_status::timeout && hopeless && hopeless())) {
      sleeping_.store(false, std::memory_order_relaxed);
      return false;
    }
  }
  sleeping_.store(false, std::memory_order_relaxed);
  lock.unlock();
  if (reserve_ == 0) linger_.wait(some_free);
  return true;
}

void Source::discard(Lease& lease) noexcept {
  next_sequence_.store(lease.sequence, std::memory_order_relaxed);
  keep_quiet(lease);
  lease.drop(Part::graph);
}

void Source::finish() noexcept {
  finished_.store(true, std::memory_order_seq_cst);  // DRAINED
  if (in_graph() == 0) listener_->source_drained(*this);
}

void Source::wait_empty(const std::function<bool()>& hopeless) {
  std::unique_lock lock{mutex_};
  while (in_graph() > 0 && !stopped_.load(std::memory_order_relaxed) && !hopeless()) {
    // A look in time is enough: this is once for each round. Woken by stop() at once.
    wake_.wait_for(lock, std::chrono::milliseconds{1});
  }
}

void Source::wait_drained(const std::function<bool()>& hopeless) {
  std::unique_lock lock{mutex_};
  // Nobody is in a hurry here, so nobody wakes us but stop().
  while (!drained() && !stopped_.load(std::memory_order_relaxed) && !hopeless()) wake_.wait_for(lock, kLook);
}

void Source::stop() noexcept {
  {
    const std::lock_guard lock{mutex_};
    stopped_.store(true, std::memory_order_relaxed);  // ordered by the mutex for the sleeper
  }
  wake_.notify_all();
}

void Source::close() noexcept {
  const std::shared_ptr<void> last = keep_;  // *this may go with it
  if (state_.fetch_or(kClosed, std::memory_order_seq_cst) == 0) keep_.reset();
}

bool Source::exhausted_by_user() const noexcept {
  const std::uint64_t state = state_.load(std::memory_order_seq_cst);
  return !finished_.load(std::memory_order_relaxed) &&
         graph_part(state) <= loans_.load(std::memory_order_relaxed) && live_part(state) >= limit_ - extra_;
}

void Source::audit(const std::string& name, Audit& audit) const {
  const std::uint64_t state = state_.load(std::memory_order_seq_cst);
  const Audit::Messages messages{name, emitted(), limit_, live_part(state), graph_part(state)};
  audit.messages.push_back(messages);
  std::uint32_t held = 0;
  for (std::uint32_t index = 0; table_ && index < table_->size(); ++index)
    held += table_->at(index).held() ? 1 : 0;
  if (held != messages.live || messages.live > messages.credits || messages.in_graph > messages.live) {
    audit.broken.push_back(fmt::format("commander '{}': {} messages live, {} held, {} in the graph, {} credits",
                                       name, messages.live, held, messages.in_graph, messages.credits));
  }
}

// Takes `what` off the state, tells whom it concerns, and lets go of a closed source that fell to
// nothing. kInside keeps the source alive between the first and the last line: without it, another
// thread's last message could end the source while this one still looks at it.
void Source::leave(std::uint64_t what) noexcept {
  const std::uint64_t now = state_.fetch_add(kInside - what, std::memory_order_seq_cst) + kInside - what;
  if (what == kInGraph && graph_part(now) == 0 && (now & kClosed) == 0 &&
      finished_.load(std::memory_order_seq_cst)) {  // DRAINED
    listener_->source_drained(*this);
  }
  const bool reserve_free = reserve_ > 0 && graph_part(now) <= loans_.load(std::memory_order_relaxed);
  if ((what == kLive || reserve_free) && sleeping_.load(std::memory_order_seq_cst) &&
      sleeping_.exchange(false)) {           // CREDIT
    { const std::lock_guard lock{mutex_}; }  // the emitter is asleep by now, or looks again
    wake_.notify_one();
  }
  if (what == kLive && telling_.load(std::memory_order_seq_cst) && telling_.exchange(false)) {
    listener_->credit_free(*this);
  }
  // LAST: acq_rel, so that the thread that lets go comes after all that the others did here.
  if (state_.fetch_sub(kInside, std::memory_order_acq_rel) - kInside == kClosed) {
    const std::shared_ptr<void> last = std::move(keep_);  // nothing of *this after this line
  }
}

void Source::left_graph(std::uint64_t sequence, std::uint64_t sequencers) noexcept {
  if ((all_sequencers_ & ~sequencers) != 0) listener_->message_left(*this, sequence);
  leave(kInGraph);
}

void Source::ended(Lease& lease) noexcept {
  if (lease.payload != nullptr) store_->destroy(lease.index);
  lease.payload = nullptr;
  lease.failure.reset();
  table_->put(lease);  // before the state says that a credit is free
  leave(kLive);
}

}  // namespace tandem
