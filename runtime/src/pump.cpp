#include <tandem/pump.hpp>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <span>
#include <utility>

#include <tandem/error.hpp>
#include <tandem/interrupt.hpp>
#include <tandem/log.hpp>
#include <tandem/run.hpp>

namespace tandem {
namespace {

// How long the cause of a worker's end may come after the end itself. Only the wording of an error
// waits for it, and only when the fork server is stopped or overloaded.
constexpr std::chrono::seconds kCauseWithin{1};
// How long a killed process may take to go. Only a process stuck in the kernel takes long.
constexpr std::chrono::seconds kGoneWithin{10};

// So many ends of fork servers count as nobody's fault; after that, the messages at work share it.
constexpr int kServersForgiven = 16;
// So many are started, one after the other, before something is taken to kill them all.
constexpr int kMostServers = 1000;
// About what it costs to wake a consumer: nobody waits much longer for being told late.
constexpr std::chrono::microseconds kLongestRun{50};
// How late a busy pump may learn of the end of a process.
constexpr std::chrono::microseconds kLookWithin{100};
// How long before a request that the fork server's socket did not take is sent again.
constexpr std::chrono::milliseconds kSendAgain{10};

int make_epoll() {
  const int descriptor = epoll_create1(EPOLL_CLOEXEC);
  if (descriptor < 0) {
    throw Error(std::string{"cannot make an epoll descriptor: "} + std::strerror(errno) +
                "; raise the limit on open files (ulimit -n)");
  }
  return descriptor;
}

// At most `left`; max(): until there is one. To the nanosecond where the system lets us (Linux 5.11), else to the millisecond.
int wait_for_events(int epoll, std::span<epoll_event> events, std::chrono::nanoseconds left) {
  using namespace std::chrono;
  const auto room = static_cast<int>(events.size());
  if (left == nanoseconds::max()) return epoll_wait(epoll, events.data(), room, -1);
  left = std::clamp<nanoseconds>(left, nanoseconds{0}, hours{1});
  const timespec time{duration_cast<seconds>(left).count(), (left % seconds{1}).count()};
  const int count = epoll_pwait2(epoll, events.data(), room, &time, nullptr);
  if (count >= 0 || errno == EINTR) return count;
  return epoll_wait(epoll, events.data(), room, static_cast<int>(ceil<milliseconds>(left).count()));
}

// The kernel counts what its memory killer has ended, on the whole machine (proc(5), vmstat).
std::uint64_t memory_kills() {
  std::ifstream file{"/proc/vmstat"};
  std::string name;
  std::uint64_t count = 0;
  while (file >> name >> count) {
    if (name == "oom_kill") return count;
  }
  return 0;
}

}  // namespace

// A hint, not a proof: somebody else's process may have been the one.
std::string Pump::memory_killer_text() {
  const std::uint64_t before = std::exchange(memory_kills_, memory_kills());
  if (memory_kills_ == before) return {};
  return "; the kernel's memory killer has been at work, so memory may have run out: lower workers, in_flight "
         "or the "
         "size of the outputs";
}

Pump::Pump(std::vector<Segment*> segments, HostPage& page, std::chrono::nanoseconds grace)
    : segments_{std::move(segments)},
      page_{page},
      grace_{grace},
      epoll_{make_epoll()},
      sleeper_{page.sleep_word} {}

Pump::~Pump() { stop(); }

void Pump::start(std::vector<WorkerPlan> plans, const SpawnOrder* order) {
  plans_ = std::move(plans);
  slots_.resize(plans_.size());
  launcher_ = std::make_unique<Launcher>(
      segments_, [this](std::uint32_t slot, std::uint32_t incarnation) { serve(plans_[slot], incarnation); },
      order);
  std::promise<void> started;
  std::future<void> outcome = started.get_future();
  thread_ = std::thread{[this, promise = std::move(started)]() mutable { run(std::move(promise)); }};
  try {
    outcome.get();
  } catch (...) {
    thread_.join();
    throw;
  }
}

void Pump::stop() {
  if (!thread_.joinable()) return;
  stop_.store(true, std::memory_order_release);
  ring();
  thread_.join();
}

void Pump::run(std::promise<void> started) {
  pthread_setname_np(pthread_self(), "tandem:pump");
  // Signals are for the program's own threads; the fork server starts with an empty mask again.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  try {
    watch(bell_.heard_at(), Event::bell, 0);
    watch(own_bell_.number(), Event::own_bell, 0);
    launcher_->start();
    begin();
    memory_kills_ = memory_kills();  // while the fork server is at work
  } catch (...) {
    launcher_->stop();
    started.set_exception(std::current_exception());
    return;
  }
  std::optional<Interrupt> interrupt{std::in_place, own_bell_.number()};
  started.set_value();
  for (bool interrupted = false;;) {
    for (ProcessCrew* const crew : crews_) crew->will_relieve();
    drain();
    const Clock::time_point now = Clock::now();
    Clock::time_point until = settle_late(now);
    for (ProcessCrew* const crew : crews_)
      until = std::min({until, crew->enforce_deadlines(now), crew->relieve(now), crew->look_for_room(now),
                        crew->look_for_blocks(now)});
    if (!interrupted && Interrupt::pending()) {
      interrupted = true;
      for (ProcessCrew* const crew : crews_) crew->freeze();
      page_.stopping.store(1, std::memory_order_relaxed);
    }
    if (!unsent_.empty()) {
      send_requests();  // what the server's socket did not take; perhaps no report comes that would say when it does
      until = std::min(until, now + kSendAgain);
    }
    if (interrupted || stop_.load(std::memory_order_acquire)) {
      if (finished(now)) break;
      until = std::min(until, end_by_);
    }
    wait(until);
  }
  launcher_->stop();
  interrupt.reset();
  {
    const std::lock_guard lock{awake_mutex_};
    over_ = true;
    sleeper_.announce();  // for good: who submits something now must look after it
  }
  for (ProcessCrew* const crew : crews_) crew->promise_to_come(false);
  ring_sleepers();
}

// Does what there is to do, until there is nothing, or for a while: what the items touch, consumers above all, is
// told once for all of them.
void Pump::drain() {
  const Clock::time_point end = Clock::now() + kLongestRun;
  do {
    const Run run;
    do {
      for (ProcessCrew* const crew : crews_) crew->drain();
    } while (seems_worth_draining() && Clock::now() < end);
    for (ProcessCrew* const crew : crews_) crew->launch_wanted();
  } while (seems_worth_draining() && Clock::now() < end);  // what came out of one crew may have gone to another
}

// AWAKE: leave() and fall_asleep() announce under the lock when they are the last; who publishes something before that is
// seen by the look that follows each of them, as in doorbell.hpp.
bool Pump::enter() noexcept {
  const std::lock_guard lock{awake_mutex_};
  if (over_) return false;
  if (helpers_++ == 0 && asleep_) sleeper_.awake();
  helped_.store(true, std::memory_order_relaxed);
  return true;
}

bool Pump::help() noexcept {
  const bool look = std::any_of(crews_.begin(), crews_.end(),
                                [](const ProcessCrew* crew) { return crew->seems_to_have_work(); });
  return look && help_at_once();
}

bool Pump::help_at_once() noexcept {
  bool any = false;
  {
    const Run run;
    for (ProcessCrew* const crew : crews_) any = crew->drain() || any;
  }
  ring_sleepers();
  return any;
}

// The pump may have looked before, and may be on its way into a long sleep; its own bell lasts until it is heard.
void Pump::leave(bool helped) noexcept {
  bool last = false;
  {
    const std::lock_guard lock{awake_mutex_};
    last = --helpers_ == 0;
    if (last) helped_.store(false, std::memory_order_relaxed);
    if (last && asleep_) sleeper_.announce();
  }
  ring_sleepers();
  const bool needed = std::any_of(crews_.begin(), crews_.end(), [&](ProcessCrew* crew) {
    return (last && crew->has_work()) || (helped && crew->needs_pump());
  });
  if (needed) ring();
}

bool Pump::may_listen() noexcept {
  const std::lock_guard lock{awake_mutex_};
  return !over_ && !std::exchange(listens_, true);
}

void Pump::stop_listening() noexcept {
  const std::lock_guard lock{awake_mutex_};
  listens_ = false;
}

// The pipe wakes the listener alone meanwhile. What was rung before, and not heard, is still in it; and what is in it afterwards is
// the pump's again.
bool Pump::listen(Clock::time_point until) noexcept {
  hear_workers(false);
  pollfd bells[] = {{bell_.heard_at(), POLLIN, 0}, {listener_bell_.number(), POLLIN, 0}};
  const auto left = std::max<std::chrono::nanoseconds>(until - Clock::now(), std::chrono::nanoseconds{0});
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  const timespec time{seconds.count(), (left - seconds).count()};
  const bool any = ppoll(bells, 2, &time, nullptr) > 0;
  const bool rung = any && bells[0].revents != 0;
  if (rung) bell_.clear();
  if (any && bells[1].revents != 0) listener_bell_.clear();
  hear_workers(true);
  return rung;
}

void Pump::hear_workers(bool hear) const noexcept {
  epoll_event entry = entry_of(Event::bell, 0);
  if (!hear) entry.events = 0;
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, bell_.heard_at(), &entry);
}

// Returns whether nobody helps.
bool Pump::fall_asleep() noexcept {
  const std::lock_guard lock{awake_mutex_};
  asleep_ = true;
  if (helpers_ == 0) sleeper_.announce();
  return helpers_ == 0;
}

void Pump::wake_up() noexcept {
  const std::lock_guard lock{awake_mutex_};
  asleep_ = false;
  sleeper_.awake();
}

void Pump::ring_sleepers() const noexcept {
  for (ProcessCrew* const crew : crews_) crew->ring_sleepers();
}

bool Pump::seems_worth_draining() const noexcept {
  return std::any_of(crews_.begin(), crews_.end(),
                     [](const ProcessCrew* crew) { return crew->seems_worth_draining(); });
}

bool Pump::has_work() const noexcept {
  return std::any_of(crews_.begin(), crews_.end(), [](ProcessCrew* crew) { return crew->has_work(); });
}

void Pump::begin() {
  watch(launcher_->socket(), Event::reports, 0);
  watch(launcher_->server_pidfd(), Event::server, 0);
  for (ProcessCrew* const crew : crews_) crew->start();
}

// Ends the workers step by step. Returns true when none is left.
bool Pump::finished(Clock::time_point now) {
  if (!ending_) {
    ending_ = true;
    end_by_ = now + grace_;
    for (ProcessCrew* const crew : crews_) crew->ask_to_end();
  }
  const bool alive =
      std::any_of(crews_.begin(), crews_.end(), [](ProcessCrew* crew) { return crew->alive() > 0; });
  if (!alive && !awaits_any()) return true;
  if (now < end_by_) return false;
  if (!alive) return true;  // what is still being forked ends with the fork server
  if (killed_) {
    log_warning("a worker process is killed and still not gone; leaving it to the kernel");
    return true;
  }
  killed_ = true;
  end_by_ = now + kGoneWithin;
  for (ProcessCrew* const crew : crews_) crew->kill_all();
  return false;
}

void Pump::wait(Clock::time_point until) {
  ring_sleepers();
  // While there is work, a look at the descriptors now and then is enough.
  const auto helped = [this] { return helped_.load(std::memory_order_relaxed); };
  if (!helped()) {
    const bool any = linger_.wait([&] { return helped() || seems_worth_draining(); }) || has_work();
    if (any && !helped() && Clock::now() < look_at_) return;
  }
  const bool is_last = fall_asleep();
  const Clock::time_point now = Clock::now();
  const Clock::time_point comes = promise(now);
  ring_sleepers();
  std::chrono::nanoseconds left{0};
  // Who helps looks when it leaves, and rings; until then, what gathers is its.
  if (!is_last || !has_work()) {
    left = std::chrono::nanoseconds::max();  // woken by the bell, a pidfd or the fork server
    if (until != Clock::time_point::max()) left = std::chrono::ceil<std::chrono::milliseconds>(until - now);
    if (comes != Clock::time_point::max()) left = std::min<std::chrono::nanoseconds>(left, comes - now);
  }
  epoll_event events[16];
  const int count = wait_for_events(epoll_.get(), events, left);
  wake_up();
  look_at_ = Clock::now() + kLookWithin;
  for (int index = 0; index < count; ++index) handle(events[index].data.u64);
}

// When it comes by itself, which it has told the crews: PROMISE, in process_crew.cpp.
Pump::Clock::time_point Pump::promise(Clock::time_point now) noexcept {
  auto soonest = Clock::time_point::max();
  for (const Rhythm* const rhythm : rhythms_) soonest = std::min(soonest, rhythm->next_look(now));
  for (ProcessCrew* const crew : crews_) crew->promise_to_come(soonest != Clock::time_point::max());
  return soonest;
}

epoll_event Pump::entry_of(Event event, std::uint32_t slot) noexcept {
  epoll_event entry{};
  entry.events = EPOLLIN;
  entry.data.u64 = (std::uint64_t{static_cast<std::uint32_t>(event)} << 32) | slot;
  return entry;
}

void Pump::watch(int descriptor, Event event, std::uint32_t slot) const {
  epoll_event entry = entry_of(event, slot);
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &entry) != 0) {
    throw Error(std::string{"cannot watch a descriptor: "} + std::strerror(errno));
  }
}

// Explicitly, before a descriptor is closed: a fork server may hold a copy of it, which would keep
// it in the epoll set.
void Pump::forget(int descriptor) const { epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, descriptor, nullptr); }

void Pump::handle(std::uint64_t tag) {
  const auto slot = static_cast<std::uint32_t>(tag);
  switch (static_cast<Event>(tag >> 32)) {
    case Event::bell: bell_.clear(); return;
    case Event::own_bell: own_bell_.clear(); return;
    case Event::reports: receive_reports(); return;
    case Event::server: replace_server(); return;
    case Event::worker:
      if (slots_[slot].gone) return;
      slots_[slot].gone = true;
      slots_[slot].gone_since = Clock::now();
      forget(crew_of(slot).pidfd(slot));
      receive_reports();
      settle(slot);
      return;
  }
}

void Pump::launch(std::uint32_t slot, std::uint32_t incarnation) {
  slots_[slot] = Slot{};
  slots_[slot].incarnation = incarnation;
  slots_[slot].awaited = true;
  unsent_.push_back(slot);
  send_requests();
}

void Pump::inspect(std::uint32_t slot, std::uint32_t incarnation) {
  if (launcher_->inspect(slot, incarnation) == Launcher::Request::sent) return;
  crew_of(slot).inspected({slot, incarnation, {}});
}

// As many as the socket takes; the rest after the next report. A server that just ended has a successor, to
// which all that is awaited is sent again: replace_server().
void Pump::send_requests() {
  while (!unsent_.empty()) {
    const std::uint32_t slot = unsent_.front();
    const auto outcome =
        slots_[slot].awaited ? launcher_->request(slot, slots_[slot].incarnation) : Launcher::Request::sent;
    if (outcome == Launcher::Request::full || (outcome == Launcher::Request::gone && launcher_->running()))
      return;
    unsent_.pop_front();
    if (outcome == Launcher::Request::sent) continue;
    slots_[slot].awaited = false;
    crew_of(slot).not_started({slot, slots_[slot].incarnation, ECHILD});
  }
}

void Pump::receive_reports() {
  while (std::optional<Launcher::Report> report = launcher_->receive()) {
    if (auto* const one = std::get_if<Launcher::Started>(&*report)) {
      const std::uint32_t slot = one->slot;
      if (slots_[slot].incarnation != one->incarnation) continue;
      try {
        watch(one->pidfd.get(), Event::worker, slot);
      } catch (const Error& error) {  // nobody would see its end
        log_warning(error.what());
        send_pidfd_signal(one->pidfd.get(), SIGKILL);
        slots_[slot].unwatched = EAGAIN;
        continue;
      }
      slots_[slot].awaited = false;
      if (killed_) send_pidfd_signal(one->pidfd.get(), SIGKILL);  // it came after the others were
      crew_of(slot).started(std::move(*one));
    } else if (const auto* const none = std::get_if<Launcher::NotStarted>(&*report)) {
      if (slots_[none->slot].incarnation != none->incarnation) continue;
      slots_[none->slot].awaited = false;
      crew_of(none->slot).not_started(*none);
    } else if (const auto* const unwatched = std::get_if<Launcher::Unwatched>(&*report)) {
      // Not before it is gone: until then it may write to its channel.
      if (slots_[unwatched->slot].incarnation == unwatched->incarnation)
        slots_[unwatched->slot].unwatched = unwatched->error;
    } else if (const auto* const end = std::get_if<Launcher::Ended>(&*report)) {
      ended(*end);
    } else if (auto* const seen = std::get_if<Launcher::Inspected>(&*report)) {
      crew_of(seen->slot).inspected(std::move(*seen));
    }
  }
  send_requests();
}

void Pump::ended(const Launcher::Ended& end) {
  Slot& slot = slots_[end.slot];
  if (slot.incarnation != end.incarnation) return;
  slot.status = end.status;
  if (!slot.unwatched) return settle(end.slot);
  slot.awaited = false;
  crew_of(end.slot).not_started({end.slot, end.incarnation, *std::exchange(slot.unwatched, std::nullopt)});
}

// A worker's end is acted upon once both its pidfd and its parent have spoken.
void Pump::settle(std::uint32_t slot) {
  const Slot state = slots_[slot];
  if (!state.gone) return;
  const bool late = Clock::now() - state.gone_since >= kCauseWithin;
  if (!state.status && !state.orphaned && !late) return;
  slots_[slot].gone = false;
  if (state.status) {
    const bool killed = WIFSIGNALED(*state.status) && WTERMSIG(*state.status) == SIGKILL;
    const std::string cause = describe_status(*state.status) + (killed ? memory_killer_text() : "");
    crew_of(slot).ended(slot, state.incarnation, cause, true, killed);
  } else if (state.orphaned) {
    // No fault of the message, unless it is always there when a fork server dies.
    crew_of(slot).ended(slot, state.incarnation, "ended with the fork server, which was killed",
                        servers_lost_ > kServersForgiven, true);
  } else {
    crew_of(slot).ended(slot, state.incarnation, "ended, and the fork server did not say how", true, false);
  }
}

Pump::Clock::time_point Pump::settle_late(Clock::time_point now) {
  auto next = Clock::time_point::max();
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (!slots_[slot].gone) continue;
    if (now - slots_[slot].gone_since >= kCauseWithin) {
      settle(slot);
    } else {
      next = std::min(next, slots_[slot].gone_since + kCauseWithin);
    }
  }
  return next;
}

void Pump::replace_server() {
  receive_reports();
  forget(launcher_->socket());
  forget(launcher_->server_pidfd());
  launcher_->stop();
  ++servers_lost_;
  if (!ending_) start_another_server();
  unsent_.clear();
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    slots_[slot].awaited = slots_[slot].awaited && !ending_;
    if (slots_[slot].awaited) {
      unsent_.push_back(slot);
    } else {
      slots_[slot].orphaned = true;  // nobody will say how it ended
      settle(slot);
    }
  }
  send_requests();
}

void Pump::start_another_server() {
  if (servers_lost_ > kMostServers) {
    log_warning("the fork server ended once too often; going on without new workers");
    return;
  }
  log_warning("the fork server ended, and its workers with it; starting another");
  try {
    launcher_->start();
    watch(launcher_->socket(), Event::reports, 0);
    watch(launcher_->server_pidfd(), Event::server, 0);
  } catch (const std::exception& error) {
    log_warning(std::string{"no fork server, so no new workers: "} + error.what());
    launcher_->stop();
  }
}

ProcessCrew& Pump::crew_of(std::uint32_t slot) {
  const auto after = std::find_if(crews_.begin(), crews_.end(), [slot](const ProcessCrew* crew) {
    return slot < crew->first_slot() + crew->slots();
  });
  TANDEM_CHECK((after != crews_.end()), ==, true, "every slot belongs to a crew");
  return **after;
}

bool Pump::awaits_any() const noexcept {
  return std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.awaited; });
}

}  // namespace tandem
