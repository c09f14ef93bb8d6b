#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <tandem/channel.hpp>
#include <tandem/circulation.hpp>
#include <tandem/crew.hpp>
#include <tandem/doorbell.hpp>
#include <tandem/launcher.hpp>
#include <tandem/recall.hpp>

namespace tandem {

/// Workers as processes. The host writes down whom it asked for what before it asks, so that the
/// end of a worker, at any instruction, leaves nothing to repair: the replies that it committed
/// count, the message that it was at is tried again, and the others that it had are given to others.
///
/// Numbers   the `workers` of the configuration are numbers; each has an area of blocks, and a process that serves
///           it. Beside these processes there are `spares`, started but without a number. When a process
///           ends, a spare takes its number, and the new process becomes the spare.
/// Threads   submit() and flush() by any; all public functions below by the pump's thread, but where they say so.
class ProcessCrew final : public Crew {
 public:
  using Clock = std::chrono::steady_clock;
  /// Asks the launcher for a new incarnation of a slot; called without locks, by the pump's thread.
  using Launch = std::function<void(std::uint32_t slot, std::uint32_t incarnation)>;
  /// Has a worker's stack read; answered by inspected().
  using Inspect = std::function<void(std::uint32_t slot, std::uint32_t incarnation)>;
  using Nudge = std::function<void()>;
  /// A body in a worker has called Runtime::stop(). Called without locks, in drain() or ended().
  using Stop = std::function<void()>;

  /// channels: one for each worker and spare, whose memory has pages.
  ProcessCrew(const NodeInfo& node, Pool& pool, Outlet& outlet, std::byte* base, HostPage& page,
              std::vector<ChannelLayout> channels, std::uint32_t first_slot, Launch launch, Inspect inspect,
              Nudge nudge, Stop stop);
  ~ProcessCrew() override;

  std::uint32_t first_slot() const noexcept { return first_slot_; }
  std::uint32_t slots() const noexcept { return static_cast<std::uint32_t>(workers_.size()); }

  /// Makes the rings and asks for a first process for every number. Spares come when all of them are ready.
  void start();
  void started(Launcher::Started report);
  void not_started(const Launcher::NotStarted& report);
  /// The process is gone, as the kernel said. cause: "killed by signal 9 (SIGKILL)" and the like.
  /// counts: whether that was an attempt at the message that it was at. killed: by SIGKILL, so by somebody else.
  void ended(std::uint32_t slot, std::uint32_t incarnation, const std::string& cause, bool counts, bool killed);
  /// Reads all replies, and gives out what was submitted. Returns true when there was something. By any thread between
  /// Pump::enter() and leave(), and the pump.
  bool drain();
  /// Rings every worker that sleeps over a request. The pump calls it between announcing its sleep
  /// and sleeping; while the pump is awake, others leave this to it, see wake(). By any thread, like drain().
  void ring_sleepers() noexcept;
  /// Whether drain() would find something to do.
  bool has_work() noexcept;
  /// Whether it looks as if it were worth while to call drain(): replies to tiny messages are left to gather for a moment. By any
  /// thread, without the lock, so it may be wrong either way for a moment: who is about to sleep asks has_work().
  bool seems_worth_draining() const noexcept;
  /// The same of drain() or ring_sleepers().
  bool seems_to_have_work() const noexcept {
    return unrung_.load(std::memory_order_relaxed) || seems_worth_draining();
  }
  /// Whether there is something that only the pump does, and that it does not know of.
  bool needs_pump() noexcept;
  /// Whether the sleeping pump comes by itself to look for messages that can wait. By the pump's thread, which looks at has_work()
  /// before it sleeps.
  void promise_to_come(bool soon) noexcept;
  /// Gives messages out that wait for the sleeping pump. By any thread. Returns whether there were any.
  bool hurry() noexcept;
  /// Asks for the processes that are wanted by now.
  void launch_wanted();
  /// Has the stack of workers read whose message is over its deadline, and kills them; returns when to look again. Time in which the host
  /// itself stood still does not count.
  Clock::time_point enforce_deadlines(Clock::time_point now);
  /// Where an overdue worker stood; empty: unknown. It is killed now.
  void inspected(Launcher::Inspected seen);
  /// Takes messages back that a worker was given ahead and that wait behind a long one, and gives them to others; returns
  /// when to look again.
  Clock::time_point relieve(Clock::time_point now);
  /// The pump is awake, and will relieve() before it sleeps: nobody need wake it for that.
  void will_relieve() noexcept;
  /// Gives a message that waits for room in the store of shared arrays out when there is some. Returns when to look again.
  Clock::time_point look_for_room(Clock::time_point now);
  /// Lends one more block to a worker that has waited for one for long. Returns when to look again.
  Clock::time_point look_for_blocks(Clock::time_point now);
  /// Asks every worker to end after the message that it is at.
  void ask_to_end();
  void kill_all() noexcept;
  /// Processes that are not known to be gone.
  std::uint32_t alive() const noexcept;
  int pidfd(std::uint32_t slot) const noexcept { return workers_[slot - first_slot_].pidfd.get(); }
  /// The processes that are running now, with a number, or the spares. By any thread.
  std::vector<pid_t> pids(bool spares);

 private:
  // One beside the one that it is at, so that a worker need not wait for the host between two.
  static constexpr std::uint64_t kLeastAhead = 2;

  /// Of a slot: for a look at its reply ring without the lock.
  struct Glance {
    std::atomic<std::uint64_t>* commit = nullptr;  // constant: the next ring lies where the last one did
    std::atomic<std::uint64_t> taken{0};           // replies; written under the lock, as `due` is
    std::atomic<std::uint64_t> due{0};             // so many replies: it is no use to wait for more
    // When somebody saw fewer, by the clock; 0: nobody did. Written by whoever looks, and under the lock.
    std::atomic<std::int64_t> since{0};

    static constexpr std::uint64_t kNever = ~std::uint64_t{0};  // its replies are not read any more
    bool is_due() noexcept;
  };

  enum class State : std::uint8_t { launching, starting, ready, gone, failed };
  // What is known of a number, whichever processes served it.
  struct Number {
    int failed_starts = 0;  // one after the other
    int barren = 0;         // incarnations one after the other that ended idle, and had not answered any
    bool left_out = false;
  };
  struct Worker {
    ChannelLayout channel;
    int number = RequestHead::kSpare;
    State state = State::gone;
    std::uint32_t incarnation = 0;
    pid_t pid = -1;
    Descriptor pidfd;
    RequestWriter requests;
    ReplyReader replies;
    FutexBell<> bell;
    Ringer<> ringer;
    Recaller<> recaller;
    std::vector<Lease*> asked;   // the ledger, by place in the request ring; null: taken back, or asked to end
    std::uint64_t answered = 0;  // requests before this place have their reply
    std::uint64_t recalled = 0;  // requests before this place that it had not begun were taken back
    std::uint64_t service_nanoseconds = 0;
    std::uint64_t busy_nanoseconds = 0;  // of replies that service_nanoseconds does not count yet
    std::uint64_t busy_replies = 0;
    std::uint64_t depth = kLeastAhead;  // how many requests it may have at a time
    std::uint64_t share = 1;            // how many it is given at once
    Clock::time_point busy_since;
    std::optional<Clock::time_point> waits_since;  // it could begin a message, and has no block
    std::string condemned;                         // why the host killed it, if it did
    bool lied = false;          // because of nonsense: any of the messages that it had may have written that
    bool overdue = false;       // because of the deadline
    bool exhausted = false;     // because its memory ran out; it has said so, and no message is to blame
    std::string stack;          // where it stood then
    Clock::time_point kill_at;  // overdue, and its stack not known yet
    bool useful = false;        // this incarnation has answered a message
    bool arrived = false;       // its main got to the graph, or it has none
    Clock::time_point launched;
    bool alone = false;    // the message that it was given last must be its only one
    bool held_up = false;  // what it had been given ahead was taken back, and it has not spoken since

    std::uint64_t outstanding() const noexcept { return requests.pushed() - answered; }
    bool running() const noexcept { return state == State::starting || state == State::ready; }
    bool is_spare() const noexcept { return number < 0; }
    bool serves() const noexcept { return number >= 0 && state == State::ready && condemned.empty(); }
    bool is_idle() const noexcept { return serves() && outstanding() == 0; }
    bool must_end() const noexcept {
      return asked[answered & (channel.capacity - 1)] == nullptr && answered >= recalled;
    }
  };

  bool somebody_looks() const noexcept override;
  void dispatch(Acts& acts) override;
  void wake(const Acts& acts) noexcept override;
  bool is_plenty() const noexcept override;
  bool anybody_busy() const noexcept override;
  void audit_workers(Audit& audit) const override;

  void launch(Worker& worker);
  Worker* choose(bool alone);
  static std::uint64_t cost_of(const Worker& worker) noexcept;
  bool has_block(Worker& worker);
  void lent(Worker& worker);
  bool give_share(Worker& worker, Acts& acts);
  void prefetch_pending() const;
  void measure(Worker& worker) const;
  void ask(Worker& worker, Lease& lease);
  void publish(Acts& acts);
  std::chrono::nanoseconds patience(const Worker& worker, const Worker* idle) const;
  bool can_relieve() const;
  static bool has_ahead(const Worker& worker);
  const Worker* idle_worker() const;
  void take_ahead_back(Worker& worker);
  void answered(Worker& worker);
  void ask_to_end(Worker& worker, Acts& acts);
  void collect_sleepers(Acts& acts);
  void read_replies(Worker& worker, Acts& acts);
  void take_glance(const Worker& worker) noexcept;
  static bool is_long_since(std::atomic<std::int64_t>& since) noexcept;
  void look_whether_to_gather() noexcept;
  void set_due(const Worker& worker) noexcept;
  static void prefetch_soon(const Worker& worker);
  void take_replies(Worker& worker, Acts& acts);
  static Lease* expected(const Worker& worker) noexcept;
  bool accept_done(Worker& worker, Acts& acts);
  static bool is_about_next(const Worker& worker, const ReplyToken& reply);
  void was_useful(Worker& worker, std::uint64_t busy_nanoseconds);
  void accept(Worker& worker, const ReplyToken& reply, std::uint64_t place, Acts& acts);
  static std::string nonsense_of(const Worker& worker, const Lease* asked, const ReplyToken& reply);
  void grant(Worker& worker, Lease& lease, const ReplyToken& reply, std::uint64_t place, Acts& acts);
  static bool take_returned(Lease& lease, std::uint32_t returned);
  void ran_out_of_memory(Worker& worker, Lease& lease, const std::string& reason, Acts& acts);
  void start_failed(Worker& worker, const std::string& reason, Acts& acts);
  void condemn(Worker& worker, std::string reason);
  void accept_start(Worker& worker, const ReplyToken& reply, std::uint64_t place, Acts& acts);
  Clock::time_point enforce_deadline(Worker& worker, Clock::time_point now);
  void forgive_standstill(Clock::time_point now, std::chrono::nanoseconds look) noexcept;
  std::string how_it_ended(Worker& worker, const std::string& cause, bool& counts, Acts& acts);
  void take_back(Worker& worker, const std::string& how, bool counts, Acts& acts);
  void count_end(Worker& worker, State before, bool idled, const std::string& how, Acts& acts);
  void replace(Worker& worker, Acts& acts);
  Worker* best_spare();
  void want_spares();
  void give_spares_up(const std::string& reason, Acts& acts);
  void set_number(Worker& worker, int number);
  std::string text_of(const Worker& worker, const ReplyToken& reply, std::uint64_t place) const;
  std::string name_of(const Worker& worker) const;
  std::uint32_t index_of(const Worker& worker) const noexcept {
    return static_cast<std::uint32_t>(&worker - workers_.data());
  }
  Number& number_of(const Worker& worker) { return numbers_[static_cast<std::size_t>(worker.number)]; }
  static std::uint32_t area_of(const Worker& worker) noexcept {
    return static_cast<std::uint32_t>(worker.number);
  }

  std::byte* const base_;
  HostPage& page_;
  const std::uint32_t first_slot_;
  const bool large_blocks_;  // they do not share pages
  const Launch launch_;
  const Inspect inspect_;
  const Nudge nudge_;
  const Stop stop_;

  // Guarded by mutex_, but for pid, pidfd and incarnation, which only the pump's thread writes and
  // may read without it.
  std::vector<Worker> workers_;  // by slot: numbers and spares in any order
  std::vector<Number> numbers_;
  const std::unique_ptr<Glance[]> glances_;  // by slot
  std::optional<Circulation> circulation_;   // none: blocks are small
  bool waited_for_block_ = false;            // some worker did, since the pump looked last
  // When the pump comes to relieve(), at the latest; max: it does not.
  Clock::time_point relief_at_ = Clock::time_point::max();
  bool pump_looks_for_blocks_ = false;  // at:
  Clock::time_point look_for_blocks_at_;
  Clock::time_point deadlines_looked_at_;
  bool deadlines_run_ = false;  // some did then
  bool stood_still_ = false;    // the host, before that look
  std::vector<std::uint32_t> to_launch_;
  int spare_ends_ = 0;           // of spares, since the last that was of use
  int spare_failed_starts_ = 0;  // since the last that started
  bool no_spares_ = false;
  Clock::time_point heard_at_;  // when replies were last looked for
  bool ending_ = false;

  std::atomic<bool> may_gather_{false};               // what is in the inbox; written under the lock
  mutable std::atomic<std::int64_t> asked_since_{0};  // as Glance::since
  std::atomic<bool> pump_comes_{false};
  std::atomic<bool> unrung_{
      false};  // requests were published since workers were last rung; written under the lock
};

}  // namespace tandem
