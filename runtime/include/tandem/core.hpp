#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <tandem/array_store.hpp>
#include <tandem/audit.hpp>
#include <tandem/config.hpp>
#include <tandem/crew.hpp>
#include <tandem/ending.hpp>
#include <tandem/feed.hpp>
#include <tandem/node.hpp>
#include <tandem/parameter_cell.hpp>
#include <tandem/pool.hpp>
#include <tandem/process_crew.hpp>
#include <tandem/pump.hpp>
#include <tandem/segment.hpp>
#include <tandem/source.hpp>
#include <tandem/spawn.hpp>
#include <tandem/split.hpp>
#include <tandem/thread_crew.hpp>

namespace tandem {

/// A node of the graph, as the runtime knows it: told when the run begins and ends.
class Member {
 public:
  /// The run has begun: workers are there, messages may flow.
  virtual void opened() {}
  /// The run is ending. Must not wait; whatever waits in the node must be woken, for good.
  virtual void close() noexcept {}
  /// After close() of all: returns once no thread of the node's own is left.
  virtual void join() noexcept {}
  /// The graph is done with a message that never came to this sequencer.
  virtual void message_left(std::uint32_t /*source*/, std::uint64_t /*sequence*/) noexcept {}
  /// A source has ended and the graph is done with its messages.
  virtual void source_drained() noexcept {}
  /// A credit of this source is free, and its Feed had asked for it.
  virtual void credit_free(std::uint32_t /*source*/) noexcept {}

 protected:
  ~Member() = default;
};

/// What a Runtime owns, kept alive by its nodes and by the items that are still in somebody's hands.
///
/// Life      gathering (nodes register) -> open (start()) -> closed (stop()); never back.
/// Threads   register from one thread at a time, before start(). start(), stop(), and the queries by
///           any thread; stop() from inside a node or body only asks, and does not wait.
class Core final : public SourceListener, public std::enable_shared_from_this<Core> {
 public:
  struct NewNode {
    std::string name;
    std::string type;  // "Tile -> Arrays"
    std::size_t message_bytes = 0;
    Packing packing;
    BlockLayout layout;
    std::function<std::unique_ptr<Body>()> make_body;
    Outlet* outlet = nullptr;
    Spawn spawn;
    MaySleep may_sleep;
  };

  explicit Core(Config config);
  ~Core();

  const Config& config() const noexcept { return config_; }

  // Gathering; each throws Error once the run has begun.
  Source& add_source(std::string name, std::function<std::unique_ptr<MessageStore>(std::uint32_t)> store);
  std::uint32_t add_node(NewNode node);
  /// A source whose messages are made in blocks, by the program itself. Returns the node's index; its feed() is there
  /// once the run has begun.
  std::uint32_t add_feed(std::string name, BlockLayout layout);
  /// A node with a source of its own, for calls that are no part of the graph. Their messages are kept by `store`.
  std::uint32_t add_calls(NewNode node, std::function<std::unique_ptr<MessageStore>(std::uint32_t)> store);
  /// A source whose messages are parts of items that come to a split node. arrays: as Split has them.
  /// Returns   the node's index.
  std::uint32_t add_split(std::string name, std::vector<std::string> arrays);
  void add_parameter(std::shared_ptr<ParameterCell> cell);
  /// Returns the sequencer's bit in Lease::sequencers. restores: what comes out of it is in order.
  std::uint64_t add_sequencer(Member& member, bool restores = true);
  void add_member(Member& member);
  void remove_member(Member& member) noexcept;

  /// Begins the run, once; later calls do nothing. Errors: ConfigError, MemoryError, Error; the run
  /// is closed then.
  void start();
  void stop() noexcept;
  /// The run in whose body or commander this thread is, if any: stop() called there does not wait for itself.
  /// (Subtasks that a body spawns in other threads are not known; stop() there waits for the body.)
  static const Core*& inside() noexcept;

  /// The bits of all sequencers. Constant once open.
  std::uint64_t sequencers() const noexcept { return sequencers_; }
  /// Whether any sequencer restores an order.
  bool orders() const noexcept { return orders_; }
  bool is_gathering() const noexcept { return phase_.load(std::memory_order_acquire) == Phase::gathering; }
  bool is_open() const noexcept { return phase_.load(std::memory_order_acquire) == Phase::open; }
  bool is_closed() const noexcept { return phase_.load(std::memory_order_acquire) == Phase::closed; }
  /// All sources have ended, and the graph is done with all messages.
  bool drained() const noexcept;
  /// Nothing can move until somebody gives up an item that was handed out, or a loan of a feeder; without the loans, what
  /// is lent may still be pushed and come out.
  bool waits_for_user(bool with_loans) const noexcept;
  /// A node whose messages wait for a block while none of its workers could bring one back; null: none.
  const NodeInfo* starved_node() const noexcept;
  std::uint32_t in_flight() const noexcept { return in_flight_; }
  /// Messages that exist now, over all sources.
  std::uint64_t live_messages() const noexcept;
  /// Messages that were ever made, over all sources.
  std::uint64_t emitted_messages() const noexcept;
  /// Blocks lent now, over all nodes.
  std::uint64_t lent_blocks() const noexcept;
  /// The books; see Runtime::audit().
  Audit audit();
  std::vector<pid_t> worker_pids(bool spares) const;

  /// While it lives, a thread that waits for an item reads what the workers have replied. Soon over.
  class Helping {
   public:
    explicit Helping(Core& core) noexcept
        : pump_{core.is_open() && core.pump_ && core.pump_->enter() ? core.pump_.get() : nullptr} {}
    ~Helping() {
      if (pump_ != nullptr) pump_->leave(helped_);
    }
    Helping(const Helping&) = delete;
    Helping& operator=(const Helping&) = delete;

    void help() noexcept {
      if (pump_ != nullptr) helped_ = pump_->help() || helped_;
    }
    void help_at_once() noexcept {
      if (pump_ != nullptr) helped_ = pump_->help_at_once() || helped_;
    }

   private:
    Pump* const pump_;
    bool helped_ = false;
  };

  /// The caller is about to wait for something: messages that could wait for the pump go to sleeping workers now.
  void hurry() noexcept {
    bool any = false;
    for (ProcessCrew* const crew : process_crews_) any = crew->hurry() || any;
    if (!any) return;
    for (const auto& feed : feeds_) feed->rhythm().spoil();
  }

  /// While one lives, its thread may sleep in the pump's place until a worker rings; see Pump. Nobody may before the run has begun,
  /// and without worker processes.
  class Listening {
   public:
    explicit Listening(Core& core, bool wanted) noexcept
        : core_{core}, granted_{wanted && core.is_open() && core.pump_ && core.pump_->may_listen()} {}
    ~Listening() {
      if (granted_) core_.pump_->stop_listening();
    }
    Listening(const Listening&) = delete;
    Listening& operator=(const Listening&) = delete;

    explicit operator bool() const noexcept { return granted_; }
    /// Whether a worker rang: then the caller is to help.
    [[nodiscard]] bool sleep(std::chrono::steady_clock::time_point until) noexcept {
      return core_.pump_->listen(until);
    }

   private:
    Core& core_;
    const bool granted_;
  };

  /// By who brings what the listener sleeps for.
  void wake_listener() const noexcept { pump_->wake_listener(); }

  Crew& crew(std::uint32_t node) noexcept { return *crew_of_[node]; }
  /// Null before the run has begun, and when it could not.
  Feed* feed(std::uint32_t node) noexcept {
    return is_gathering() || node >= feed_of_.size() ? nullptr : feed_of_[node];
  }
  Source& source_of_feed(std::uint32_t node) noexcept { return own_source(node); }
  /// Of a feeder or of calls.
  Source& own_source(std::uint32_t node) noexcept { return *sources_[own_sources_.at(node)].source; }
  Split& split(std::uint32_t index) noexcept { return *splits_[index]; }
  Source& source_of_split(std::uint32_t index) noexcept { return *split_sources_[index]; }
  /// Whether all messages of the graph come from one commander or feeder. In an open run.
  bool has_one_source() const noexcept;
  const NodeInfo& node(std::uint32_t index) const noexcept { return *nodes_[index]; }
  /// Where shared arrays live; made at the first call.
  /// Errors    throws Error when that comes after worker processes were started, which would not have it; MemoryError.
  std::shared_ptr<ArrayStore> arrays();
  std::vector<ArrayInfo> shared_arrays();
  /// Whether the item's message was made by a source of this runtime.
  bool owns(const Lease& item) const noexcept {
    return item.root->run == static_cast<const SourceListener*>(this);
  }
  const std::atomic<std::uint32_t>& stopping() const noexcept { return stopping_; }

  void message_left(Source& source, std::uint64_t sequence) noexcept override;
  void source_drained(Source& source) noexcept override;
  void credit_free(Source& source) noexcept override;
  void source_quiet(Source& source) noexcept override;

 private:
  enum class Phase : std::uint8_t { gathering, open, closed };

  struct SourceEntry {
    std::string name;
    std::unique_ptr<Source> source;
    std::function<std::unique_ptr<MessageStore>(std::uint32_t)> make_store;
    std::uint32_t extra = 0;  // credits beyond in_flight
    bool apart = false;       // of calls: its messages never enter the graph
    bool split = false;       // of a split node
  };

  void must_be_gathering() const;
  void check_names() const;
  void plan();  // in-flight limit, places in the segment
  void lay_out();
  std::string plan_text() const;
  std::vector<WorkerPlan> worker_plans(std::byte* base, int bell) const;
  std::unique_ptr<SpawnOrder> spawn_order(const std::vector<WorkerPlan>& plans) const;
  bool is_of_this_worker() const noexcept;
  [[noreturn]] void serve_spawned(const Spawned& self) noexcept;
  template <class Move>
  void place_parameters(std::byte* base, Move move) const;
  std::size_t route_bytes() const;
  std::uint32_t choose_in_flight() const;
  void build();  // segment, pools, crews
  void build_crew(NodeInfo& node, const NewNode& wanted, std::uint32_t& slot);
  std::uint32_t extra_blocks(const NodeInfo& node) const;
  std::size_t sources_to(const NodeInfo& node) const;
  void open_sources();
  void begin();
  void open_members();
  void ask_to_stop() noexcept;
  [[noreturn]] void refuse(std::exception_ptr reason);
  void shut_down() noexcept;
  void drop_bodies() noexcept;

  const Config config_;
  const std::uint32_t number_ = runtime_number();
  std::atomic<Phase> phase_{Phase::gathering};
  std::mutex life_mutex_;                   // start() and stop(), one at a time
  std::exception_ptr start_error_;          // what start() threw; it throws that again
  std::atomic<std::uint32_t> stopping_{0};  // for bodies on threads; processes have the host page

  // Constant once open.
  std::vector<SourceEntry> sources_;
  NodeTable nodes_;
  std::vector<NewNode> wanted_;  // by node
  std::vector<std::shared_ptr<ParameterCell>> parameters_;
  SplitTable splits_;
  std::vector<Source*> split_sources_;  // by index of splits_
  Ending ending_;
  std::uint64_t sequencers_ = 0;
  bool orders_ = false;
  std::uint32_t in_flight_ = 0;
  std::uint32_t slots_ = 0;
  std::vector<ChannelLayout> channels_;  // by slot
  std::size_t segment_bytes_ = 0;
  std::unique_ptr<Segment> segment_;
  std::mutex arrays_mutex_;         // guards who makes arrays_
  bool arrays_are_chosen_ = false;  // workers are being made now, which have the store that there is, or none
  std::shared_ptr<ArrayStore> arrays_;
  std::shared_ptr<ArrayStore> chosen_arrays_;  // constant from then on
  HostPage* page_ = nullptr;
  std::vector<std::unique_ptr<Pool>> pools_;
  std::unique_ptr<SpawnOrder> order_;  // null: no worker is spawned
  std::unique_ptr<Pump> pump_;
  std::map<std::uint32_t, std::size_t> own_sources_;  // by node: a feeder's, or calls'
  std::vector<std::unique_ptr<Crew>> crews_;
  std::vector<std::unique_ptr<Feed>> feeds_;
  std::vector<Crew*> crew_of_;  // by node; null: it is a feeder
  std::vector<Feed*> feed_of_;  // by node; null: it is none
  std::vector<ProcessCrew*> process_crews_;
  std::vector<ThreadCrew*> thread_crews_;

  // Members come and go with their nodes; a call into one ends before its removal does.
  mutable std::mutex members_mutex_;
  std::condition_variable members_idle_;
  std::vector<Member*> members_;
  int calls_ = 0;
  template <class Call>
  void for_each_member(Call call) noexcept;
};

}  // namespace tandem
