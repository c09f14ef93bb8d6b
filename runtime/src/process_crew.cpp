#include <tandem/process_crew.hpp>

#include <signal.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include <fmt/format.h>

namespace tandem {
namespace {

// A worker is given as many messages ahead as it is likely to finish in this time; of large blocks fewer, so that those in use stay
// few.
constexpr std::uint64_t kAheadNanoseconds = 1'000'000;
constexpr std::uint64_t kLargeAheadNanoseconds = 100'000;
// And as many as in this time, which the host's threads may have to wait for a processor when the workers are busy on all: but no
// more than half its share of all that can be in flight, so that some are left for another that comes back from a long message.
constexpr std::uint64_t kSliceNanoseconds = 4'000'000;
// It may be at one message for so long before those behind it are taken back.
constexpr std::uint64_t kPatienceNanoseconds = 100'000;
// It is given so many at once as it is likely to finish in this time.
constexpr std::uint64_t kTogetherNanoseconds = 4'000;
constexpr std::uint64_t kMostTogether = 16;
// To give a message to a worker that has nothing to do is worth so much of another's time: one that sleeps must be woken, and takes the
// processor from others; one that is about to must be seen to by another processor.
constexpr std::uint64_t kWakeNanoseconds = 50'000;
constexpr std::uint64_t kStirNanoseconds = 2'000;
// Replies to messages that take less than the first are taken when the worker has done all that it has, or so many, or after so long:
// to take them costs a microsecond each time, and what comes of a part of them sets others to work on a part.
constexpr std::uint64_t kQuickNanoseconds = 500;
constexpr std::uint64_t kEnough = 64;
constexpr std::int64_t kGatherNanoseconds = 5'000;
// While workers have so much to do, messages for them gather as long.
constexpr std::uint64_t kEnoughToGather = 10'000;
// What keeps each worker at work for so long is plenty: whoever brings more is awake by then.
constexpr std::uint64_t kPlentyNanoseconds = 100'000;
// To take one of them back and give it to another is worth waiting for so long: it may only be that the scheduler let the
// worker stand for a moment, and then there may be hundreds.
constexpr std::uint64_t kTakeBackNanoseconds = 10'000;
constexpr std::uint64_t kTakeAllBackNanoseconds = 1'000'000;  // at most
// One that is at a message for so many times the usual time is held up, also while no other is idle.
constexpr int kUsualTimes = 8;
// While any lies ahead, how often somebody looks whether one is held up; more rarely where all take so many times as long. While all have
// something to do, once in so many messages' time: to look costs 10 microseconds.
constexpr std::chrono::nanoseconds kLookForRelief{1'000'000};
constexpr std::uint64_t kLooksForRelief = 64;
constexpr std::uint64_t kMessagesForALook = 4;
constexpr std::chrono::nanoseconds kRarestLook{1'000'000'000};
// How often a message that waits for room in the store of shared arrays looks for it.
constexpr std::chrono::milliseconds kLookForRoom{1};
// How often somebody looks whether a worker that has waited for a block for too long gets one.
constexpr std::chrono::milliseconds kLookForBlocks{1};
// To give up a block of another worker's and to take pages for a new one costs so much: 6 ms for 12.6 MB.
constexpr std::size_t kMovedBytesPerNanosecond = 2;
constexpr std::uint64_t kLongestBelieved = 10'000'000'000;  // of what a worker says it was busy

// To call a function costs more than to copy a message of a word.
void copy_message(std::byte* to, const void* from, std::size_t bytes) noexcept {
  if (bytes == sizeof(std::uint64_t)) {
    std::memcpy(to, from, sizeof(std::uint64_t));
  } else {
    std::memcpy(to, from, bytes);
  }
}

// Whether a reply is about this lease, or this request.
template <class Asked>
bool tells_of(const ReplyToken& reply, const Asked& asked) noexcept {
  return reply.block == asked.block && reply.generation == asked.generation && reply.sequence == asked.sequence;
}

}  // namespace

ProcessCrew::ProcessCrew(const NodeInfo& node, Pool& pool, Outlet& outlet, std::byte* base, HostPage& page,
                         std::vector<ChannelLayout> channels, std::uint32_t first_slot, Launch launch,
                         Inspect inspect, Nudge nudge, Stop stop)
    : Crew{node, pool, outlet},
      base_{base},
      page_{page},
      first_slot_{first_slot},
      large_blocks_{node.layout.is_large()},
      launch_{std::move(launch)},
      inspect_{std::move(inspect)},
      nudge_{std::move(nudge)},
      stop_{std::move(stop)},
      workers_(channels.size()),
      numbers_(static_cast<std::size_t>(node.config.workers)),
      glances_{std::make_unique<Glance[]>(channels.size())} {
  for (std::size_t index = 0; index < channels.size(); ++index) {
    workers_[index].channel = channels[index];
    workers_[index].asked.resize(channels[index].capacity);
    glances_[index].commit = reinterpret_cast<std::atomic<std::uint64_t>*>(channels[index].reply_ring(base_));
    // For good: a thread that was told to ring the last incarnation may do it late, and rings the next for nothing.
    workers_[index].bell = FutexBell<>{channels[index].head(base_).bell};
    if (index < numbers_.size()) workers_[index].number = static_cast<int>(index);
  }
  if (large_blocks_) {
    circulation_.emplace(node.layout.stride(), pool.size(), static_cast<std::uint32_t>(numbers_.size()));
    pool_.limit(circulation_->limit());
  }
}

ProcessCrew::~ProcessCrew() = default;

// The one that has a block and costs the least. One that has nothing to do and no block keeps a message for the block
// that comes back to it; when that takes as long as to move another's, it gets that.
ProcessCrew::Worker* ProcessCrew::choose(bool alone) {
  Worker* best = nullptr;
  Worker* waiting = nullptr;
  std::uint64_t least = 0;
  bool idle = false;
  std::size_t kept = 0;
  for (Worker& worker : workers_) {
    if (!worker.serves() || worker.held_up ||
        worker.outstanding() >= (alone || worker.alone ? 1 : worker.depth))
      continue;
    if (large_blocks_ && !has_block(worker)) {
      if (worker.outstanding() == 0 || waiting == nullptr) waiting = &worker;
      if (worker.outstanding() == 0) ++kept;
      continue;
    }
    if (idle && worker.outstanding() == 0) continue;  // one is as good as the other
    idle = idle || worker.outstanding() == 0;
    const std::uint64_t cost = cost_of(worker);
    if (best != nullptr && cost >= least) continue;
    best = &worker;
    least = cost;
  }
  if (best != nullptr && (idle || least < kWakeNanoseconds)) return best;
  if (waiting != nullptr && waiting->waits_since) {
    const std::chrono::nanoseconds moving{node_.layout.stride() / kMovedBytesPerNanosecond};
    const std::uint32_t area = area_of(*waiting);
    const bool long_enough = Clock::now() - *waiting->waits_since >= moving;
    if (long_enough && pool_.is_below_limit(area) && pool_.give_up_one_for(area)) return waiting;
  }
  return best != nullptr && pending_.size() > kept ? best
                                                   : waiting;  // which asks for the next block that comes back
}

// What it costs to give it one more message, in time: what it has to do before, or to get it going. Tiny messages go to as few
// workers as keep up with them.
std::uint64_t ProcessCrew::cost_of(const Worker& worker) noexcept {
  if (worker.outstanding() == 0) return worker.ringer.sleeps() ? kWakeNanoseconds : kStirNanoseconds;
  return worker.outstanding() *
         (worker.service_nanoseconds > 0 ? worker.service_nanoseconds : kAheadNanoseconds);
}

// To have one, a worker that waits for long is lent one more.
bool ProcessCrew::has_block(Worker& worker) {
  const std::uint32_t area = area_of(worker);
  if (pool_.has(area)) return true;
  if (worker.outstanding() > 0) return false;
  const Clock::time_point now = Clock::now();
  if (!worker.waits_since) worker.waits_since = now;
  waited_for_block_ = true;
  if (now - *worker.waits_since < circulation_->longest_wait()) return false;
  while (!pool_.is_below_limit(area)) {
    circulation_->raise();
    pool_.limit(circulation_->limit(), area);
  }
  return pool_.has(area);
}

void ProcessCrew::lent(Worker& worker) {
  const std::optional since = std::exchange(worker.waits_since, std::nullopt);
  circulation_->lend(since ? Clock::now() - *since : Clock::duration{0}, worker.service_nanoseconds);
  pool_.limit(circulation_->limit());
}

void ProcessCrew::dispatch(Acts& acts) {
  if (ending_) return;
  waits_for_no_block();
  const bool waited = waits_for_room();
  while (!pending_.empty()) {
    Worker* const worker = choose(pending_.front().alone);
    if (worker == nullptr || !give_share(*worker, acts)) break;
  }
  if (waits_for_room() && !waited) nudge_();  // so that the pump comes to look_for_room()
  if (large_blocks_ && pending_.empty()) {
    for (Worker& worker : workers_) worker.waits_since.reset();
  } else if (waited_for_block_ && !std::exchange(pump_looks_for_blocks_, true)) {
    look_for_blocks_at_ = Clock::now() + circulation_->longest_wait();
    nudge_();
  }
  // All that there is may be with one worker, which may never reply: then nothing else would wake the pump.
  // And one that has nothing to do is a reason to look soon.
  const bool is_late = relief_at_ > heard_at_ + kLookForRelief;
  const bool is_planned = relief_at_ != Clock::time_point::max();
  if (is_late && (!is_planned || idle_worker() != nullptr) && can_relieve() &&
      std::any_of(workers_.begin(), workers_.end(), has_ahead)) {
    relief_at_ = heard_at_;
    nudge_();
  }
  look_whether_to_gather();
  publish(acts);
}

// As many as it does in a moment: to choose a worker for each would cost more than they do.
bool ProcessCrew::give_share(Worker& worker, Acts& acts) {
  std::uint64_t left = std::min(worker.share, worker.depth - worker.outstanding());
  do {
    prefetch_pending();
    Lease* const lease = next_job(acts, area_of(worker));
    if (lease == nullptr) return false;
    ask(worker, *lease);
    if (large_blocks_) {
      lent(worker);
      if (!pool_.has(area_of(worker))) break;
    }
  } while (--left > 0 && !worker.alone && !pending_.empty() && !pending_.front().alone);
  return true;
}

// Another thread wrote the message, and what is known of it.
void ProcessCrew::prefetch_pending() const {
  constexpr std::size_t kLease = 8;
  constexpr std::size_t kMessage = 4;
  if (pending_.size() > kLease) __builtin_prefetch(pending_[kLease].input.get(), 1);
  if (pending_.size() > kMessage) __builtin_prefetch(pending_[kMessage].input->payload);
}

// Nobody tells of room in the store that has come back.
ProcessCrew::Clock::time_point ProcessCrew::look_for_room(Clock::time_point now) {
  Acts acts;
  bool waits = false;
  {
    const Hold hold{*this};
    if (waits_for_room()) dispatch(acts);
    look_for_hunger(acts);
    waits = waits_for_room() && !ending_;
  }
  carry_out(acts);
  return waits ? now + kLookForRoom : Clock::time_point::max();
}

// A block that comes back is told of, but nobody tells that none does.
ProcessCrew::Clock::time_point ProcessCrew::look_for_blocks(Clock::time_point now) {
  if (!large_blocks_) return Clock::time_point::max();
  Acts acts;
  Clock::time_point next;
  {
    const Hold hold{*this};
    if (!pump_looks_for_blocks_) return Clock::time_point::max();
    if (now < look_for_blocks_at_) return look_for_blocks_at_;
    pump_looks_for_blocks_ = std::exchange(waited_for_block_, false) && !ending_;
    if (!pump_looks_for_blocks_) return Clock::time_point::max();
    dispatch(acts);
    look_for_hunger(acts);
    next = now + circulation_->longest_wait();
    for (const Worker& worker : workers_) {
      if (worker.waits_since) next = std::min(next, *worker.waits_since + circulation_->longest_wait());
    }
    next = std::max(next, now + kLookForBlocks);
    look_for_blocks_at_ = next;
  }
  carry_out(acts);
  return next;
}

// A sleeping worker is not rung for each message: while the pump is awake, it rings for all that have
// come by then, when it goes to sleep itself.
void ProcessCrew::publish(Acts& acts) {
  bool any = false;
  for (Worker& worker : workers_) {
    if (!worker.requests.publish()) continue;
    set_due(worker);
    any = true;
  }
  if (!any) return;
  unrung_.store(true, std::memory_order_relaxed);
  // LEAVE: the fence in is_asleep() pairs with that of the pump's Sleeper::announce(), which comes before its
  // ring_sleepers(). Either we see that it sleeps, or it sees our requests.
  if (is_asleep(page_.sleep_word)) collect_sleepers(acts);
}

void ProcessCrew::collect_sleepers(Acts& acts) {
  unrung_.store(false, std::memory_order_relaxed);
  for (Worker& worker : workers_) {
    if (worker.running() && worker.requests.pushed() != worker.answered && worker.ringer.must_ring()) {
      acts.wake.push_back(index_of(worker));
    }
  }
}

void ProcessCrew::ask(Worker& worker, Lease& lease) {
  lease.worker = worker.number;
  worker.alone = lease.alone;
  if (worker.outstanding() == 0) {
    worker.busy_since = Clock::now();
    if (node_.config.deadline) nudge_();
  }
  // The ledger first: from publish() on the worker may be at it, and may end.
  worker.asked[worker.requests.pushed() & (worker.channel.capacity - 1)] = &lease;
  // Where it lies: a copy would wait until what was just written here, in parts, is in the cache.
  RequestToken& token = *std::construct_at(reinterpret_cast<RequestToken*>(worker.requests.place()));
  token.kind = lease.begun ? RequestKind::work_again : RequestKind::work;
  token.block = lease.block;
  token.generation = lease.generation;
  token.attempt = lease.attempt;
  token.sequence = lease.sequence;
  const Lease& root = *lease.root;
  if (const Handle& input = input_of(lease)) {
    token.input_node = input->node;
    token.input_block = input->block;
  } else if (const PackedMessage* const packed = packed_of(lease)) {
    token.input_node = kPackedInput;
    const PackedPlace place = packed->put(pool_.block(lease));
    std::memcpy(token.message, &place, sizeof place);
  } else if (root.is_part && root.piece.block != nullptr) {
    const Piece& piece = root.piece;
    token.input_node = piece.block->node;
    token.input_block = piece.block->block;
    const BlockPart part{piece.split == Piece::kNone ? 0 : piece.split + 1, 0, piece.number, piece.offset};
    std::memcpy(token.message, &part, sizeof part);
  } else if (node_.layout.message_bytes == 0) {
    token.input_node = kInlineInput;
    copy_message(token.message, lease.root->payload, node_.message_bytes);
  } else {
    token.input_node = kBlockInput;
    std::memcpy(pool_.block(lease), lease.root->payload, node_.message_bytes);
  }
  worker.requests.pass();
}

ProcessCrew::Clock::time_point ProcessCrew::relieve(Clock::time_point now) {
  Acts acts;
  auto next = Clock::time_point::max();
  std::chrono::nanoseconds quickest = kRarestLook;
  {
    const Hold hold{*this};  // who dispatches when it is let go finds relief_at_ as it is left here
    relief_at_ = {};
    while (can_relieve()) {
      const Worker* const idle = idle_worker();
      bool any = false;
      next = Clock::time_point::max();
      quickest = kRarestLook;
      for (Worker& worker : workers_) {
        if (!has_ahead(worker)) continue;
        const std::uint64_t pause = idle == nullptr ? worker.service_nanoseconds * kMessagesForALook
                                                    : worker.service_nanoseconds / kLooksForRelief;
        quickest = std::min(quickest, std::chrono::nanoseconds{pause});
        const auto due = worker.busy_since + patience(worker, idle);
        if (due > now || worker.replies.ready()) {
          next = std::min(next, std::max(due, now));
          continue;
        }
        take_ahead_back(worker);
        any = true;
      }
      if (!any) break;
      dispatch(acts);  // those that get what was taken back may be held up in turn
      look_for_hunger(acts);
    }
    if (next != Clock::time_point::max()) next = std::min(next, now + std::max(quickest, kLookForRelief));
    relief_at_ = next;
  }
  carry_out(acts);
  return next;
}

void ProcessCrew::will_relieve() noexcept {
  const Hold hold{*this};
  relief_at_ = {};
}

// With messages behind the one that it may be at.
bool ProcessCrew::has_ahead(const Worker& worker) {
  return worker.serves() && !worker.held_up && worker.outstanding() > 1;
}

// How long a worker may be at one message before those behind it are taken back. Somebody idle is reason enough, unless
// it lacks a block: to give up another area's for it takes about so long.
std::chrono::nanoseconds ProcessCrew::patience(const Worker& worker, const Worker* idle) const {
  std::uint64_t wait =
      kPatienceNanoseconds + std::min(kTakeBackNanoseconds * worker.outstanding(), kTakeAllBackNanoseconds);
  if (idle == nullptr) wait = std::max<std::uint64_t>(10 * wait, kUsualTimes * worker.service_nanoseconds);
  const bool has_block = !large_blocks_ || (idle != nullptr && pool_.has(area_of(*idle)));
  return std::chrono::nanoseconds{wait + (has_block ? 0 : node_.layout.stride())};
}

// They wait in their order again, in front of all others.
void ProcessCrew::take_ahead_back(Worker& worker) {
  worker.held_up = true;
  worker.recalled = worker.requests.pushed();
  // Not the first, whatever the worker says: it may be at that, and two that are slow to wake up would pass it to and fro.
  const std::uint64_t begun =
      std::clamp(worker.recaller.recall(worker.recalled), worker.answered + 1, worker.recalled);
  for (std::uint64_t place = worker.recalled; place-- > begun;) {
    Lease* const lease = std::exchange(worker.asked[place & (worker.channel.capacity - 1)], nullptr);
    if (lease != nullptr) put_back(*lease, lease->attempt, lease->alone);
  }
}

void ProcessCrew::answered(Worker& worker) {
  ++worker.answered;
  worker.held_up = false;
  worker.busy_since = node_.config.deadline ? Clock::now() : heard_at_;
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

// Without what cannot be counted on: what was taken back from a worker that has not noticed yet, and what waits for room.
bool ProcessCrew::is_plenty() const noexcept {
  if (waits_for_room()) return false;
  std::uint64_t messages = pending_.size();
  std::uint64_t work = 0;
  std::uint64_t quickest = kAheadNanoseconds;
  for (const Worker& worker : workers_) {
    if (!worker.serves() || worker.held_up || worker.service_nanoseconds == 0) continue;
    messages += worker.outstanding();
    work += worker.outstanding() * worker.service_nanoseconds;
    quickest = std::min(quickest, worker.service_nanoseconds);
  }
  work += pending_.size() * quickest;
  return messages >= 2 * numbers_.size() && work >= kPlentyNanoseconds * numbers_.size();
}

bool ProcessCrew::anybody_busy() const noexcept {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const Worker& worker) { return worker.outstanding() > 0; });
}

void ProcessCrew::audit_workers(Audit& audit) const {
  std::vector<const Lease*> asked;
  for (const Worker& worker : workers_) {
    for (std::uint64_t place = worker.answered; place < worker.requests.pushed(); ++place) {
      const Lease* const lease = worker.asked[place & (worker.channel.capacity - 1)];
      if (lease == nullptr) continue;  // taken back, or the request to end
      asked.push_back(lease);
      if (lease->held() && lease->worker == worker.number) continue;
      audit.broken.push_back(fmt::format("{} was asked for message {}, which is not lent to it",
                                         name_of(worker), lease->sequence));
    }
  }
  std::sort(asked.begin(), asked.end());
  if (std::adjacent_find(asked.begin(), asked.end()) != asked.end()) {
    audit.broken.push_back(fmt::format("node '{}': one message is with two workers", node_.name));
  }
}

// LEAVE, as in publish(): the pump that is awake looks at is_asked() after it has announced its sleep, when ring_sleepers()
// lets go of the lock. The caller's fence is ASK's.
// PROMISE: the same with who sees the promise of a pump that sleeps. It comes by itself, and looks; and it takes the promise back,
// with a fence, before it looks for the last time.
bool ProcessCrew::somebody_looks() const noexcept {
  if ((page_.sleep_word.load(std::memory_order_relaxed) & 1U) == 0) return true;
  if (!Run::can_wait()) return false;
  const bool comes = pump_comes_.load(std::memory_order_relaxed);
  if (!comes) nudge_();  // to promise it: while somebody listens, nothing else wakes it
  return comes;
}

void ProcessCrew::promise_to_come(bool soon) noexcept {
  if (pump_comes_.load(std::memory_order_relaxed) == soon) return;
  pump_comes_.store(soon, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // PROMISE: with ASK's in flush()
}

bool ProcessCrew::hurry() noexcept {
  const bool wait = is_asked() && is_asleep(page_.sleep_word);
  if (wait) flush_if_asked();
  return wait;
}

bool ProcessCrew::has_work() noexcept {
  if (is_asked()) return true;
  const Hold hold{*this};
  return std::any_of(workers_.begin(), workers_.end(), [](const Worker& worker) {
    return worker.running() && worker.condemned.empty() && worker.replies.ready();
  });
}

bool ProcessCrew::seems_worth_draining() const noexcept {
  if (is_asked() && (!may_gather_.load(std::memory_order_relaxed) || is_long_since(asked_since_))) return true;
  const std::span glances{glances_.get(), workers_.size()};
  return std::any_of(glances.begin(), glances.end(), [](Glance& glance) { return glance.is_due(); });
}

bool ProcessCrew::needs_pump() noexcept {
  const Hold hold{*this};
  return !to_launch_.empty() || waits_for_room();
}

// Whether there is somebody for what another was given ahead.
bool ProcessCrew::can_relieve() const {
  const auto serving =
      std::count_if(workers_.begin(), workers_.end(), [](const Worker& worker) { return worker.serves(); });
  return !ending_ && serving >= 2;
}

const ProcessCrew::Worker* ProcessCrew::idle_worker() const {
  const auto idle =
      std::find_if(workers_.begin(), workers_.end(), [](const Worker& worker) { return worker.is_idle(); });
  return idle == workers_.end() ? nullptr : &*idle;
}

bool ProcessCrew::drain() {
  const HandingOn handing_on{*this};
  Acts acts;
  bool any = false;
  {
    const Hold hold{*this};
    heard_at_ = Clock::now();
    for (Worker& worker : workers_) {
      if (!worker.running() || !worker.condemned.empty() || !worker.replies.ready()) continue;
      any = true;
      read_replies(worker, acts);
      measure(worker);
    }
    any = any || is_asked();
    if (any) answer_ask(acts);  // which looks for hunger, too
  }
  if (!any) return false;
  carry_out(acts);
  if (acts.stop && !is_frozen()) stop_();
  return true;
}

void ProcessCrew::read_replies(Worker& worker, Acts& acts) {
  take_replies(worker, acts);
  take_glance(worker);
}

void ProcessCrew::take_glance(const Worker& worker) noexcept {
  Glance& glance = glances_[index_of(worker)];
  glance.taken.store(worker.replies.head(), std::memory_order_relaxed);
  glance.since.store(0, std::memory_order_relaxed);
  set_due(worker);
}

void ProcessCrew::set_due(const Worker& worker) noexcept {
  const bool quick = worker.service_nanoseconds > 0 && worker.service_nanoseconds <= kQuickNanoseconds;
  const std::uint64_t due = worker.replies.head() + (quick ? std::min(worker.outstanding(), kEnough) : 1);
  const bool is_read = worker.running() && worker.condemned.empty();
  glances_[index_of(worker)].due.store(is_read ? due : Glance::kNever, std::memory_order_relaxed);
}

// Relaxed: who takes the replies looks again.
bool ProcessCrew::Glance::is_due() noexcept {
  const std::uint64_t committed = commit->load(std::memory_order_relaxed);
  const std::uint64_t enough = due.load(std::memory_order_relaxed);
  if (committed == taken.load(std::memory_order_relaxed) || enough == kNever) return false;
  if (committed >= enough) return true;
  return is_long_since(since);
}

// Since somebody saw first what gathers.
bool ProcessCrew::is_long_since(std::atomic<std::int64_t>& since) noexcept {
  const std::int64_t now = Clock::now().time_since_epoch().count();
  const std::int64_t first = since.load(std::memory_order_relaxed);
  if (first != 0) return now - first >= kGatherNanoseconds;
  since.store(now, std::memory_order_relaxed);
  return false;
}

// Whether the workers have so much to do that what is in the inbox may gather there.
void ProcessCrew::look_whether_to_gather() noexcept {
  std::uint64_t work = 0;
  for (const Worker& worker : workers_) {
    if (worker.serves() && !worker.held_up) work += worker.outstanding() * worker.service_nanoseconds;
  }
  may_gather_.store(work >= kEnoughToGather, std::memory_order_relaxed);
  asked_since_.store(0, std::memory_order_relaxed);
}

void ProcessCrew::prefetch_soon(const Worker& worker) {
  const std::uint64_t mask = worker.channel.capacity - 1;
  __builtin_prefetch(worker.asked[(worker.answered + 8) & mask], 1);
}

void ProcessCrew::take_replies(Worker& worker, Acts& acts) {
  for (;;) {
    const std::uint64_t place = worker.replies.head();
    switch (worker.replies.next()) {
      case ReplyReader::Take::empty: return;
      case ReplyReader::Take::broken:
        condemn(worker, "the commit word of its reply ring holds nonsense");
        return;
      case ReplyReader::Take::token:
        // Needed soon, and perhaps not in this thread's cache any more.
        prefetch_soon(worker);
        if (accept_done(worker, acts)) continue;
        ReplyToken reply;
        worker.replies.read(reply);
        accept(worker, reply, place, acts);
        if (!worker.condemned.empty() || !worker.running()) return;
        // Who asks for memory waits for the answer. If it does not, the lock is let go in between at least.
        if (reply.kind == ReplyKind::grow) return;
    }
  }
}

// Once for all replies that came together: the divisions cost more than the rest of a reply.
void ProcessCrew::measure(Worker& worker) const {
  if (worker.busy_replies == 0) return;
  const std::uint64_t busy = std::exchange(worker.busy_nanoseconds, 0) / std::exchange(worker.busy_replies, 0);
  worker.service_nanoseconds =
      worker.service_nanoseconds == 0 ? busy : (worker.service_nanoseconds * 7 + busy) / 8 + 1;
  std::uint64_t ahead = kLargeAheadNanoseconds / worker.service_nanoseconds;
  if (!large_blocks_) {
    const std::uint64_t half_its_share = pool_.usable() / numbers_.size() / 2;
    const std::uint64_t in_a_slice = std::min(kSliceNanoseconds / worker.service_nanoseconds, half_its_share);
    ahead = std::max(kAheadNanoseconds / worker.service_nanoseconds, in_a_slice);
  }
  // One place of the ring stays for the request to end.
  worker.depth = std::clamp<std::uint64_t>(1 + ahead, kLeastAhead, worker.channel.capacity - 2);
  worker.share = std::clamp<std::uint64_t>(kTogetherNanoseconds / worker.service_nanoseconds, 1, kMostTogether);
}

Lease* ProcessCrew::expected(const Worker& worker) noexcept {
  return worker.outstanding() > 0 ? worker.asked[worker.answered & (worker.channel.capacity - 1)] : nullptr;
}

// Nearly all replies. False: it is one that a token tells of.
bool ProcessCrew::accept_done(Worker& worker, Acts& acts) {
  Lease* const asked = expected(worker);
  if (asked == nullptr || worker.state != State::ready) return false;
  const DoneWord word = worker.replies.word();
  if (!word.tells_of({worker.incarnation, asked->block, asked->generation, asked->sequence})) return false;
  answered(worker);
  was_useful(worker, word.busy_nanoseconds());
  complete(*asked, acts);
  return true;
}

void ProcessCrew::was_useful(Worker& worker, std::uint64_t busy_nanoseconds) {
  if (!std::exchange(worker.useful, true)) {
    number_of(worker).failed_starts = 0;
    number_of(worker).barren = 0;
  }
  worker.busy_nanoseconds += std::clamp<std::uint64_t>(busy_nanoseconds, 1, kLongestBelieved);
  ++worker.busy_replies;
}

// Of a message that was taken back, which the ledger does not know any more: the request does, and no worker can write there.
bool ProcessCrew::is_about_next(const Worker& worker, const ReplyToken& reply) {
  return worker.outstanding() > 0 && tells_of(reply, worker.requests.pushed_at(worker.answered));
}

void ProcessCrew::accept(Worker& worker, const ReplyToken& reply, std::uint64_t place, Acts& acts) {
  const bool known_worker = reply.incarnation == worker.incarnation;
  if (known_worker && worker.state == State::starting) return accept_start(worker, reply, place, acts);
  Lease* const asked = expected(worker);
  const bool declined = reply.kind == ReplyKind::declined && worker.answered < worker.recalled;
  const bool done = reply.kind == ReplyKind::done;
  const bool grows = reply.kind == ReplyKind::grow && node_.arrays != nullptr;
  const bool known_kind = done || declined || grows || reply.kind == ReplyKind::failed;
  if (!known_worker || asked == nullptr || !known_kind || !tells_of(reply, *asked)) {
    if (known_worker && declined && asked == nullptr && is_about_next(worker, reply)) return answered(worker);
    return condemn(worker, nonsense_of(worker, asked, reply));
  }
  Lease& lease = *asked;
  if (grows) return grant(worker, lease, reply, place, acts);
  acts.stop = acts.stop || reply.stop == 1;
  answered(worker);
  if (declined) return put_back(lease, lease.attempt, lease.alone);
  was_useful(worker, reply.busy_nanoseconds);
  if (done) {
    lease.skipped = reply.skip == 1;
    complete(lease, acts);
  } else if (reply.again == 1) {
    ran_out_of_memory(worker, lease, text_of(worker, reply, place), acts);
  } else {
    fail(lease, text_of(worker, reply, place), acts);
  }
}

// What is wrong with a reply that names none of what is to be answered next.
std::string ProcessCrew::nonsense_of(const Worker& worker, const Lease* asked, const ReplyToken& reply) {
  if (reply.incarnation != worker.incarnation)
    return fmt::format("it replied for incarnation {} and is {}", reply.incarnation, worker.incarnation);
  if (worker.outstanding() == 0) return "it replied to a request that nobody made";
  if (asked == nullptr) {
    return worker.must_end() ? "it replied to the request to end"
                             : "it replied to a message that was taken back from it";
  }
  return fmt::format(
      "its reply is no word that it is done, and names kind {}, block {}, generation {}, message {}; "
      "asked for was block {}, generation {}, message {}",
      static_cast<std::uint32_t>(reply.kind), reply.block, reply.generation, reply.sequence, asked->block,
      asked->generation, asked->sequence);
}

// The lease keeps the memory, whatever becomes of the worker.
void ProcessCrew::grant(Worker& worker, Lease& lease, const ReplyToken& reply, std::uint64_t place,
                        Acts& acts) {
  if (reply.returned != 0 && !take_returned(lease, reply.returned)) {
    condemn(worker, fmt::format("it gave back page {} of the shared arrays, which message {} was not granted",
                                reply.returned - 1, lease.sequence));
    return;
  }
  RequestHead& head = worker.channel.head(base_);
  std::shared_ptr<ArrayBlock> block;
  const bool known = reply.wanted_dtype <= static_cast<std::uint32_t>(Dtype::record);
  const Dtype dtype = known ? static_cast<Dtype>(reply.wanted_dtype) : Dtype::uint8;
  std::size_t extents[Shape::kMaxRank];
  const std::size_t rank = std::min<std::size_t>(reply.text_bytes / sizeof *extents, Shape::kMaxRank);
  std::memcpy(extents, worker.channel.text(base_, place), rank * sizeof *extents);
  const Shape shape{std::span<const std::size_t>{extents, rank}};
  try {
    block = node_.arrays->allocate(reply.wanted_bytes, dtype, shape);
    lease.grants.push_back(block);
    lease.granted = true;
  } catch (const std::exception&) { block = nullptr; }  // the worker says it, with its message
  head.grant_offset.store(block ? block->offset() : 0, std::memory_order_relaxed);
  head.grant_bytes.store(block ? block->room() : 0, std::memory_order_relaxed);
  head.granted_reply.store(place + 1, std::memory_order_release);  // GRANT(head)
  acts.wake.push_back(index_of(worker));
}

bool ProcessCrew::take_returned(Lease& lease, std::uint32_t returned) {
  const std::size_t offset = std::size_t{returned - 1} * Segment::page_bytes();
  return std::erase_if(lease.grants, [offset](const auto& one) { return one->offset() == offset; }) > 0;
}

// The messages before this one may have taken the memory: a fresh process may do it.
void ProcessCrew::ran_out_of_memory(Worker& worker, Lease& lease, const std::string& reason, Acts& acts) {
  worker.condemned = reason;
  worker.exhausted = true;
  send_pidfd_signal(worker.pidfd.get(), SIGKILL);
  const bool again = lease.attempt < node_.config.attempts && !ending_;
  acts.log.push_back(fmt::format("{}: {} on message {}, attempt {} of {}{}", name_of(worker), reason,
                                 lease.sequence, lease.attempt, node_.config.attempts,
                                 again ? "; trying again in a fresh process" : ""));
  lease.begun = true;
  if (again) {
    put_back(lease, lease.attempt + 1, lease.alone);
  } else {
    fail(lease, reason, acts);
  }
}

std::string ProcessCrew::text_of(const Worker& worker, const ReplyToken& reply, std::uint64_t place) const {
  char copy[ChannelLayout::kTextBytes];
  const std::size_t bytes = std::min<std::size_t>(reply.text_bytes, sizeof copy);
  std::memcpy(copy, worker.channel.text(base_, place), bytes);
  return one_line(std::string{copy, bytes});
}

std::string ProcessCrew::name_of(const Worker& worker) const {
  if (worker.is_spare()) return fmt::format("node '{}', a spare worker (pid {})", node_.name, worker.pid);
  return fmt::format("node '{}', worker {} (pid {})", node_.name, worker.number, worker.pid);
}

}  // namespace tandem
