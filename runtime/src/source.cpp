#include <tandem/source.hpp>

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include <tandem/error.hpp>

namespace tandem {
namespace {

constexpr std::chrono::seconds kLook{1};  // how often somebody who waits asks whether that is hopeless

// Without the lock: it may look into crews, whose locks, when they are let go, do what others have left to do, and that
// may be the end of a message of the same source.
bool ask(std::unique_lock<std::mutex>& lock, const std::function<bool()>& hopeless) {
  lock.unlock();
  const bool yes = hopeless();
  lock.lock();
  return yes;
}

}  // namespace

Source::~Source() = default;

void Source::open(SourceListener& listener, std::shared_ptr<void> keep, std::unique_ptr<MessageStore> store,
                  std::uint32_t in_flight, std::uint32_t extra, std::uint64_t all_sequencers) {
  listener_ = &listener;
  keep_ = std::move(keep);
  store_ = std::move(store);
  destroys_ = store_->destroys();
  limit_ = in_flight + extra;
  extra_ = extra;
  all_sequencers_ = all_sequencers;
  table_ = std::make_unique<LeaseTable>(*this, limit_);
  for (std::uint32_t index = 0; index < limit_; ++index) {
    Lease& lease = table_->at(index);
    lease.root = &lease;
    lease.source = id_;
    lease.run = listener_;
    lease.type = store_->type();
  }
}

// One that is in nobody's hands but the user's cannot come back by itself.
bool Source::may_lend() const noexcept {
  const bool graph_is_empty = in_graph() == 0;
  const std::int64_t free = free_credits();
  return free > std::int64_t{reserve_} || (free > 0 && graph_is_empty);
}

// Not counted yet.
Lease* Source::take() noexcept {
  if (stopped_.load(std::memory_order_relaxed) || !table_) return nullptr;
  if (reserve_ > 0 && !may_lend()) return nullptr;
  Lease* lease = table_->take();
  if (lease == nullptr) return nullptr;
  lease->sequence = kNoNumber;
  lease->skipped = false;
  lease->sequencers.store(0, std::memory_order_relaxed);
  lease->open();
  return lease;
}

void Source::give_number(Lease& lease) noexcept {
  // Only the emitter writes the number; others read it as a statistic.
  const std::uint64_t sequence = next_sequence_.load(std::memory_order_relaxed);
  next_sequence_.store(sequence + 1, std::memory_order_relaxed);
  lease.sequence = sequence;
}

Lease* Source::try_acquire() noexcept {
  Lease* const lease = take();
  if (lease == nullptr) return nullptr;
  if (stash_ == 0) {  // many at once: the line is the droppers'
    references_.fetch_add(kStash, std::memory_order_relaxed);
    stash_ = kStash;
  }
  --stash_;
  count_one(taken_);
  count_one(numbered_);
  give_number(*lease);
  return lease;
}

Lease* Source::try_loan() noexcept {
  Lease* const lease = take();
  if (lease == nullptr) return nullptr;
  if (!lends_.load(std::memory_order_relaxed)) {  // the first; it may come while close() counts
    lends_.store(true, std::memory_order_relaxed);
    table_->mark(kCounted);
  }
  references_.fetch_add(1, std::memory_order_relaxed);
  taken_.fetch_add(1,
                   std::memory_order_seq_cst);  // DRAINED: here and below in one order with what others count
  return lease;
}

void Source::number(Lease& lease) noexcept {
  references_.fetch_add(1, std::memory_order_relaxed);
  numbered_.fetch_add(1, std::memory_order_seq_cst);
  give_number(lease);
}

bool Source::is_over() const noexcept {
  return stopped_.load(std::memory_order_relaxed) || finished_.load(std::memory_order_relaxed);
}

Lease* Source::wait_acquire(const std::function<bool()>& hopeless) {
  for (;;) {
    if (Lease* lease = try_acquire()) return lease;
    if (is_over() || !wait_credit(hopeless)) return nullptr;
  }
}

bool Source::wait_credit(const std::function<bool()>& hopeless, std::chrono::steady_clock::time_point until) {
  // A wake-up costs more than a message does, so an emitter that ran out of credits lets some gather
  // where they come back quickly; where they come slowly, Linger soon stops waiting for more than one. A loop that
  // borrows has better to do.
  const auto some_free = [this] {
    return free_credits() > std::int64_t{limit_ / 4};
  };  // as in announce_sleep()
  if (reserve_ == 0 && linger_.wait(some_free)) return true;
  std::unique_lock lock{mutex_};
  // CREDIT: the mark before the look at the count, which are in one word with it: who returns a lease either did so before that look, or
  // sees the mark. The flag, for whoever else could free one, is seq_cst like what they count before they look at it. Weaker: the emitter
  // could sleep with a credit free and nobody left to wake it.
  while (!is_over()) {
    sleeping_.store(true, std::memory_order_seq_cst);
    announce_sleep();
    if (may_lend()) break;
    const auto now = std::chrono::steady_clock::now();
    const auto look = until - now < kLook ? until : now + kLook;
    bool none = now >= until;
    if (!none && wake_.wait_until(lock, look) == std::cv_status::timeout && hopeless)
      none = ask(lock, hopeless);
    if (none) {
      sleeping_.store(false, std::memory_order_relaxed);
      table_->unmark(kSleeps | kHungry);
      return false;
    }
  }
  sleeping_.store(false, std::memory_order_relaxed);
  table_->unmark(kSleeps | kHungry);
  lock.unlock();
  if (reserve_ == 0) linger_.wait(some_free);
  return true;
}

void Source::discard(Lease& lease) noexcept {
  next_sequence_.store(lease.sequence, std::memory_order_relaxed);
  lease.sequencers.store(all_sequencers_, std::memory_order_relaxed);  // nobody need hear of it
  lease.drop(Part::graph);
}

void Source::finish() noexcept {
  {
    const std::lock_guard lock{mutex_};                // for the sleeper
    finished_.store(true, std::memory_order_seq_cst);  // DRAINED
  }
  wake_.notify_all();
  if (listener_ != nullptr && drained()) listener_->source_drained(*this);  // null: the run could not begin
}

void Source::wait_empty(const std::function<bool()>& hopeless) {
  std::unique_lock lock{mutex_};
  while (in_graph() > 0 && !ask(lock, hopeless) && !stopped_.load(std::memory_order_relaxed)) {
    // A look in time is enough: this is once for each round. Woken by stop() at once.
    over_.wait_for(lock, std::chrono::milliseconds{1});
  }
}

void Source::wait_drained(const std::function<bool()>& hopeless) {
  std::unique_lock lock{mutex_};
  // Nobody is in a hurry here, so nobody wakes us but stop().
  while (!drained() && !ask(lock, hopeless) && !stopped_.load(std::memory_order_relaxed))
    over_.wait_for(lock, kLook);
}

void Source::stop() noexcept {
  {
    const std::lock_guard lock{mutex_};
    stopped_.store(true, std::memory_order_relaxed);  // ordered by the mutex for the sleeper
  }
  wake_.notify_all();
  over_.notify_all();
}

// After the last message was made; loans may be on their way still. Until we let go of kOpen, nobody sees it fall to nothing.
void Source::close() noexcept {
  if (closed_.exchange(true, std::memory_order_seq_cst)) return;
  if (table_) {
    const std::uint64_t taken =
        taken_.load(std::memory_order_acquire);  // first: no loan that has a reference is counted here
    const LeaseTable::Returns before = table_->mark(kCounted);
    const bool counted = (before.marks & kCounted) != 0;
    if (!counted) references_.fetch_add(difference(taken, before.count), std::memory_order_relaxed);
  }
  release(kOpen + std::exchange(stash_, 0));
}

bool Source::exhausted_by_user(bool with_loans) const noexcept {
  if (finished_.load(std::memory_order_relaxed) || in_graph() > 0) return false;
  if (with_loans) return live() >= in_flight_limit();
  // Where steps are dropped, none enters beyond in_flight; a loan of the reserve does.
  return numbered() >= in_flight_limit() && (reserve_ == 0 || !has_loans());
}

void Source::audit(const std::string& name, Audit& audit) const {
  const Audit::Messages messages{name, emitted(), limit_, live(), in_graph()};
  audit.messages.push_back(messages);
  std::uint32_t held = 0;
  for (std::uint32_t index = 0; table_ && index < table_->size(); ++index)
    held += table_->at(index).held() ? 1 : 0;
  if (held != messages.live || messages.live > messages.credits || messages.in_graph > messages.live) {
    audit.broken.push_back(fmt::format("commander '{}': {} messages live, {} held, {} in the graph, {} credits",
                                       name, messages.live, held, messages.in_graph, messages.credits));
  }
}

// Tells whom it concerns, when that was the last. By who has a reference.
void Source::look_for_the_end() noexcept {
  const bool last_matters =
      finished_.load(std::memory_order_seq_cst) || telling_quiet_.load(std::memory_order_seq_cst);
  if (!last_matters || !is_idle() || closed_.load(std::memory_order_seq_cst)) return;
  if (finished_.load(std::memory_order_seq_cst)) {  // DRAINED
    listener_->source_drained(*this);
  } else {  // QUIET
    listener_->source_quiet(*this);
  }
}

// HUNGER: each crew says that it has little left before it marks the source, in hurry(). So we take the mark off, then look at them, and
// mark it ourselves if one of them has said so. Weaker: credits could gather while workers run dry, until the emitter looks by itself.
void Source::announce_sleep() noexcept {
  const auto taken = static_cast<std::uint32_t>(taken_.load(std::memory_order_relaxed));
  enough_.store((taken - limit_ + limit_ / 4 + 1) % LeaseTable::kCounts, std::memory_order_relaxed);
  table_->unmark(kHungry);
  table_->mark(is_hungry() ? kSleeps | kHungry : kSleeps);
}

bool Source::is_hungry() const noexcept {
  return feeds_.empty() ||
         std::any_of(feeds_.begin(), feeds_.end(), [](const Downstream* one) { return !one->has_plenty(); });
}

// Whether the emitter is to be woken when so many have come back.
bool Source::are_enough(std::uint32_t returned) const noexcept {
  return difference(returned, enough_.load(std::memory_order_relaxed)) < LeaseTable::kCounts / 2;
}

void Source::hurry() noexcept {
  if (!sleeping_.load(std::memory_order_seq_cst)) return;
  table_->mark(kHungry);  // HUNGER
  if (free_credits() > 0) wake_emitter();
}

void Source::wake_emitter() noexcept {
  if (!sleeping_.load(std::memory_order_seq_cst) || !sleeping_.exchange(false)) return;
  { const std::lock_guard lock{mutex_}; }  // it is asleep by now, or looks again
  wake_.notify_one();
}

void Source::end_input() noexcept {
  const std::uint64_t now = inputs_.fetch_sub(kInput, std::memory_order_seq_cst) - kInput;
  if (static_cast<std::uint32_t>(now) == 0 && telling_quiet_.load(std::memory_order_seq_cst))  // QUIET
    listener_->source_quiet(*this);
}

void Source::release(std::uint64_t count) noexcept {
  // LAST: acq_rel, so that the thread that lets go comes after all that the others did here.
  if (references_.fetch_sub(count, std::memory_order_acq_rel) == count) {
    const std::shared_ptr<void> last = std::move(keep_);  // nothing of *this after this line
  }
}

void Source::left_graph(std::span<const Departure> messages) noexcept {
  std::uint64_t count = 0;
  for (const Departure& message : messages) {
    if (message.sequence == kNoNumber) continue;  // a loan was never in it
    if ((all_sequencers_ & ~message.sequencers) != 0) listener_->message_left(*this, message.sequence);
    ++count;
  }
  if (count == 0) return;
  left_.fetch_add(count, std::memory_order_seq_cst);
  look_for_the_end();
  // The reserve is lent only then, see may_lend().
  if (reserve_ > 0 && in_graph() == 0 && sleeping_.load(std::memory_order_seq_cst)) wake_emitter();
  release(count);
}

// The references are given up last: without them, another thread's last message could end the source while this one still looks at it. Most
// have no need of one: when nobody wants to hear of it, they look at nothing any more.
void Source::ended(Lease& lease) noexcept {
  if (destroys_ && lease.payload != nullptr) store_->destroy(lease.index);
  lease.payload = nullptr;
  lease.failure.reset();
  if (std::exchange(lease.round, Round::none) != Round::none) lease.epoch = lease.epoch_begin = 0;
  // Before our credit is free, as a child's block is.
  if (std::exchange(lease.is_part, false)) {
    lease.worker = -1;
    lease.attempt = 1;
    std::exchange(lease.piece, Piece{}).whole->drop(Part::user);
  }
  const bool silent = table_->put_if(lease, [this](LeaseTable::Returns now) {
    if ((now.marks & (kSleeps | kCounted | kTells)) == 0) return true;
    return now.marks == kSleeps && !are_enough(now.count);
  });
  if (!silent) end_and_look(lease);
}

void Source::end_and_look(Lease& lease) noexcept {
  // The message, which is not counted as gone yet, keeps us meanwhile.
  references_.fetch_add(1, std::memory_order_relaxed);
  const bool loan = lease.sequence == kNoNumber;
  const LeaseTable::Returns now = table_->put(lease);  // CREDIT
  (loan ? returned_ : ended_).fetch_add(1, std::memory_order_seq_cst);
  if (loan) look_for_the_end();
  const bool wakes = (now.marks & kHungry) != 0 || are_enough(now.count);
  if ((now.marks & kSleeps) != 0 && wakes) wake_emitter();
  // TELL: once more, after ended_ was counted, which a Feed looks at.
  const bool tells = !loan && (table_->returns().marks & kTells) != 0;
  if (tells && (table_->unmark(kTells).marks & kTells) != 0) listener_->credit_free(*this);
  release((now.marks & kCounted) != 0 ? 2 : 1);
}

}  // namespace tandem
