#include <tandem/thread_crew.hpp>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

#include <tandem/role.hpp>

namespace tandem {
namespace {

// A worker takes as many waiting messages at once as it is likely to finish in this time.
constexpr std::uint64_t kTurnNanoseconds = 30'000;
constexpr std::size_t kLongestTurn = 64;
// A turn that lasts for so many times the usual time is held up by a message, and loses the others to who has time.
constexpr std::uint64_t kUsualTimes = 8;
// A task that has nothing to do waits for so long, asleep for most of it: to wake it costs less than oneTBB's thread does, which looks
// for tasks a hundred times and gives way each time before it sleeps.
constexpr std::chrono::milliseconds kRest{5};
// How long stop() waits for tasks that find no thread. Longer than any thread needs to come that is to come.
constexpr std::chrono::seconds kNoThreadIsComing{2};

thread_local const void* performing = nullptr;  // the worker whose body runs in this thread

std::uint64_t now_nanoseconds() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

}  // namespace

ThreadCrew::ThreadCrew(const NodeInfo& node, Pool& pool, Outlet& outlet, Spawn spawn, MaySleep may_sleep,
                       const std::atomic<std::uint32_t>& stopping)
    : Crew{node, pool, outlet}, spawn_{std::move(spawn)}, threads_suffice_{std::move(may_sleep)} {
  for (int index = 0; index < node.config.workers; ++index) {
    workers_.emplace_back(nullptr, Context{node.name, node.random_key, index, &stopping});
  }
  for (Worker& worker : workers_) {
    if (!node.arrays) continue;
    worker.grant =
        std::make_unique<const Context::Grant>([this, &worker](std::size_t bytes, Dtype dtype,
                                                               const Shape& shape,
                                                               const std::shared_ptr<ArrayBlock>& done_with) {
          if (performing != &worker)
            throw Error("only the worker's own thread can ask for a shared array, and only for a message");
          auto& grants = worker.lease->grants;
          if (done_with) std::erase(grants, done_with);
          grants.push_back(node_.arrays->allocate(bytes, dtype, shape));
          worker.lease->granted = true;
          return grants.back();
        });
    worker.context.grant_from(*worker.grant);
    worker.context.set_arrays(node.arrays->segment().base(), node.arrays->segment().size());
  }
  if (node.layout.is_large()) {
    circulation_.emplace(node.layout.stride(), pool.size(), static_cast<std::uint32_t>(workers_.size()));
    pool_.limit(circulation_->limit());
  }
  if (node.config.deadline) {
    watch_ = std::make_unique<DeadlineWatch>(node.name, *node.config.deadline, workers_.size());
  }
}

void ThreadCrew::start() {
  if (watch_) watch_->start();
  for (std::uint32_t index = 0; index < workers_.size(); ++index) spawn(index, true);
}

void ThreadCrew::spawn(std::uint32_t index, bool starts) {
  {
    const std::lock_guard lock{tasks_mutex_};
    ++queued_;
  }
  spawn_([this, index, starts] {  // small enough for std::function to keep it without an allocation
    if (!begin_task()) return;
    if (starts) {
      start_worker(index);
    } else {
      work(index);
    }
    task_done();
  });
}

void ThreadCrew::drop_bodies() noexcept {
  for (Worker& worker : workers_) worker.body.reset();
}

void ThreadCrew::wait_idle() {
  std::unique_lock lock{tasks_mutex_};
  no_more_ = true;
  lock.unlock();
  for (Worker& worker : workers_) call(worker);
  lock.lock();
  idle_.wait(lock, [this] { return tasks_ == 0; });
  idle_.wait_for(lock, kNoThreadIsComing, [this] { return queued_ == 0; });
  lock.unlock();
  if (watch_) watch_->stop();
}

void ThreadCrew::start_worker(std::uint32_t index) {
  Worker& worker = workers_[index];
  std::string reason;
  try {
    const InBody here;
    worker.body = node_.make_body();
    worker.body->start(worker.context);
  } catch (...) { reason = "start: " + current_exception_text(); }
  if (!reason.empty()) {
    Acts acts;
    {
      const Hold hold{*this};
      worker.state = State::failed;
      const bool all_failed = std::all_of(workers_.begin(), workers_.end(),
                                          [](const Worker& one) { return one.state == State::failed; });
      if (all_failed) {
        take_inbox(acts);
        give_up(reason, static_cast<int>(index), acts);
      } else {
        acts.log.push_back("node '" + node_.name + "', worker " + std::to_string(index) +
                           " did not start and is left out: " + reason);
      }
    }
    carry_out(acts);
  }
  work(index);
}

void ThreadCrew::dispatch(Acts& acts) {
  std::size_t waiting = pending_.size();
  const auto give_to = [&](State state, std::vector<std::uint32_t>& told) {
    for (std::uint32_t index = 0; waiting > 0 && index < workers_.size(); ++index) {
      Worker& worker = workers_[index];
      if (worker.state != state || (worker.waits_since && !pool_.has_or_wants(0))) continue;
      worker.state = State::busy;
      worker.called.store(true, std::memory_order_relaxed);
      told.push_back(index);
      --waiting;
    }
  };
  if (pending_.empty()) forget_waits();
  give_to(State::waiting, acts.call);  // first: they have a thread
  give_to(State::idle, acts.wake);
}

void ThreadCrew::wake(const Acts& acts) noexcept {
  for (const std::uint32_t index : acts.wake) spawn(index, false);
  for (const std::uint32_t index : acts.call) call(workers_[index]);
}

void ThreadCrew::call(Worker& worker) noexcept {
  worker.called.store(true, std::memory_order_relaxed);
  { const std::lock_guard lock{worker.call_mutex}; }  // it sleeps by now, or has seen that it is called
  worker.call.notify_one();
}

// A long message must not hold up those that its worker took with it: neither those behind it nor those before it,
// which are made and wait for the end of the turn.
void ThreadCrew::relieve_others(const Worker& worker, bool has_nothing, Acts& acts) {
  const std::uint64_t now = has_nothing ? 0 : now_nanoseconds();
  for (Worker& other : workers_) {
    Turn& turn = other.turn;
    const std::size_t count = turn.leases.size();
    if (&other == &worker || count < 2) continue;
    if (!has_nothing && now < turn.began + kUsualTimes * kTurnNanoseconds) continue;
    // Relaxed: each place goes to one of us by the word alone, and nobody has touched what is not begun.
    const std::size_t begun = turn.next.exchange(count, std::memory_order_relaxed);
    for (std::size_t place = count; place-- > begun;)
      put_back(*turn.leases[place], turn.leases[place]->attempt, turn.leases[place]->alone);
    hand_on(turn, acts);
    if (begun < count) return;
  }
}

void ThreadCrew::hand_on(Turn& turn, Acts& acts) {
  // MADE: acquire, so that what the body made is seen with it.
  const std::size_t done = turn.done.load(std::memory_order_acquire);
  while (turn.handed_on < done) complete(*turn.leases[turn.handed_on++], acts);
}

bool ThreadCrew::next_turn(Worker& worker, Acts& acts) {
  std::size_t wish = 1;
  if (worker.service_nanoseconds > 0) {
    const std::size_t fair = (pending_.size() + workers_.size() - 1) / workers_.size();
    wish = std::clamp<std::size_t>(kTurnNanoseconds / worker.service_nanoseconds, 1, kLongestTurn);
    wish = std::min(wish, std::max<std::size_t>(fair, 1));
  }
  Turn& turn = worker.turn;
  while (turn.leases.size() < wish) {
    Lease* const lease = next_job(acts);
    if (lease == nullptr) break;
    turn.leases.push_back(lease);
    if (circulation_) lent(worker);
  }
  if (turn.leases.empty()) return false;
  turn.began = now_nanoseconds();
  turn.handed_on = 0;
  turn.done.store(0, std::memory_order_relaxed);
  turn.next.store(0, std::memory_order_relaxed);
  return true;
}

void ThreadCrew::lent(Worker& worker) {
  const std::optional since = std::exchange(worker.waits_since, std::nullopt);
  circulation_->lend(since ? Clock::now() - *since : Clock::duration{0}, worker.service_nanoseconds);
  pool_.limit(circulation_->limit());
}

// Not in a body that waits for something in oneTBB, and not where others need the thread.
bool ThreadCrew::may_sleep() const { return performing == nullptr && threads_suffice_(); }

// Nobody waits for a block any more. Under the lock.
void ThreadCrew::forget_waits() noexcept {
  if (!circulation_) return;
  for (Worker& worker : workers_) worker.waits_since.reset();
}

// The next message lacks a block within the limit: it is worth waiting for the one that comes back. Who has waited for long, or may not
// sleep, is lent one more at once. Under the lock.
std::optional<ThreadCrew::Wait> ThreadCrew::wait_for_block(Worker& worker, bool may_sleep, Acts& acts) {
  const Clock::time_point now = Clock::now();
  while (waits_for_block() && circulation_->holds_back()) {
    if (!worker.waits_since) worker.waits_since = now;
    const Clock::time_point until = *worker.waits_since + circulation_->longest_wait();
    if (may_sleep && now < until) return begin_to_wait(worker, {true, until});
    circulation_->raise();
    pool_.limit(circulation_->limit());
    if (next_turn(worker, acts)) break;
  }
  return std::nullopt;
}

ThreadCrew::Wait ThreadCrew::begin_to_wait(Worker& worker, Wait wait) {  // under the lock
  worker.called.store(false, std::memory_order_relaxed);
  worker.state = State::waiting;
  return wait;
}

// Woken by who brings a message or gives a block back, by stop(), and by the clock. Returns whether there is something.
bool ThreadCrew::wait_for_call(Worker& worker, const Wait& wait) {
  const auto is_called = [&worker] { return worker.called.load(std::memory_order_relaxed); };
  const auto is_there = [&] { return is_called() || (wait.for_block && pool_.has_returned()); };
  bool any = worker.linger.wait_for_message(is_there, std::chrono::nanoseconds{worker.service_nanoseconds});
  if (!any) {
    std::unique_lock lock{worker.call_mutex};
    any = worker.call.wait_until(lock, wait.until, is_called);
  }
  const Hold hold{*this};
  any = any || is_called();  // from here on nobody calls
  worker.state = State::busy;
  return any;
}

void ThreadCrew::work(std::uint32_t index) {
  Worker& worker = workers_[index];
  Turn& turn = worker.turn;
  bool has_rested = false;  // in vain
  for (;;) {
    Acts acts;
    bool any = false;
    std::optional<Wait> wait;
    {
      const Hold hold{*this};
      take_inbox(acts);
      if (worker.state == State::busy) {
        relieve_others(worker, pending_.empty(), acts);
        any = next_turn(worker, acts);
        if (!any && !pending_.empty()) {  // what waits lacks a block; what others have not begun has one
          relieve_others(worker, true, acts);
          any = next_turn(worker, acts);
        }
        if (!any && circulation_) wait = wait_for_block(worker, may_sleep(), acts);
        any = !turn.leases.empty();
        if (any) dispatch(acts);  // what is left of what others lost
        if (pending_.empty()) forget_waits();
      }
      if (!wait && !any && acts.emit.empty() && acts.drop.empty() && acts.log.empty()) {
        // One of several would keep its place in oneTBB's arena from what the others' bodies do there.
        const bool rests = workers_.size() == 1 && !has_rested && !stopped_ && worker.state == State::busy &&
                           pending_.empty() && may_sleep();
        if (!rests) {
          if (worker.state == State::busy) worker.state = State::idle;
          worker.waits_since.reset();
          break;
        }
        wait = begin_to_wait(worker, {false, Clock::now() + kRest});
      }
    }
    carry_out(acts);
    if (wait) has_rested = !wait_for_call(worker, *wait) && !wait->for_block;
    if (!any) continue;
    has_rested = false;
    const std::uint64_t begin = now_nanoseconds();
    const std::size_t count = turn.leases.size();
    std::size_t made = 0;
    while (turn.next.fetch_add(1, std::memory_order_relaxed) < count) {
      perform(index, *turn.leases[made]);
      turn.done.store(++made, std::memory_order_release);  // MADE: see hand_on()
    }
    Acts done;
    {
      const Hold hold{*this};
      hand_on(turn, done);
      turn.leases.clear();
      const std::uint64_t each = (now_nanoseconds() - begin) / std::max<std::size_t>(made, 1);
      worker.service_nanoseconds =
          worker.service_nanoseconds == 0 ? each + 1 : (worker.service_nanoseconds * 3 + each) / 4 + 1;
    }
    carry_out(done);
  }
}

bool ThreadCrew::anybody_busy() const noexcept {
  return std::any_of(workers_.begin(), workers_.end(), [](const Worker& worker) {
    return worker.state == State::busy || (worker.state == State::waiting && worker.waits_since);
  });
}

bool ThreadCrew::begin_task() {
  const std::lock_guard lock{tasks_mutex_};
  --queued_;
  if (!no_more_) ++tasks_;
  if (queued_ == 0) idle_.notify_all();
  return !no_more_;
}

void ThreadCrew::task_done() {
  const std::lock_guard lock{tasks_mutex_};
  if (--tasks_ == 0) idle_.notify_all();
}

void ThreadCrew::perform(std::uint32_t index, Lease& lease) {
  Worker& worker = workers_[index];
  lease.worker = static_cast<int>(index);
  worker.lease = &lease;
  const void* const before = std::exchange(performing, &worker);
  worker.context.begin(lease.sequence, lease.attempt);
  if (watch_) watch_->begin(index, lease.sequence);
  try {
    const InBody here;
    if (worker.context.stopping()) throw std::runtime_error{"the run was stopped"};
    run_body(*worker.body, node_, payload_of_input(lease), output_of(lease), worker.context);
  } catch (...) {
    lease.failure = std::make_unique<Failure>(Failure{node_.name, lease.sequence, lease.worker, lease.attempt,
                                                      current_exception_text()});
  }
  performing = before;
  worker.lease = nullptr;
  lease.skipped = worker.context.skipped() && !lease.failure;
  if (watch_) watch_->end(index);
}

}  // namespace tandem
