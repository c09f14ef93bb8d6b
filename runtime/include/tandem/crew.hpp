#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <boost/circular_buffer.hpp>

#include <tandem/brief_mutex.hpp>
#include <tandem/lease.hpp>
#include <tandem/node.hpp>
#include <tandem/packing.hpp>
#include <tandem/pool.hpp>
#include <tandem/run.hpp>
#include <tandem/source.hpp>
#include <tandem/spin_mutex.hpp>

namespace tandem {

/// Where a crew's items go: the output of its node.
class Outlet {
 public:
  /// Takes graph handles over; what it leaves there is dropped by the caller. Called by any thread, without locks.
  virtual void emit(std::span<Handle> items) noexcept = 0;

 protected:
  ~Outlet() = default;
};

/// The workers of one node, as the graph sees them: messages go in, and each comes out exactly once
/// at the outlet, with a value or with an error, until the crew is stopped. Threads, processes and
/// later ranks differ behind this class and nowhere else.
///
/// Threads   submit() and flush() by any thread.
/// Locks     flush() never waits for mutex_: who holds it does the work of those who could not get it,
///           so that a source is not put to sleep by the pump. mutex_ guards all members below it.
///           While it is held no handle is dropped, no item emitted and nobody woken: such things are
///           collected in Acts and done after. (Taking pages for a block is done under it.)
class Crew : public Flushable, public Downstream {
 public:
  Crew(const NodeInfo& node, Pool& pool, Outlet& outlet);
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;
  virtual ~Crew() = default;

  /// Accepts messages: takes the handles over. Acted on at the end of the caller's Run. Never waits.
  void submit(std::span<Handle> inputs) noexcept;
  void flush() noexcept override;

  /// The source's messages come straight here: it is told when the workers are about to run out of work. Before its first.
  void feed_from(Source& source);
  bool has_plenty() const noexcept override { return has_plenty_.load(std::memory_order_seq_cst); }  // HUNGER

  /// From now on messages are dropped, and so are those that no worker has begun.
  void stop() noexcept;
  /// From now on nothing comes out any more: what is made is kept. For a program that is being ended.
  void freeze() noexcept { frozen_.store(true, std::memory_order_relaxed); }
  bool is_frozen() const noexcept { return frozen_.load(std::memory_order_relaxed); }
  /// True when messages wait for a block, and no worker is at work that could bring one back:
  /// only somebody who gives up an item can help.
  bool starved() noexcept;
  /// True when some worker is at work.
  bool busy() noexcept;
  /// Adds the node's numbers, and what is wrong with them.
  void audit(Audit& audit);
  /// After stop(): returns once no thread that was flushing or draining this crew is still handing on what came of it.
  void wait_quiet() const noexcept;
  const NodeInfo& node() const noexcept { return node_; }
  Pool& pool() noexcept { return pool_; }

 protected:
  struct Job {
    Handle input;
    std::unique_ptr<PackedMessage> packed{};  // the input for a worker process; null when it is not packed
    int attempt = 1;
    bool begun = false;  // a worker ended that may have been at it
    bool alone = false;  // its worker may have no other message meanwhile
  };
  /// What is to be done once the lock is released.
  struct Acts {
    std::vector<Handle> emit;
    std::vector<Handle> drop;
    std::vector<std::unique_ptr<PackedMessage>> unpack;  // done with
    std::vector<std::uint32_t> wake;                     // workers that must be told, by index within the crew
    std::vector<std::uint32_t> call;  // workers on threads that wait for a block, of which there is one
    std::vector<std::string> log;
    std::vector<Source*> hurry;  // the workers are about to run out of messages
    bool stop = false;           // a body asked for the end of the run
  };

  /// Whether somebody is awake who looks at is_asked() again before it sleeps, or will come soon enough. After a fence.
  virtual bool somebody_looks() const noexcept { return false; }
  /// Gives pending messages to workers that can take them. Under the lock.
  virtual void dispatch(Acts& acts) = 0;
  /// Wakes the workers named by `acts`. Without the lock.
  virtual void wake(const Acts& acts) noexcept = 0;
  /// Whether what waits and what the workers have keeps all of them at work for longer than a wake-up takes. Under the lock.
  virtual bool is_plenty() const noexcept { return false; }
  /// After messages have come or gone. Under the lock.
  void look_for_hunger(Acts& acts);
  /// Workers at work now. Under the lock.
  virtual bool anybody_busy() const noexcept = 0;
  /// What the workers were asked, beside the blocks. Under the lock.
  virtual void audit_workers(Audit&) const {}
  void carry_out(Acts& acts) noexcept;
  /// Takes what is in the inbox, if there is anything, unless somebody else does. Never waits.
  void flush_if_asked() noexcept;
  /// Something is in the inbox.
  bool is_asked() const noexcept { return asked_.load(std::memory_order_relaxed) != Asked::no; }

  // Under the lock, all of them:
  /// The next pending message with a lease and a block of this area for it; passes failed inputs on, and
  /// turns messages for which there is no memory at all into errors. Null: none, or it must wait.
  Lease* next_job(Acts& acts, std::uint32_t area = 0);
  void take_inbox(Acts& acts);
  /// As the messages of one flush(): everything that was submitted so far is taken.
  void answer_ask(Acts& acts);
  /// The item is made: its input may go, and it goes out.
  void complete(Lease& lease, Acts& acts);
  void fail(Lease& lease, std::string reason, Acts& acts, std::string stack = {});
  /// Takes back what a lost worker was given. The message waits again, at the front.
  void put_back(Lease& lease, int attempt, bool alone);
  /// No worker is left and none will come: every message fails with this reason.
  void give_up(std::string reason, int worker, Acts& acts);
  void fail_pending(Acts& acts);
  const Handle& input_of(const Lease& lease) const { return inputs_[lease.index]; }
  /// Null: the input is not packed.
  const PackedMessage* packed_of(const Lease& lease) const {
    return packed_.empty() ? nullptr : packed_[lease.index].get();
  }
  /// The first pending message waits for room in the store of shared arrays, of which nobody is told: so it is to be tried again
  /// now and then.
  bool waits_for_room() const noexcept { return waits_for_room_; }
  /// The first pending message waits for a block.
  bool waits_for_block() const noexcept { return waits_for_block_; }
  /// Until the next look for a block: perhaps there is no worker that could take one.
  void waits_for_no_block() noexcept { waits_for_block_ = false; }
  std::byte* output_of(const Lease& lease) const noexcept {
    return pool_.block(lease) + node_.layout.output_offset();
  }
  /// The input as a body wants it. In this process.
  const void* payload_of_input(const Lease& lease) const noexcept;

  /// While it lives, wait_quiet() waits: for who hands on what comes of this crew, and may be any thread.
  class HandingOn {
   public:
    explicit HandingOn(Crew& crew) noexcept : crew_{crew} {
      crew_.flushing_.fetch_add(1, std::memory_order_seq_cst);
    }
    ~HandingOn() { crew_.flushing_.fetch_sub(1, std::memory_order_release); }
    HandingOn(const HandingOn&) = delete;
    HandingOn& operator=(const HandingOn&) = delete;

   private:
    Crew& crew_;
  };
  /// The lock, for those who must have it. Its end does what others left to its holder meanwhile.
  class Hold {
   public:
    explicit Hold(Crew& crew) : crew_{crew} { crew_.mutex_.lock(); }
    ~Hold() {
      crew_.mutex_.unlock();
      crew_.flush_if_asked();
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    Crew& crew_;
  };

  const NodeInfo& node_;
  Pool& pool_;
  Outlet& outlet_;

  BriefMutex mutex_;
  using Jobs = boost::circular_buffer<Job>;

  Jobs pending_;  // has room for as many as ever waited
  bool stopped_ = false;

 private:
  void lend(Job& job, Lease& lease);
  std::size_t first_with_room();
  void make_room(std::size_t count);
  void submit_packed(Handle input) noexcept;
  std::unique_ptr<PackedMessage> pack(const Lease& input) const noexcept;
  std::unique_ptr<Failure> failure_of(const Job& job) const;
  std::unique_ptr<Failure> new_failure(const Lease& lease, std::string reason, std::string stack = {}) const;
  void show_arrays(Lease& lease);
  void do_without_block(Lease& lease, Acts& acts);
  void reclaim(Lease& lease, int attempt, bool alone);

  std::vector<Handle> inputs_;  // by lease: the item it is made from, unless that is the message itself
  std::vector<std::unique_ptr<PackedMessage>> packed_;  // by lease; empty when messages are not packed here
  std::vector<Source*> feeders_;
  std::optional<Failure> given_up_;
  bool waits_for_block_ = false;
  bool waits_for_room_ = false;
  bool refusal_told_ = false;

  std::atomic<bool> has_plenty_{false};  // written under the lock
  std::atomic<bool> frozen_{false};
  std::mutex kept_mutex_;
  std::vector<Handle> kept_;

  // Whether somebody has put something into the inbox since the last look, and whether anybody of them minds when that comes.
  enum class Asked : std::uint8_t { no, patiently, at_once };

  // Lines of their own: many look at the first two, while a source puts one message after the other into the inbox.
  alignas(64) std::atomic<int> flushing_{0};  // threads in flush_if_asked() or drain()
  std::atomic<Asked> asked_{Asked::no};

  alignas(64) SpinMutex inbox_mutex_;  // taken after mutex_, if both are; held for a few instructions only
  std::vector<Handle> inbox_;
  std::vector<std::unique_ptr<PackedMessage>>
      inbox_packed_;                       // of the same places, where messages are packed; else empty
  alignas(64) std::vector<Handle> taken_;  // guarded by mutex_; keeps its memory
  std::vector<std::unique_ptr<PackedMessage>> taken_packed_;
};

}  // namespace tandem
