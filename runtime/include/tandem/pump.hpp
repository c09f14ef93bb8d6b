#pragma once

#include <sys/epoll.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <tandem/channel.hpp>
#include <tandem/doorbell.hpp>
#include <tandem/launcher.hpp>
#include <tandem/linger.hpp>
#include <tandem/process_crew.hpp>
#include <tandem/rhythm.hpp>
#include <tandem/spawn.hpp>
#include <tandem/worker.hpp>

namespace tandem {

/// The host's one thread for worker processes: it reads their replies, sees them end, has them
/// replaced, and keeps their deadlines. It sleeps in epoll until the bell, a pidfd, the fork server
/// or a deadline wakes it, and runs none of the user's code.
///
/// Helpers   who waits for an item may read the replies itself while the pump sleeps: between the two there would be one more
///           wake-up. The host counts as awake meanwhile, so workers do not ring.
/// Listener  one of those who sleep until an item comes hears the workers in the pump's place, for the same reason.
/// Threads   start(), stop() by the runtime; ring(), and what helpers and the listener call, by any; the rest by the pump's own thread.
class Pump {
 public:
  using Clock = std::chrono::steady_clock;

  /// segments: those that workers share.
  Pump(std::vector<Segment*> segments, HostPage& page, std::chrono::nanoseconds grace);
  ~Pump();
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  const PipeBell& bell() const noexcept { return bell_; }
  void ring() const noexcept { own_bell_.ring(); }

  /// The caller is about to help; the pump goes to sleep, if it has nothing else to do. False at the end of the run.
  [[nodiscard]] bool enter() noexcept;
  /// Does once what the pump would do with replies and messages, if that seems worth it. Between enter() and leave(). Wakes consumers.
  /// Returns   whether there was anything.
  bool help() noexcept;
  /// The same with all that there is: for who was rung, since nobody would come for what it left.
  bool help_at_once() noexcept;
  /// To be called soon after enter(): deadlines and ends of workers are the pump's alone. helped: any help() was true.
  void leave(bool helped) noexcept;

  /// The caller may listen() until it calls stop_listening(). False: another thread may, or it is the end of the run.
  [[nodiscard]] bool may_listen() noexcept;
  /// Sleeps until a worker rings, wake_listener() is called or it is late. True: a worker rang, so the caller is to help now.
  [[nodiscard]] bool listen(Clock::time_point until) noexcept;
  void stop_listening() noexcept;
  /// Lasts until it is heard.
  void wake_listener() const noexcept { listener_bell_.ring(); }

  /// Takes the crews in the order of their first slots. plans: one for each slot.
  void add(ProcessCrew& crew) { crews_.push_back(&crew); }
  /// While it sleeps, it comes to look for messages at these times.
  void follow(const Rhythm& rhythm) { rhythms_.push_back(&rhythm); }
  void launch(std::uint32_t slot, std::uint32_t incarnation);
  /// Has a worker's stack read; the crew hears of it if that works out. By the pump's thread.
  void inspect(std::uint32_t slot, std::uint32_t incarnation);
  /// Forks the fork server and asks for all workers. Errors: throws what the fork server's start threw.
  /// order: for those that are spawned; null: none is. Lasts as long as this.
  void start(std::vector<WorkerPlan> plans, const SpawnOrder* order);
  /// Lets workers finish for as long as `grace`, kills the rest, and returns when all are gone.
  void stop();

 private:
  struct Slot {
    std::uint32_t incarnation = 0;  // the last asked for
    bool awaited = false;           // asked for, and not answered yet
    bool gone = false;              // its pidfd says so; the cause is still under way
    bool orphaned = false;          // its fork server is gone: nobody will say how it ended
    std::optional<int> status;
    std::optional<int>
        unwatched;  // why it could not be watched, if so: its end is awaited, and it counts as not started
    Clock::time_point gone_since;
  };
  enum class Event : std::uint32_t { bell, own_bell, reports, server, worker };

  void run(std::promise<void> started);
  void begin();
  void drain();
  bool has_work() const noexcept;
  bool seems_worth_draining() const noexcept;
  void ring_sleepers() const noexcept;
  bool fall_asleep() noexcept;
  void wake_up() noexcept;
  bool finished(Clock::time_point now);
  void wait(Clock::time_point until);
  Clock::time_point promise(Clock::time_point now) noexcept;
  void handle(std::uint64_t tag);
  void receive_reports();
  void watch(int descriptor, Event event, std::uint32_t slot) const;
  static epoll_event entry_of(Event event, std::uint32_t slot) noexcept;
  void hear_workers(bool hear) const noexcept;
  void forget(int descriptor) const;
  void ended(const Launcher::Ended& end);
  void settle(std::uint32_t slot);
  Clock::time_point settle_late(Clock::time_point now);
  void replace_server();
  void start_another_server();
  void send_requests();
  ProcessCrew& crew_of(std::uint32_t slot);
  std::string memory_killer_text();
  bool awaits_any() const noexcept;

  const std::vector<Segment*> segments_;
  HostPage& page_;
  const std::chrono::nanoseconds grace_;
  const PipeBell bell_;  // the workers'
  const EventBell own_bell_;
  const EventBell listener_bell_;
  const Descriptor epoll_;
  std::vector<WorkerPlan> plans_;
  std::vector<ProcessCrew*> crews_;
  std::vector<const Rhythm*> rhythms_;
  std::vector<Slot> slots_;
  std::deque<std::uint32_t> unsent_;  // slots whose request waits for room in the socket
  std::unique_ptr<Launcher> launcher_;

  std::mutex awake_mutex_;  // guards the next five; held for a few instructions
  Sleeper<> sleeper_;       // of the pump and the helpers: asleep when all of them are
  bool asleep_ = false;     // the pump, or it is about to be
  int helpers_ = 0;
  bool over_ = false;
  bool listens_ = false;             // some thread, in the pump's place
  std::atomic<bool> helped_{false};  // there are some: for a look without the lock

  Linger linger_;
  Clock::time_point look_at_;  // at the latest, at the descriptors
  std::atomic<bool> stop_{false};
  int servers_lost_ = 0;
  std::uint64_t memory_kills_ = 0;
  bool ending_ = false;
  bool killed_ = false;
  Clock::time_point end_by_;
  std::thread thread_;
};

}  // namespace tandem
