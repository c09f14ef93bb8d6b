#include <tandem/deadline_watch.hpp>

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <tandem/config.hpp>
#include <tandem/log.hpp>

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

// Keeps a deadline of nanoseconds from making a thread that spins.
constexpr std::int64_t kShortestWait = 1'000'000;

std::int64_t now_nanoseconds() { return std::chrono::nanoseconds{Clock::now().time_since_epoch()}.count(); }

// As the kernel, a debugger and `top -H` know it.
pid_t this_thread() noexcept {
  thread_local const pid_t thread = gettid();
  return thread;
}

}  // namespace

DeadlineWatch::DeadlineWatch(std::string node, std::chrono::nanoseconds deadline, std::size_t workers)
    : node_{std::move(node)}, deadline_{deadline}, turns_(workers) {}

void DeadlineWatch::start() {
  thread_ = std::thread{[this] { run(); }};
}

void DeadlineWatch::stop() noexcept {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock{mutex_};
    stop_ = true;
  }
  stopping_.notify_all();
  thread_.join();
}

void DeadlineWatch::begin(std::uint32_t worker, std::uint64_t sequence) noexcept {
  Turn& turn = turns_[worker];
  // OVERRUN: release, all three; pairs with look(). Who sees one of the first two sees that the message before
  // has ended; who sees `since` sees both. Weaker: a report could name another message than the one that runs.
  turn.sequence.store(sequence, std::memory_order_release);
  turn.thread.store(this_thread(), std::memory_order_release);
  turn.since.store(now_nanoseconds(), std::memory_order_release);
}

void DeadlineWatch::end(std::uint32_t worker) noexcept {
  // Relaxed: the next begin() publishes it.
  turns_[worker].since.store(0, std::memory_order_relaxed);
}

void DeadlineWatch::run() {
  pthread_setname_np(pthread_self(), "tandem:watch");
  sigset_t all;  // signals are for the program's own threads
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  std::unique_lock lock{mutex_};
  while (!stop_) {
    lock.unlock();  // the program's own logger may take its time
    const std::int64_t next = look(now_nanoseconds());
    lock.lock();
    stopping_.wait_until(lock, Clock::time_point{std::chrono::nanoseconds{next}}, [this] { return stop_; });
  }
}

// Returns when to look again: nothing can be due before, whatever begins meanwhile.
std::int64_t DeadlineWatch::look(std::int64_t now) {
  std::int64_t next = now + deadline_.count();
  for (std::size_t worker = 0; worker < turns_.size(); ++worker) {
    Turn& turn = turns_[worker];
    // OVERRUN: acquire; pairs with begin(). While `since` is the same after both, both are of its message.
    const std::int64_t since = turn.since.load(std::memory_order_acquire);
    const std::uint64_t sequence = turn.sequence.load(std::memory_order_acquire);
    const pid_t thread = turn.thread.load(std::memory_order_acquire);
    if (since == 0 || since == turn.reported || turn.since.load(std::memory_order_relaxed) != since) continue;
    if (const std::int64_t due = since + deadline_.count(); due > now) {
      next = std::min(next, due);
    } else {
      turn.reported = since;
      report(worker, sequence, thread);
    }
  }
  return std::max(next, now + kShortestWait);
}

void DeadlineWatch::report(std::size_t worker, std::uint64_t sequence, pid_t thread) const {
  log_warning(fmt::format(
      "node '{}', worker {} (thread {}): message {} has run longer than its deadline of {}; nothing can "
      "end a body on a thread: place the node in processes, where it would be ended and tried again",
      node_, worker, thread, sequence, describe_duration(deadline_)));
}

}  // namespace tandem
