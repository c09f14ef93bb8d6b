#include <tandem/process_crew.hpp>

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace tandem {
namespace {

// A worker is given as many messages ahead as it is likely to finish in this time.
constexpr std::uint64_t kAheadNanoseconds = 100'000;
// A worker that ends idle is replaced at once, but not for ever.
constexpr int kMostBarren = 100;
constexpr std::uint64_t kLongestBelieved = 10'000'000'000;  // of what a worker says it was busy

}  // namespace

ProcessCrew::ProcessCrew(const NodeInfo& node, Pool& pool, Outlet& outlet, std::byte* base, HostPage& page,
                         std::vector<ChannelLayout> channels, std::uint32_t first_slot, Launch launch,
                         Nudge nudge, Stop stop)
    : Crew{node, pool, outlet},
      base_{base},
      page_{page},
      first_slot_{first_slot},
      launch_{std::move(launch)},
      nudge_{std::move(nudge)},
      stop_{std::move(stop)},
      workers_(channels.size()) {
  for (std::size_t index = 0; index < channels.size(); ++index) {
    workers_[index].channel = channels[index];
    workers_[index].asked.resize(channels[index].capacity);
    // For good: a thread that was told to ring the last incarnation may do it late, and rings the next for nothing.
    workers_[index].bell = FutexBell<>{channels[index].bell(base_)};
  }
}

ProcessCrew::~ProcessCrew() = default;

void ProcessCrew::start() {
  for (Worker& worker : workers_) launch(worker);
}

void ProcessCrew::launch(Worker& worker) {
  {
    const Hold hold{*this};
    // New rings: no process maps this channel for writing now, and the next one begins at zero. The bell, in the
    // line before, goes on.
    std::memset(worker.channel.request_ring(base_), 0, kCacheLine);
    std::memset(base_ + worker.channel.reply_offset(), 0, 2 * kCacheLine);
    worker.requests = RequestWriter{worker.channel.request_ring(base_), worker.channel.capacity};
    worker.replies = ReplyReader{worker.channel.reply_ring(base_), worker.channel.capacity};
    worker.ringer = Ringer<>{worker.channel.sleep_word(base_)};
    worker.answered = 0;
    worker.condemned.clear();
    worker.lied = false;
    worker.overdue = false;
    worker.useful = false;
    worker.alone = false;
    worker.state = State::launching;
    ++worker.incarnation;
  }
  launch_(first_slot_ + static_cast<std::uint32_t>(index_of(worker)), worker.incarnation);
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
    again = report.error != ECHILD && ++worker.failed_starts < node_.config.attempts && !ending_;
    if (!again) {
      const char* const what = report.error == ECHILD ? "there is no fork server" : std::strerror(report.error);
      start_failed(
          worker,
          fmt::format("cannot fork a worker: {}; raise the limit on processes (ulimit -u) or open files "
                      "(ulimit -n)",
                      what),
          acts);
    }
  }
  carry_out(acts);
  if (again) launch(worker);
}

ProcessCrew::Worker* ProcessCrew::choose(bool idle) {
  Worker* best = nullptr;
  for (Worker& worker : workers_) {
    if (worker.state != State::ready || !worker.condemned.empty()) continue;
    if (worker.outstanding() >= (idle || worker.alone ? 1 : worker.depth)) continue;
    if (best == nullptr || worker.outstanding() < best->outstanding()) best = &worker;
  }
  return best;
}

void ProcessCrew::dispatch(Acts& acts) {
  if (ending_) return;
  while (!pending_.empty()) {
    Worker* const worker = choose(pending_.front().alone);
    if (worker == nullptr) break;
    Lease* const lease = next_job(acts);
    if (lease == nullptr) break;
    ask(*worker, *lease);
  }
  publish(acts);
}

// A sleeping worker is not rung for each message: while the pump is awake, it rings for all that have
// come by then, when it goes to sleep itself.
void ProcessCrew::publish(Acts& acts) {
  bool any = false;
  for (Worker& worker : workers_) any = worker.requests.publish() || any;
  if (!any) return;
  // LEAVE: the fence in is_asleep() pairs with that of the pump's Sleeper::announce(), which comes before its
  // ring_sleepers(). Either we see that it sleeps, or it sees our requests.
  if (is_asleep(page_.sleep_word)) collect_sleepers(acts);
}

void ProcessCrew::collect_sleepers(Acts& acts) {
  for (Worker& worker : workers_) {
    if (worker.running() && worker.requests.pushed() != worker.answered && worker.ringer.must_ring()) {
      acts.wake.push_back(static_cast<std::uint32_t>(index_of(worker)));
    }
  }
}

void ProcessCrew::ask(Worker& worker, Lease& lease) {
  lease.worker = index_of(worker);
  worker.alone = lease.alone;
  RequestToken token;
  token.kind = RequestKind::work;
  token.lease = lease.index;
  token.generation = lease.generation;
  token.attempt = lease.attempt;
  token.sequence = lease.sequence;
  if (const Handle& input = input_of(lease)) {
    token.input_node = input->node;
    token.input_lease = input->index;
  } else if (node_.layout.message_bytes == 0) {
    token.input_node = kInlineInput;
    std::memcpy(token.message, lease.root->payload, node_.message_bytes);
  } else {
    token.input_node = kBlockInput;
    std::memcpy(pool_.block(lease.index), lease.root->payload, node_.message_bytes);
  }
  if (worker.outstanding() == 0 && node_.config.deadline) {
    worker.busy_since = Clock::now();
    nudge_();
  }
  // The ledger first: from publish() on the worker may be at it, and may end.
  worker.asked[worker.requests.pushed() & (worker.channel.capacity - 1)] = &lease;
  worker.requests.push(token);
}

void ProcessCrew::wake(const Acts& acts) noexcept {
  for (const std::uint32_t index : acts.wake) workers_[index].bell.ring();
}

void ProcessCrew::ring_sleepers() noexcept {
  Acts acts;
  {
    const Hold hold{*this};
    collect_sleepers(acts);
  }
  wake(acts);
}

bool ProcessCrew::anybody_busy() const noexcept {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const Worker& worker) { return worker.outstanding() > 0; });
}

bool ProcessCrew::replies_ready() const noexcept {
  // Only the pump's thread reads replies, and only it changes a worker's reader.
  return std::any_of(workers_.begin(), workers_.end(), [](const Worker& worker) {
    return worker.running() && worker.condemned.empty() && worker.replies.ready();
  });
}

bool ProcessCrew::drain() {
  Acts acts;
  bool any = false;
  {
    const Hold hold{*this};
    for (Worker& worker : workers_) {
      if (!worker.running() || !worker.condemned.empty() || !worker.replies.ready()) continue;
      any = true;
      read_replies(worker, acts);
    }
    if (any) {
      take_inbox(acts);
      dispatch(acts);
    }
  }
  if (!any) return false;
  carry_out(acts);
  if (acts.stop) stop_();
  return true;
}

void ProcessCrew::read_replies(Worker& worker, Acts& acts) {
  for (;;) {
    ReplyToken reply;
    const std::uint64_t place = worker.replies.head();
    switch (worker.replies.take(reply)) {
      case ReplyReader::Take::empty: return;
      case ReplyReader::Take::broken:
        condemn(worker, "the commit word of its reply ring holds nonsense");
        return;
      case ReplyReader::Take::token:
        accept(worker, reply, place, acts);
        if (!worker.condemned.empty() || !worker.running()) return;
    }
  }
}

void ProcessCrew::accept(Worker& worker, const ReplyToken& reply, std::uint64_t place, Acts& acts) {
  if (reply.incarnation != worker.incarnation) {
    condemn(worker,
            fmt::format("it replied for incarnation {} and is {}", reply.incarnation, worker.incarnation));
    return;
  }
  if (place == 0) {  // the first reply is about the start, and no other is
    if (reply.kind == ReplyKind::ready && worker.state == State::starting) {
      worker.state = State::ready;
      acts.stop = acts.stop || reply.stop == 1;
    } else if (reply.kind == ReplyKind::start_failed) {
      start_failed(worker, "start: " + text_of(worker, reply, place), acts);
    } else {
      condemn(worker, fmt::format("its first reply is of kind {}", static_cast<int>(reply.kind)));
    }
    return;
  }
  if (worker.outstanding() == 0) {
    condemn(worker, "it replied to a request that nobody made");
    return;
  }
  Lease* const asked = worker.asked[worker.answered & (worker.channel.capacity - 1)];
  if (asked == nullptr) {
    condemn(worker, "it replied to the request to end");
    return;
  }
  Lease& lease = *asked;
  const bool known = reply.kind == ReplyKind::done || reply.kind == ReplyKind::failed;
  if (!known || reply.lease != lease.index || reply.generation != lease.generation ||
      reply.sequence != lease.sequence) {
    condemn(worker, fmt::format("its reply names kind {}, block {}, generation {}, message {}; "
                                "asked for was block {}, generation {}, message {}",
                                static_cast<std::uint32_t>(reply.kind), reply.lease, reply.generation,
                                reply.sequence, lease.index, lease.generation, lease.sequence));
    return;
  }
  acts.stop = acts.stop || reply.stop == 1;
  ++worker.answered;
  worker.useful = true;
  worker.failed_starts = 0;
  worker.barren = 0;
  const std::uint64_t busy = std::clamp<std::uint64_t>(reply.busy_nanoseconds, 1, kLongestBelieved);
  worker.service_nanoseconds =
      worker.service_nanoseconds == 0 ? busy : (worker.service_nanoseconds * 7 + busy) / 8 + 1;
  // One place of the ring stays for the request to end.
  worker.depth = std::clamp<std::uint64_t>(kAheadNanoseconds / worker.service_nanoseconds, kLeastAhead,
                                           worker.channel.capacity - 2);
  if (node_.config.deadline) worker.busy_since = Clock::now();
  if (reply.kind == ReplyKind::done) {
    complete(lease, acts);
  } else {
    fail(lease, text_of(worker, reply, place), acts);
  }
}

std::string ProcessCrew::text_of(const Worker& worker, const ReplyToken& reply, std::uint64_t place) const {
  char copy[ChannelLayout::kTextBytes];
  const std::size_t bytes = std::min<std::size_t>(reply.text_bytes, sizeof copy);
  std::memcpy(copy, worker.channel.text(base_, place), bytes);
  return one_line(std::string{copy, bytes});
}

void ProcessCrew::condemn(Worker& worker, std::string reason) {
  worker.condemned = "wrote nonsense and was killed: " + std::move(reason);
  worker.lied = true;
  send_pidfd_signal(worker.pidfd.get(), SIGKILL);
}

void ProcessCrew::start_failed(Worker& worker, const std::string& reason, Acts& acts) {
  worker.state = worker.state == State::launching ? State::failed : worker.state;
  worker.condemned = reason;
  worker.failed_starts = node_.config.attempts;  // it said so itself: trying again would not help
  acts.log.push_back(name_of(worker) + " is left out: " + reason);
  const bool hope = std::any_of(workers_.begin(), workers_.end(), [this](const Worker& one) {
    return one.failed_starts < node_.config.attempts;
  });
  if (!hope) {
    take_inbox(acts);
    give_up(reason, index_of(worker), acts);
  }
}

void ProcessCrew::ended(std::uint32_t slot, std::uint32_t incarnation, const std::string& cause, bool counts) {
  Worker& worker = workers_[slot - first_slot_];
  Acts acts;
  bool replace = false;
  {
    const Hold hold{*this};
    if (worker.incarnation != incarnation || !worker.running()) return;
    // What it committed before its end has happened, also before it was killed for its deadline.
    std::string how = cause;
    if (worker.overdue) how = std::exchange(worker.condemned, {});
    const std::uint64_t answered_before = worker.answered;
    if (worker.condemned.empty()) read_replies(worker, acts);
    if (!worker.condemned.empty()) how = worker.condemned;
    // It had answered after all: the message that it was at then was not late.
    if (worker.overdue && !worker.lied && worker.answered != answered_before) counts = false;
    const bool was_ready = worker.state == State::ready;
    const bool was_idle = worker.outstanding() == 0;
    if (was_idle && worker.lied && !ending_) acts.log.push_back(name_of(worker) + ": " + how);
    worker.state = State::gone;
    const int attempts = node_.config.attempts;
    // Nonsense may have been written over honest replies that the host had not read yet, so any of the messages
    // may be to blame. None loses an attempt; each gets a worker to itself now, where the blame is plain.
    const bool any_to_blame = worker.lied && worker.outstanding() > 1 && counts && !ending_;
    if (any_to_blame) {
      acts.log.push_back(fmt::format("{}: {} on one of {} messages; each is tried again alone", name_of(worker),
                                     how, worker.outstanding()));
    }
    // From the last to the first, so that they wait in their order again, in front of all others.
    const std::uint64_t mask = worker.channel.capacity - 1;
    for (std::uint64_t place = worker.requests.pushed(); place-- > worker.answered;) {
      if (worker.asked[place & mask] == nullptr) continue;  // the request to end
      Lease& lease = *worker.asked[place & mask];
      if (place != worker.answered || any_to_blame) {
        put_back(lease, lease.attempt, any_to_blame || lease.alone);
        continue;
      }
      const bool again = (!counts || lease.attempt < attempts) && !ending_;
      if (!ending_) {
        acts.log.push_back(fmt::format("{}: {} on message {}, attempt {} of {}{}", name_of(worker), how,
                                       lease.sequence, lease.attempt, attempts, again ? "; trying again" : ""));
      }
      if (again) {
        put_back(lease, lease.attempt + (counts ? 1 : 0), lease.alone);
      } else {
        fail(lease, how, acts);
      }
    }
    worker.answered = worker.requests.pushed();
    worker.pid = -1;
    worker.pidfd = Descriptor{};
    if (!was_ready && counts && worker.failed_starts < attempts && ++worker.failed_starts >= attempts) {
      start_failed(worker, "start: " + how, acts);
    }
    if (was_ready && was_idle && counts && !worker.useful && ++worker.barren >= kMostBarren) {
      start_failed(worker,
                   fmt::format("{} times in a row it ended without having been given a message: {}",
                               kMostBarren, how),
                   acts);
    }
    if (worker.failed_starts >= attempts) worker.state = State::failed;
    replace = worker.state == State::gone && !ending_;
    take_inbox(acts);
    dispatch(acts);
  }
  carry_out(acts);
  if (acts.stop) stop_();
  if (replace) launch(worker);
}

ProcessCrew::Clock::time_point ProcessCrew::enforce_deadlines(Clock::time_point now) {
  auto next = Clock::time_point::max();
  if (!node_.config.deadline) return next;
  const Hold hold{*this};
  for (Worker& worker : workers_) {
    if (worker.state != State::ready || worker.outstanding() == 0 || !worker.condemned.empty()) continue;
    if (worker.asked[worker.answered & (worker.channel.capacity - 1)] == nullptr) continue;  // it is ending
    const auto due = worker.busy_since + *node_.config.deadline;
    if (due > now) {
      next = std::min(next, due);
      continue;
    }
    if (worker.replies.ready()) {  // it is this thread that is late
      next = now;
      continue;
    }
    worker.condemned =
        fmt::format("ran longer than its deadline of {} ms and was killed",
                    std::chrono::duration_cast<std::chrono::milliseconds>(*node_.config.deadline).count());
    worker.overdue = true;
    send_pidfd_signal(worker.pidfd.get(), SIGKILL);
  }
  return next;
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

std::vector<pid_t> ProcessCrew::pids() {
  const Hold hold{*this};
  std::vector<pid_t> pids;
  for (const Worker& worker : workers_) {
    if (worker.pid > 0) pids.push_back(worker.pid);
  }
  return pids;
}

std::string ProcessCrew::name_of(const Worker& worker) const {
  return fmt::format("node '{}', worker {} (pid {})", node_.name, index_of(worker), worker.pid);
}

}  // namespace tandem
