#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include <tandem/circulation.hpp>
#include <tandem/crew.hpp>
#include <tandem/deadline_watch.hpp>
#include <tandem/linger.hpp>

namespace tandem {

/// Runs a task on some thread, soon; who brings the threads is the caller's affair (in a flow
/// graph, oneTBB). Must not run it in the calling thread. A task that comes late, after stop(), is kept
/// from a crew that is gone by the caller.
using Spawn = std::function<void(std::function<void()> task)>;
/// Whether a task may sleep for some milliseconds in case something comes: there are threads enough for all others meanwhile.
using MaySleep = std::function<bool()>;

/// Workers as tasks in this process. A worker is one instance of the body; at most one task runs it
/// at a time. A task that has nothing to do waits a moment and ends, so an idle crew holds no thread.
/// Deadline  nothing can end a body on a thread: a message that runs longer than its deadline is reported in the
///           log, once, while it runs, and its item is delivered as it is when it returns after all.
class ThreadCrew final : public Crew {
 public:
  ThreadCrew(const NodeInfo& node, Pool& pool, Outlet& outlet, Spawn spawn, MaySleep may_sleep,
             const std::atomic<std::uint32_t>& stopping);

  /// Starts every worker's body, in tasks of their own.
  /// Errors    throws std::system_error when there is no thread to watch the deadline.
  void start();
  /// After stop(): returns when no task is at work, and none will be. Waits for bodies that are at work; nothing
  /// can end them but their own return. Tasks that have not begun do nothing any more, and are waited
  /// for only briefly, for tidiness: the thread that waits here may be the one that they need.
  void wait_idle();
  /// After wait_idle().
  void drop_bodies() noexcept;

 private:
  using Clock = std::chrono::steady_clock;

  // idle: it has no task. waiting: its task waits for a message, or for a block for one, a moment at most.
  enum class State : std::uint8_t { idle, busy, waiting, failed };
  /// Messages that a worker took at once. They are begun from the first to the last, by the worker; others may take what
  /// it has not begun, and hand on what it has done, while it is at a long one.
  /// Fields    next, done: no lock; next is raised by whoever takes messages, done by the worker alone.
  ///           The others: under the crew's lock; leases: constant until the turn is over.
  struct Turn {
    std::vector<Lease*> leases;
    std::atomic<std::size_t> next{0};  // those before it are begun, or taken back
    std::atomic<std::size_t> done{0};  // those before it are made
    std::size_t handed_on = 0;         // those before it are handed on
    std::uint64_t began = 0;           // nanoseconds
  };
  struct Worker {
    Worker(std::unique_ptr<Body> no_body, Context its_context)
        : body{std::move(no_body)}, context{std::move(its_context)} {}
    std::unique_ptr<Body> body;
    Context context;
    Lease* lease = nullptr;  // the item that its body makes now
    std::unique_ptr<const Context::Grant>
        grant;                  // where the context finds it; null: there are no shared arrays
    State state = State::busy;  // start() is the first thing it does
    std::uint64_t service_nanoseconds = 0;
    Turn turn;

    std::optional<Clock::time_point> waits_since;  // for a block
    Linger linger;                                 // its own task's
    std::atomic<bool> called{false};  // there is something; one that comes late costs a look in vain
    std::mutex call_mutex;            // guards nothing: so that no call is missed
    std::condition_variable call;
  };

  void dispatch(Acts& acts) override;
  void wake(const Acts& acts) noexcept override;
  bool anybody_busy() const noexcept override;

  void start_worker(std::uint32_t index);
  void work(std::uint32_t index);
  /// Messages for one worker's next turn: one, or as many short ones as fill the turn. False when there is none.
  bool next_turn(Worker& worker, Acts& acts);
  struct Wait {
    bool for_block;  // else for a message
    Clock::time_point until;
  };
  std::optional<Wait> wait_for_block(Worker& worker, bool may_sleep, Acts& acts);
  Wait begin_to_wait(Worker& worker, Wait wait);
  bool wait_for_call(Worker& worker, const Wait& wait);
  void forget_waits() noexcept;
  bool may_sleep() const;
  void call(Worker& worker) noexcept;
  void lent(Worker& worker);
  void hand_on(Turn& turn, Acts& acts);
  void relieve_others(const Worker& worker, bool has_nothing, Acts& acts);
  void perform(std::uint32_t index, Lease& lease);
  void spawn(std::uint32_t index, bool starts);
  bool begin_task();
  void task_done();

  const Spawn spawn_;
  const MaySleep threads_suffice_;
  std::unique_ptr<DeadlineWatch> watch_;  // null: no deadline
  std::deque<Worker> workers_;
  std::optional<Circulation> circulation_;  // none: blocks are small. Under the crew's lock

  // Of its own lock, the last that a task ever touches: after it, the crew may be gone.
  std::mutex tasks_mutex_;
  std::uint32_t queued_ = 0;  // tasks that have not begun
  std::uint32_t tasks_ = 0;   // at work
  bool no_more_ = false;
  std::condition_variable idle_;
};

}  // namespace tandem
