#include <tandem/thread_crew.hpp>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

namespace tandem {
namespace {

// A worker takes as many waiting messages at once as it is likely to finish in this time.
constexpr std::uint64_t kTurnNanoseconds = 30'000;
constexpr std::size_t kLongestTurn = 64;
// How long stop() waits for tasks that find no thread. Longer than any thread needs to come that is to come.
constexpr std::chrono::seconds kNoThreadIsComing{2};

std::uint64_t now_nanoseconds() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

}  // namespace

ThreadCrew::ThreadCrew(const NodeInfo& node, Pool& pool, Outlet& outlet, Spawn spawn,
                       const std::atomic<std::uint32_t>& stopping)
    : Crew{node, pool, outlet}, spawn_{std::move(spawn)} {
  for (int index = 0; index < node.config.workers; ++index) {
    workers_.push_back({nullptr, Context{node.name, node.random_key, index, &stopping}, nullptr, nullptr});
  }
  for (Worker& worker : workers_) {
    if (!node.arrays) continue;
    worker.grant = std::make_unique<const Context::Grant>([this, &worker](std::size_t bytes, Dtype dtype,
                                                                          const Shape& shape) {
      if (worker.lease == nullptr) throw Error("shared arrays are made for messages, not in start()");
      worker.lease->grants.push_back(node_.arrays->allocate(bytes, dtype, shape));
      return worker.lease->grants.back();
    });
    worker.context.grant_from(*worker.grant);
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
  idle_.wait(lock, [this] { return tasks_ == 0; });
  idle_.wait_for(lock, kNoThreadIsComing, [this] { return queued_ == 0; });
  lock.unlock();
  if (watch_) watch_->stop();
}

void ThreadCrew::start_worker(std::uint32_t index) {
  Worker& worker = workers_[index];
  std::string reason;
  try {
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
  for (std::uint32_t index = 0; waiting > 0 && index < workers_.size(); ++index) {
    if (workers_[index].state != State::idle) continue;
    workers_[index].state = State::busy;
    acts.wake.push_back(index);
    --waiting;
  }
}

void ThreadCrew::wake(const Acts& acts) noexcept {
  for (const std::uint32_t index : acts.wake) spawn(index, false);
}

std::vector<Lease*> ThreadCrew::next_turn(Worker& worker, Acts& acts) {
  std::size_t wish = 1;
  if (worker.service_nanoseconds > 0) {
    const std::size_t fair = (pending_.size() + workers_.size() - 1) / workers_.size();
    wish = std::clamp<std::size_t>(kTurnNanoseconds / worker.service_nanoseconds, 1, kLongestTurn);
    wish = std::min(wish, std::max<std::size_t>(fair, 1));
  }
  std::vector<Lease*> turn;
  while (turn.size() < wish) {
    Lease* const lease = next_job(acts);
    if (lease == nullptr) break;
    turn.push_back(lease);
  }
  return turn;
}

void ThreadCrew::work(std::uint32_t index) {
  Worker& worker = workers_[index];
  for (;;) {
    Acts acts;
    std::vector<Lease*> turn;
    {
      const Hold hold{*this};
      take_inbox(acts);
      if (worker.state == State::busy) turn = next_turn(worker, acts);
      if (turn.empty() && acts.emit.empty() && acts.drop.empty() && acts.log.empty()) {
        if (worker.state == State::busy) worker.state = State::idle;
        break;
      }
    }
    carry_out(acts);
    if (turn.empty()) continue;
    const std::uint64_t begin = now_nanoseconds();
    for (Lease* const lease : turn) perform(index, *lease);
    Acts done;
    {
      const Hold hold{*this};
      for (Lease* const lease : turn) complete(*lease, done);
      const std::uint64_t each = (now_nanoseconds() - begin) / turn.size();
      worker.service_nanoseconds = (worker.service_nanoseconds * 3 + each) / 4 + 1;
    }
    carry_out(done);
  }
}

bool ThreadCrew::anybody_busy() const noexcept {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const Worker& worker) { return worker.state == State::busy; });
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
  worker.context.begin(lease.sequence, lease.attempt);
  if (watch_) watch_->begin(index, lease.sequence);
  std::byte* const output = output_of(lease);
  try {
    if (worker.context.stopping()) throw std::runtime_error{"the run was stopped"};
    if (node_.output_is_arrays()) {
      Arrays arrays{*node_.layout.arrays, output};
      arrays.make_whole();
      worker.body->run(payload_of_input(lease), &arrays, worker.context);
    } else {
      worker.body->run(payload_of_input(lease), output, worker.context);
    }
  } catch (...) {
    lease.failure = std::make_unique<Failure>(Failure{node_.name, lease.sequence, lease.worker, lease.attempt,
                                                      current_exception_text()});
  }
  worker.lease = nullptr;
  lease.skipped = worker.context.skipped() && !lease.failure;
  if (watch_) watch_->end(index);
}

}  // namespace tandem
