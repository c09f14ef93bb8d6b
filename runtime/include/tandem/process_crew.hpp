#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <tandem/channel.hpp>
#include <tandem/crew.hpp>
#include <tandem/doorbell.hpp>
#include <tandem/launcher.hpp>

namespace tandem {

/// Workers as processes. The host writes down whom it asked for what before it asks, so that the
/// end of a worker, at any instruction, leaves nothing to repair: the replies that it committed
/// count, the message that it was at is tried again, and the others that it had are given to others.
///
/// Threads   submit() and flush() by any; all public functions below by the pump's thread.
class ProcessCrew final : public Crew {
 public:
  using Clock = std::chrono::steady_clock;
  /// Asks the launcher for a new incarnation of a slot; called without locks, by the pump's thread.
  using Launch = std::function<void(std::uint32_t slot, std::uint32_t incarnation)>;
  using Nudge = std::function<void()>;
  /// A body in a worker has called Runtime::stop(). Called without locks, by the pump's thread.
  using Stop = std::function<void()>;

  /// channels: one for each worker, whose memory has pages.
  ProcessCrew(const NodeInfo& node, Pool& pool, Outlet& outlet, std::byte* base, HostPage& page,
              std::vector<ChannelLayout> channels, std::uint32_t first_slot, Launch launch, Nudge nudge,
              Stop stop);
  ~ProcessCrew() override;

  std::uint32_t first_slot() const noexcept { return first_slot_; }
  std::uint32_t slots() const noexcept { return static_cast<std::uint32_t>(workers_.size()); }

  /// Makes the rings and asks for a first process for every worker.
  void start();
  void started(Launcher::Started report);
  void not_started(const Launcher::NotStarted& report);
  /// The process is gone, as the kernel said. cause: "killed by signal 9 (SIGKILL)" and the like.
  /// counts: whether that was an attempt at the message that it was at.
  void ended(std::uint32_t slot, std::uint32_t incarnation, const std::string& cause, bool counts);
  /// Reads all replies. Returns true when there was one.
  bool drain();
  /// Rings every worker that sleeps over a request. The pump calls it between announcing its sleep
  /// and sleeping; while the pump is awake, others leave this to it, see wake().
  void ring_sleepers() noexcept;
  bool replies_ready() const noexcept;
  /// Kills workers whose message is over its deadline; returns when to look again.
  Clock::time_point enforce_deadlines(Clock::time_point now);
  /// Asks every worker to end after the message that it is at.
  void ask_to_end();
  void kill_all() noexcept;
  /// Processes that are not known to be gone.
  std::uint32_t alive() const noexcept;
  int pidfd(std::uint32_t slot) const noexcept { return workers_[slot - first_slot_].pidfd.get(); }
  /// The processes that are running now. By any thread.
  std::vector<pid_t> pids();

 private:
  // One beside the one that it is at, so that a worker need not wait for the host between two.
  static constexpr std::uint64_t kLeastAhead = 2;

  enum class State : std::uint8_t { launching, starting, ready, gone, failed };
  struct Worker {
    ChannelLayout channel;
    State state = State::gone;
    std::uint32_t incarnation = 0;
    pid_t pid = -1;
    Descriptor pidfd;
    RequestWriter requests;
    ReplyReader replies;
    FutexBell<> bell;
    Ringer<> ringer;
    std::vector<Lease*> asked;   // the ledger, by place in the request ring; null: asked to end
    std::uint64_t answered = 0;  // requests before this place have their reply
    std::uint64_t service_nanoseconds = 0;
    std::uint64_t depth = kLeastAhead;  // how many requests it may have at a time
    int failed_starts = 0;
    Clock::time_point busy_since;
    std::string condemned;  // why the host killed it, if it did
    bool lied = false;      // because of nonsense: any of the messages that it had may have written that
    bool overdue = false;   // because of the deadline
    bool useful = false;    // this incarnation has answered a message
    int barren = 0;         // incarnations one after the other that ended idle, and had not answered any
    bool alone = false;     // the message that it was given last must be its only one

    std::uint64_t outstanding() const noexcept { return requests.pushed() - answered; }
    bool running() const noexcept { return state == State::starting || state == State::ready; }
  };

  void dispatch(Acts& acts) override;
  void wake(const Acts& acts) noexcept override;
  bool anybody_busy() const noexcept override;

  void launch(Worker& worker);
  Worker* choose(bool idle);
  void ask(Worker& worker, Lease& lease);
  void publish(Acts& acts);
  void ask_to_end(Worker& worker, Acts& acts);
  void collect_sleepers(Acts& acts);
  void read_replies(Worker& worker, Acts& acts);
  void accept(Worker& worker, const ReplyToken& reply, std::uint64_t place, Acts& acts);
  void start_failed(Worker& worker, const std::string& reason, Acts& acts);
  void condemn(Worker& worker, std::string reason);
  std::string text_of(const Worker& worker, const ReplyToken& reply, std::uint64_t place) const;
  std::string name_of(const Worker& worker) const;
  int index_of(const Worker& worker) const noexcept { return static_cast<int>(&worker - workers_.data()); }

  std::byte* const base_;
  HostPage& page_;
  const std::uint32_t first_slot_;
  const Launch launch_;
  const Nudge nudge_;
  const Stop stop_;

  // Guarded by mutex_, but for pid, pidfd and incarnation, which only the pump's thread writes and
  // may read without it.
  std::vector<Worker> workers_;
  std::vector<std::uint32_t> to_launch_;
  bool ending_ = false;
};

}  // namespace tandem
