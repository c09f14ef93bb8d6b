#include <tandem/process_crew.hpp>

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

// How the processes of a crew begin, end, and are replaced. What they are given to do, and their replies, are in process_crew.cpp.

namespace tandem {
namespace {

// While deadlines run, the host looks so many times in each whether it stood still itself, no more and no less often than this.
constexpr int kLooksInDeadline = 16;
constexpr std::chrono::nanoseconds kOftenestLook{1'000'000};
constexpr std::chrono::nanoseconds kRarestLook{1'000'000'000};
// A worker that ends idle is replaced at once, but not for ever.
constexpr int kMostBarren = 100;
// How long an overdue worker lives on for its stack to be read.
constexpr std::chrono::seconds kInspectWithin{1};

}  // namespace

void ProcessCrew::start() {
  for (std::size_t index = 0; index < numbers_.size(); ++index) launch(workers_[index]);
}

void ProcessCrew::launch_wanted() {
  std::vector<std::uint32_t> slots;
  {
    const Hold hold{*this};
    slots.swap(to_launch_);
  }
  for (const std::uint32_t slot : slots) launch(workers_[slot]);
}

// Before the worker is asked for anything: PUBLISH(ring) shows both.
void ProcessCrew::set_number(Worker& worker, int number) {
  worker.number = number;
  worker.channel.head(base_).number.store(number, std::memory_order_release);
}

void ProcessCrew::launch(Worker& worker) {
  {
    const Hold hold{*this};
    // New rings: no process maps this channel for writing now, and the next one begins at zero. The bell, in the
    // line before, goes on.
    set_number(worker, worker.number);
    worker.channel.head(base_).granted_reply.store(0, std::memory_order_relaxed);
    std::memset(worker.channel.request_ring(base_), 0, kCacheLine);
    std::memset(base_ + worker.channel.reply_offset(), 0, kCacheLine);
    glances_[index_of(worker)].commit->store(0, std::memory_order_relaxed);
    worker.requests = RequestWriter{worker.channel.request_ring(base_), worker.channel.capacity};
    worker.replies = ReplyReader{worker.channel.reply_ring(base_), worker.channel.capacity};
    RequestHead& requests = worker.channel.head(base_);
    ReplyHead& replies = worker.channel.reply_head(base_);
    requests.recalled.store(0, std::memory_order_relaxed);
    worker.ringer = Ringer<>{replies.sleep_word};
    worker.recaller = Recaller<>{replies.begun, requests.recalled};
    worker.answered = 0;
    worker.busy_nanoseconds = 0;
    worker.busy_replies = 0;
    worker.waits_since.reset();
    worker.recalled = 0;
    worker.held_up = false;
    worker.condemned.clear();
    worker.lied = false;
    worker.overdue = false;
    worker.exhausted = false;
    worker.stack.clear();
    worker.useful = false;
    worker.alone = false;
    worker.arrived = node_.config.start == Start::fork;
    worker.state = State::launching;
    take_glance(worker);
    ++worker.incarnation;
  }
  launch_(first_slot_ + index_of(worker), worker.incarnation);
}

void ProcessCrew::started(Launcher::Started report) {
  Worker& worker = workers_[report.slot - first_slot_];
  Acts acts;
  {
    const Hold hold{*this};
    if (report.incarnation != worker.incarnation || worker.state != State::launching) return;
    worker.pid = report.pid;
    worker.pidfd = std::move(report.pidfd);
    worker.state = State::starting;
    worker.launched = Clock::now();
    set_due(worker);
    if (ending_) ask_to_end(worker, acts);
  }
  carry_out(acts);
}

void ProcessCrew::not_started(const Launcher::NotStarted& report) {
  Worker& worker = workers_[report.slot - first_slot_];
  Acts acts;
  bool again = false;
  {
    const Hold hold{*this};
    if (report.incarnation != worker.incarnation || worker.state != State::launching) return;
    const char* const what = report.error == ECHILD ? "there is no fork server" : std::strerror(report.error);
    const std::string reason = fmt::format(
        "cannot fork a worker: {}; raise the limit on processes (ulimit -u) or open files (ulimit -n)", what);
    if (worker.is_spare()) {
      worker.state = State::gone;
      give_spares_up(reason, acts);
    } else {
      again = report.error != ECHILD && ++number_of(worker).failed_starts < node_.config.attempts && !ending_;
      if (!again) start_failed(worker, reason, acts);
    }
  }
  carry_out(acts);
  if (again) launch(worker);
  launch_wanted();
}

// What comes before the replies to messages: that main got to the graph, if it is spawned; then how start() went.
void ProcessCrew::accept_start(Worker& worker, const ReplyToken& reply, std::uint64_t place, Acts& acts) {
  if (reply.kind == ReplyKind::arrived && !worker.arrived) {
    worker.arrived = true;
  } else if (reply.kind == ReplyKind::ready && worker.arrived) {
    worker.state = State::ready;
    if (!worker.is_spare()) {
      no_spares_ = false;  // what was in the way may be gone
      number_of(worker).failed_starts = 0;
    }
    spare_failed_starts_ = 0;
    want_spares();
    acts.stop = acts.stop || reply.stop == 1;
  } else if (reply.kind == ReplyKind::start_failed) {
    worker.arrived = true;  // or said why not
    start_failed(worker, "start: " + text_of(worker, reply, place), acts);
  } else {
    condemn(worker, fmt::format("its {} reply is of kind {}", place == 0 ? "first" : "second",
                                static_cast<int>(reply.kind)));
  }
}

void ProcessCrew::condemn(Worker& worker, std::string reason) {
  worker.condemned = "wrote nonsense and was killed: " + std::move(reason);
  worker.lied = true;
  send_pidfd_signal(worker.pidfd.get(), SIGKILL);
}

void ProcessCrew::start_failed(Worker& worker, const std::string& reason, Acts& acts) {
  if (worker.state == State::launching) worker.state = State::failed;
  worker.condemned = reason;
  if (worker.is_spare()) {
    give_spares_up(reason, acts);
    return;
  }
  number_of(worker).left_out = true;  // it said so itself, or often enough: trying again would not help
  pool_.leave_out(area_of(worker));
  acts.log.push_back(name_of(worker) + " is left out: " + reason);
  const bool hope =
      std::any_of(numbers_.begin(), numbers_.end(), [](const Number& one) { return !one.left_out; });
  if (!hope) {
    take_inbox(acts);
    give_up(reason, worker.number, acts);
  }
  want_spares();
}

void ProcessCrew::ended(std::uint32_t slot, std::uint32_t incarnation, const std::string& cause, bool counts,
                        bool killed) {
  Worker& worker = workers_[slot - first_slot_];
  Acts acts;
  int number = RequestHead::kSpare;
  {
    const Hold hold{*this};
    if (worker.incarnation != incarnation || !worker.running()) return;
    const std::string how = how_it_ended(worker, cause, counts, acts);
    counts = counts && !worker.exhausted;
    const State before = worker.state;
    const bool was_idle = worker.outstanding() == 0;
    number = worker.number;
    if (was_idle && worker.lied && !ending_) acts.log.push_back(name_of(worker) + ": " + how);
    worker.state = State::gone;
    set_due(worker);
    take_back(worker, how, counts, acts);
    if (counts) count_end(worker, before, was_idle && !killed, how, acts);
    worker.pid = -1;
    worker.pidfd = Descriptor{};
    replace(worker, acts);
    take_inbox(acts);
    dispatch(acts);
    look_for_hunger(acts);
  }
  carry_out(acts);
  if (acts.stop && !is_frozen()) stop_();
  launch_wanted();
  if (number < 0) return;
  const Hold hold{*this};  // last: the message that it was at is running again by now
  if (!ending_) pool_.scrub(static_cast<std::uint32_t>(number));
}

// What it committed before its end has happened, also before it was killed for its deadline.
std::string ProcessCrew::how_it_ended(Worker& worker, const std::string& cause, bool& counts, Acts& acts) {
  std::string how = cause;
  if (worker.overdue) how = std::exchange(worker.condemned, {});
  const std::uint64_t answered_before = worker.answered;
  if (worker.condemned.empty()) read_replies(worker, acts);
  if (!worker.condemned.empty()) how = worker.condemned;
  // It had answered after all: the message that it was at then was not late.
  if (worker.overdue && !worker.lied && worker.answered != answered_before) counts = false;
  if (!worker.arrived && worker.condemned.empty() && !worker.overdue) {
    how +=
        " before its main got to the graph; main of a spawned worker must come to the same next(), activate() "
        "or "
        "start() as in the host (Runtime::is_worker() tells where it runs), or set start = \"fork\"";
  }
  if (worker.overdue && !worker.stack.empty())
    how += "; it was in " + worker.stack.substr(0, worker.stack.find('\n'));
  return how;
}

// Takes back what it was asked and has not answered, from the last to the first, so that they wait in their order
// again, in front of all others.
void ProcessCrew::take_back(Worker& worker, const std::string& how, bool counts, Acts& acts) {
  // Nonsense may have been written over honest replies that the host had not read yet, so any of the messages
  // may be to blame. None loses an attempt; each gets a worker to itself now, where the blame is plain.
  const bool any_to_blame = worker.lied && worker.outstanding() > 1 && counts && !ending_;
  if (any_to_blame) {
    acts.log.push_back(fmt::format("{}: {} on one of {} messages; each is tried again alone", name_of(worker),
                                   how, worker.outstanding()));
  }
  const std::uint64_t mask = worker.channel.capacity - 1;
  for (std::uint64_t place = worker.requests.pushed(); place-- > worker.answered;) {
    if (worker.asked[place & mask] == nullptr) continue;  // taken back, or the request to end
    Lease& lease = *worker.asked[place & mask];
    lease.begun = lease.begun || place == worker.answered || worker.lied;
    if (place != worker.answered || any_to_blame) {
      put_back(lease, lease.attempt, any_to_blame || lease.alone);
      continue;
    }
    const bool again = (!counts || lease.attempt < node_.config.attempts) && !ending_;
    if (!ending_) {
      acts.log.push_back(fmt::format("{}: {} on message {}, attempt {} of {}{}", name_of(worker), how,
                                     lease.sequence, lease.attempt, node_.config.attempts,
                                     again ? "; trying again" : ""));
    }
    if (again) {
      put_back(lease, lease.attempt + (counts ? 1 : 0), lease.alone);
    } else {
      fail(lease, one_line(how), acts, worker.overdue ? worker.stack : std::string{});
    }
  }
  worker.answered = worker.requests.pushed();
}

// Ends that are nobody's message's fault, but must not go on for ever.
void ProcessCrew::count_end(Worker& worker, State before, bool idled, const std::string& how, Acts& acts) {
  const int attempts = node_.config.attempts;
  if (worker.is_spare()) {
    if (before == State::starting && ++spare_failed_starts_ >= attempts) give_spares_up("start: " + how, acts);
    if (idled && ++spare_ends_ >= kMostBarren) give_spares_up(how, acts);
    return;
  }
  Number& number = number_of(worker);
  if (number.left_out) return;
  if (before == State::starting && ++number.failed_starts >= attempts) {
    start_failed(worker, "start: " + how, acts);
  }
  if (before == State::ready && idled && !worker.useful && ++number.barren >= kMostBarren) {
    start_failed(worker,
                 fmt::format("{} times in a row it ended without having been given a message: {}", kMostBarren,
                             how),
                 acts);
  }
}

// The number gets a spare, if there is one, and the ended process a successor: a new spare, or one for the number.
void ProcessCrew::replace(Worker& worker, Acts& acts) {
  if (ending_) return;
  if (!worker.is_spare() && number_of(worker).left_out) {
    worker.state = State::failed;
    return;
  }
  if (!worker.is_spare()) {
    Worker* const spare = best_spare();
    if (spare == nullptr) {
      to_launch_.push_back(index_of(worker));
      return;
    }
    set_number(*spare, std::exchange(worker.number, RequestHead::kSpare));
    acts.wake.push_back(index_of(*spare));  // its start() may wait for the number
    spare_ends_ = 0;
  }
  want_spares();
}

// The one that is furthest. Not one that has ended as well, which the pump only does not know yet: it would cost
// its first message an attempt.
ProcessCrew::Worker* ProcessCrew::best_spare() {
  Worker* best = nullptr;
  for (Worker& worker : workers_) {
    const bool waiting = worker.state == State::launching || worker.running();
    if (!worker.is_spare() || !waiting || !worker.condemned.empty()) continue;
    pollfd end{worker.pidfd.get(), POLLIN, 0};
    if (worker.pidfd && poll(&end, 1, 0) != 0) continue;
    if (best == nullptr || worker.state > best->state) best = &worker;
  }
  return best;
}

// Only when all numbers are served: until then, a spare would only take processor time from them.
void ProcessCrew::want_spares() {
  if (ending_ || no_spares_) return;
  for (const Worker& worker : workers_) {
    if (!worker.is_spare() && !number_of(worker).left_out && worker.state != State::ready) return;
  }
  for (Worker& worker : workers_) {
    if (!worker.is_spare() || worker.state != State::gone) continue;
    worker.state = State::launching;  // so that it is wanted once
    to_launch_.push_back(index_of(worker));
  }
}

void ProcessCrew::give_spares_up(const std::string& reason, Acts& acts) {
  if (std::exchange(no_spares_, true) || ending_) return;
  acts.log.push_back(fmt::format("node '{}' goes on without spare workers: {}", node_.name, reason));
}

ProcessCrew::Clock::time_point ProcessCrew::enforce_deadlines(Clock::time_point now) {
  auto next = Clock::time_point::max();
  const bool any = node_.config.deadline || node_.config.start == Start::spawn;
  if (!any || node_.config.wait_for_debugger) return next;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> overdue;
  const std::chrono::nanoseconds start_within = node_.config.start_within;
  std::chrono::nanoseconds shortest = node_.config.deadline.value_or(start_within);
  if (node_.config.start == Start::spawn) shortest = std::min(shortest, start_within);
  const auto look = std::clamp(shortest / kLooksInDeadline, kOftenestLook, kRarestLook);
  {
    const Hold hold{*this};
    forgive_standstill(now, look);
    for (Worker& worker : workers_) {
      const bool before = worker.overdue;
      next = std::min(next, enforce_deadline(worker, now));
      if (worker.overdue && !before) overdue.emplace_back(first_slot_ + index_of(worker), worker.incarnation);
    }
    deadlines_run_ = next != Clock::time_point::max();
    if (deadlines_run_) next = std::min(next, now + look);
  }
  for (const auto& [slot, incarnation] : overdue) inspect_(slot, incarnation);
  return next;
}

// A look that comes late means that the host stood still: it was stopped, or had no processor. What it was about to give out came to the
// workers only now, and they may have stood still with it. Only a `look` of that time counts, and that only when looks come late one
// after the other, so that deadlines end all the same.
void ProcessCrew::forgive_standstill(Clock::time_point now, std::chrono::nanoseconds look) noexcept {
  const auto since_last = now - std::exchange(deadlines_looked_at_, now);
  const bool late = since_last > 2 * look;
  const bool again = std::exchange(stood_still_, late && deadlines_run_);
  if (!late) return;
  const auto time = again ? since_last - look : since_last;
  const auto shift = [&](Clock::time_point& since, Clock::time_point most) {
    since = std::max(since, std::min(most, since + time));
  };
  for (Worker& worker : workers_) {
    if (node_.config.deadline) shift(worker.busy_since, now);
    shift(worker.launched, now);
    if (worker.overdue) shift(worker.kill_at, now + kInspectWithin);
  }
}

// Returns when to look again.
ProcessCrew::Clock::time_point ProcessCrew::enforce_deadline(Worker& worker, Clock::time_point now) {
  constexpr auto kNever = Clock::time_point::max();
  if (worker.overdue && worker.running()) {
    if (worker.kill_at <= now) send_pidfd_signal(worker.pidfd.get(), SIGKILL);
    return worker.kill_at > now ? worker.kill_at : kNever;
  }
  const bool in_main = worker.state == State::starting && !worker.arrived && worker.condemned.empty();
  if (!in_main) {
    if (!node_.config.deadline || !worker.serves() || worker.outstanding() == 0) return kNever;
    if (worker.must_end()) return kNever;
  }
  const auto due =
      in_main ? worker.launched + node_.config.start_within : worker.busy_since + *node_.config.deadline;
  if (due > now) return due;
  if (worker.replies.ready()) return now;  // it is this thread that is late
  const auto milliseconds = [](std::chrono::nanoseconds time) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
  };
  worker.condemned = in_main ? fmt::format(
                                   "its main did not get to the graph within start_within = {} ms and was "
                                   "killed; let it skip what a "
                                   "worker does not need (Runtime::is_worker()), or raise start_within",
                                   milliseconds(node_.config.start_within))
                             : fmt::format("ran longer than its deadline of {} ms and was killed",
                                           milliseconds(*node_.config.deadline));
  worker.overdue = true;
  set_due(worker);
  worker.kill_at = now + kInspectWithin;
  return worker.kill_at;
}

void ProcessCrew::inspected(Launcher::Inspected seen) {
  Worker& worker = workers_[seen.slot - first_slot_];
  const Hold hold{*this};
  if (worker.incarnation != seen.incarnation || !worker.overdue || !worker.running()) return;
  worker.stack = std::move(seen.stack);
  worker.kill_at = Clock::now();
  send_pidfd_signal(worker.pidfd.get(), SIGKILL);
}

void ProcessCrew::ask_to_end() {
  Acts acts;
  {
    const Hold hold{*this};
    ending_ = true;
    for (Worker& worker : workers_) {
      if (worker.running()) ask_to_end(worker, acts);
    }
  }
  carry_out(acts);
}

void ProcessCrew::ask_to_end(Worker& worker, Acts& acts) {
  if (worker.is_spare()) {
    worker.channel.head(base_).number.store(RequestHead::kNoneEver, std::memory_order_release);
    acts.wake.push_back(index_of(worker));  // it may wait for the number, which is no sleep that it announces
  }
  worker.asked[worker.requests.pushed() & (worker.channel.capacity - 1)] = nullptr;
  worker.requests.push(RequestToken{});
  publish(acts);
}

void ProcessCrew::kill_all() noexcept {
  for (const Worker& worker : workers_) {
    if (worker.pidfd) send_pidfd_signal(worker.pidfd.get(), SIGKILL);
  }
}

std::uint32_t ProcessCrew::alive() const noexcept {
  return static_cast<std::uint32_t>(std::count_if(workers_.begin(), workers_.end(),
                                                  [](const Worker& worker) { return bool{worker.pidfd}; }));
}

std::vector<pid_t> ProcessCrew::pids(bool spares) {
  const Hold hold{*this};
  std::vector<pid_t> pids;
  for (const Worker& worker : workers_) {
    if (worker.pid > 0 && worker.is_spare() == spares) pids.push_back(worker.pid);
  }
  return pids;
}

}  // namespace tandem
