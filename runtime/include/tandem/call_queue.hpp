#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <tandem/call.hpp>
#include <tandem/core.hpp>

namespace tandem {

class CallState;

/// The numbers of calls, in the order in which they ended.
/// Threads   all by any thread.
class CallQueue {
 public:
  /// The number that the next call to be told to this queue has.
  void name_next(std::uint64_t number) noexcept { next_name_ = number; }
  std::uint64_t next_name() const noexcept { return next_name_; }
  void push(std::uint64_t number);
  /// The next; none when there is none in time. Woken by the end of a call, also of one that ends with the run.
  std::optional<std::uint64_t> next(std::chrono::steady_clock::time_point until);

 private:
  std::uint64_t next_name_ = 0;  // of the thread that submits
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::uint64_t> ended_;
};

/// One call, from submit() until nobody asks for its result any more. In the host's heap.
/// Threads   all by any thread; what is not guarded is written before the call is submitted.
class CallState {
 public:
  using Clock = std::chrono::steady_clock;

  /// So much later; the end of time when that is beyond it.
  static Clock::time_point after(std::chrono::nanoseconds timeout);
  [[noreturn]] static void refuse();

  /// True when the call is over, or is by then.
  bool wait_until(Clock::time_point until) const;
  /// Hands a reader of the result's bytes to `read`, and lets go of all arrays. When the call is over; once.
  /// Errors    throws what became of the call, if it has no result; what `read` throws.
  void result(const std::function<void(ArchiveReader&)>& read);
  bool cancel();
  /// The end of the call is told to this queue. Before it is submitted.
  void tell(std::shared_ptr<CallQueue> queue);

  // For Calls. The ends do nothing to a call that is over, and return false then.
  bool begin();  // false: it was cancelled
  bool finish(const CallResult& result, std::vector<std::shared_ptr<ArrayBlock>> granted);
  bool fail(std::exception_ptr why);
  /// The same for one that may still be with a worker: what it was lent stays lent for as long as it is there.
  bool give_up(std::exception_ptr why);

  CallMessage message;
  std::vector<std::shared_ptr<ArrayBlock>> arrays;  // of the arguments
  std::shared_ptr<ArrayBlock> spilled;              // the arguments' bytes, when they are many
  std::string holder;                               // as ArrayInfo::holders tells it
  // Called once, by the thread that ends the call, without locks, before anybody can see the end: the arrays are the future's
  // from then on.
  std::function<void()> ending;
  std::function<void()> cancelled;  // called after a cancel()

 private:
  enum class Phase : std::uint8_t { waiting, begun, ending, over };
  bool claim(bool only_waiting = false);
  void end();

  std::shared_ptr<CallQueue> queue_;
  std::uint64_t name_ = 0;

  mutable std::mutex mutex_;  // guards phase_
  mutable std::condition_variable wake_;
  Phase phase_ = Phase::waiting;

  // Of who has claimed the end, then of who takes the result.
  CallResult result_;
  std::vector<std::shared_ptr<ArrayBlock>> granted_;
  std::exception_ptr why_;
  bool given_up_ = false;
};

/// The calls of one Executor: those that wait, in order, and those that are with the workers.
///
///     calls = waiting (any number) + with the workers (a credit each) + over
///
/// Threads   all by any thread.
/// Locks     while mutex_ is held no handle is dropped, and nobody is called.
class Calls final : private Member, private Outlet {
 public:
  Calls(std::shared_ptr<Core> core, std::string name, std::function<void(Context&)> initialise);
  ~Calls();
  Calls(const Calls&) = delete;
  Calls& operator=(const Calls&) = delete;

  /// may_write: the call must not be begun twice.
  /// Errors    throws Error, MemoryError, and what Core::start() throws.
  void submit(const std::shared_ptr<CallState>& state, const CodeAddress& thunk, ArchiveWriter& arguments,
              bool may_write);
  void shutdown(bool cancel_waiting);
  /// Four calls for each worker.
  std::size_t usual_window() const noexcept { return window_; }

 private:
  class Store;
  class TaskThreads;

  void emit(std::span<Handle> items) noexcept override;
  void take(Handle item) noexcept;
  void close() noexcept override;
  void join() noexcept override;
  void credit_free(std::uint32_t source) noexcept override;

  void feed() noexcept;
  void feed_all() noexcept;
  void one_is_over() noexcept;
  void fail_all() noexcept;

  const std::shared_ptr<Core> core_;
  const std::string name_;
  const std::shared_ptr<ArrayStore> arrays_;
  std::size_t window_ = 0;
  std::unique_ptr<TaskThreads> threads_;  // null: the workers are processes
  std::uint32_t index_ = 0;
  std::uint32_t source_id_ = 0;

  std::atomic<std::uint32_t> feeding_{0};  // who raises it from 0 feeds, also for those that come meanwhile

  // Guarded by mutex_.
  std::mutex mutex_;
  std::condition_variable all_over_;
  std::deque<std::shared_ptr<CallState>> waiting_;
  std::vector<std::shared_ptr<CallState>> begun_;  // by credit
  std::uint64_t made_ = 0;
  std::uint64_t unfinished_ = 0;
  bool refusing_ = false;  // shutdown() was called
  bool closed_ = false;
};

}  // namespace tandem
