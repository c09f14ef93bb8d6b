#include <tandem/crew.hpp>

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include <tandem/growing_arrays.hpp>
#include <tandem/log.hpp>

namespace tandem {

Crew::Crew(const NodeInfo& node, Pool& pool, Outlet& outlet)
    : node_{node}, pool_{pool}, outlet_{outlet}, inputs_(pool.size()) {
  if (node.packs_messages()) packed_.resize(pool.size());
  pool_.on_returned = [this] { Run::touch(*this); };
}

void Crew::submit(std::span<Handle> inputs) noexcept {
  if (!packed_.empty()) {
    for (Handle& input : inputs) submit_packed(std::move(input));
    return Run::touch(*this);
  }
  bool will_be_taken = false;
  {
    const std::lock_guard lock{inbox_mutex_};
    for (Handle& input : inputs) inbox_.push_back(std::move(input));
    // Relaxed: who takes what is in the inbox says so before it locks it. So either that is still to come, and these are taken too, or
    // we read what it has said.
    will_be_taken = asked_.load(std::memory_order_relaxed) == Asked::at_once;
  }
  if (!will_be_taken) Run::touch(*this);
}

// Packed without the lock: it runs the user's code.
void Crew::submit_packed(Handle input) noexcept {
  std::unique_ptr<PackedMessage> packed = pack(*input);
  const std::lock_guard lock{inbox_mutex_};
  inbox_.push_back(std::move(input));
  inbox_packed_.push_back(std::move(packed));
}

std::unique_ptr<PackedMessage> Crew::pack(const Lease& input) const noexcept {
  if (input.failure || input.skipped) return nullptr;
  return std::make_unique<PackedMessage>(node_.packing, input.payload, node_.arrays, node_.name,
                                         input.sequence);
}

void Crew::flush() noexcept {
  const Asked asks = Run::can_wait() ? Asked::patiently : Asked::at_once;
  if (asked_.load(std::memory_order_relaxed) < asks) asked_.store(asks, std::memory_order_relaxed);
  // ASK: with flush_if_asked(): either we get the lock, or its holder sees the flag when it has let go. Without it,
  // both could miss, and the message would lie in the inbox. The same with the pump, see somebody_looks().
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!somebody_looks()) flush_if_asked();
}

void Crew::flush_if_asked() noexcept {
  if (asked_.load(std::memory_order_seq_cst) == Asked::no) return;
  const HandingOn handing_on{*this};
  while (asked_.load(std::memory_order_seq_cst) != Asked::no && mutex_.try_lock()) {
    Acts acts;
    answer_ask(acts);
    mutex_.unlock();
    carry_out(acts);
  }
}

void Crew::answer_ask(Acts& acts) {
  asked_.store(Asked::no, std::memory_order_seq_cst);  // before the look into the inbox
  take_inbox(acts);
  fail_pending(acts);
  if (!stopped_) dispatch(acts);
  look_for_hunger(acts);
}

void Crew::feed_from(Source& source) {
  const Hold hold{*this};
  feeders_.push_back(&source);
}

void Crew::look_for_hunger(Acts& acts) {
  if (feeders_.empty()) return;
  const bool plenty = is_plenty();
  if (plenty == has_plenty_.load(std::memory_order_relaxed)) return;
  has_plenty_.store(plenty, std::memory_order_seq_cst);  // HUNGER: see Source::announce_sleep()
  if (!plenty) acts.hurry = feeders_;
}

void Crew::wait_quiet() const noexcept {
  // Each of them ends by itself: it runs none of the user's code, and finds a stopped crew.
  while (flushing_.load(std::memory_order_acquire) > 0) std::this_thread::yield();
}

bool Crew::busy() noexcept {
  const Hold hold{*this};
  return anybody_busy();
}

void Crew::take_inbox(Acts& acts) {
  {
    const std::lock_guard lock{inbox_mutex_};
    taken_.swap(inbox_);
    taken_packed_.swap(inbox_packed_);
  }
  if (!stopped_) make_room(taken_.size());
  for (std::size_t place = 0; place < taken_.size(); ++place) {
    if (stopped_) {
      acts.drop.push_back(std::move(taken_[place]));
    } else if (taken_packed_.empty()) {
      pending_.push_back({std::move(taken_[place])});
    } else {
      pending_.push_back({std::move(taken_[place]), std::move(taken_packed_[place])});
    }
  }
  taken_.clear();
  taken_packed_.clear();
}

void Crew::make_room(std::size_t count) {
  const std::size_t wanted = pending_.size() + count;
  if (wanted > pending_.capacity()) pending_.set_capacity(std::max(wanted, 2 * pending_.capacity()));
}

void Crew::stop() noexcept {
  Jobs unbegun;
  std::vector<Handle> unseen;
  std::vector<std::unique_ptr<PackedMessage>> unseen_packed;
  std::vector<Handle> kept;
  {
    const Hold hold{*this};
    stopped_ = true;
    unbegun.swap(pending_);
    const std::lock_guard inbox_lock{inbox_mutex_};
    unseen.swap(inbox_);
    unseen_packed.swap(inbox_packed_);
    const std::lock_guard kept_lock{kept_mutex_};
    kept.swap(kept_);
  }
}

bool Crew::starved() noexcept {
  const Hold hold{*this};
  return waits_for_block_ && !pending_.empty() && !anybody_busy();
}

void Crew::audit(Audit& audit) {
  const Hold hold{*this};
  pool_.audit(audit);
  audit_workers(audit);
}

void Crew::carry_out(Acts& acts) noexcept {
  wake(acts);
  for (Source* const source : acts.hurry) source->hurry();
  if (is_frozen()) {
    const std::lock_guard lock{kept_mutex_};
    for (Handle& item : acts.emit) kept_.push_back(std::move(item));
    acts.emit.clear();
    acts.log.clear();
  }
  const Run run;
  acts.unpack.clear();  // first: who has the item may want the room
  if (!acts.emit.empty()) outlet_.emit(acts.emit);
  acts.emit.clear();
  acts.drop.clear();
  for (const std::string& line : acts.log) log_warning(line);
}

void Crew::lend(Job& job, Lease& lease) {
  Lease& input = *job.input;
  ++lease.generation;
  lease.root = input.root;
  lease.sequence = input.sequence;
  lease.source = input.source;
  lease.node = node_.index;
  lease.worker = -1;
  lease.attempt = job.attempt;
  lease.begun = job.begun;
  lease.alone = job.alone;
  lease.skipped = input.skipped;
  lease.payload = nullptr;
  if (&input == input.root) {
    job.input.release();  // this reference to the root is the new item's from now on
  } else {
    input.root->add(Part::graph);
    inputs_[lease.index] = std::move(job.input);
  }
  if (!packed_.empty()) packed_[lease.index] = std::move(job.packed);
  lease.open();
}

Lease* Crew::next_job(Acts& acts, std::uint32_t area) {
  waits_for_block_ = false;
  waits_for_room_ = false;
  while (!pending_.empty()) {
    const std::size_t next = packed_.empty() ? 0 : first_with_room();
    if (next == pending_.size()) return nullptr;
    Job& job = next == 0 ? pending_.front() : pending_[next];
    std::unique_ptr<Failure> failure =
        job.input->failure || job.packed || given_up_ ? failure_of(job) : nullptr;
    const bool passes = failure != nullptr || job.input->skipped;
    Lease* const lease = passes ? pool_.take_any() : pool_.take(area);
    if (lease == nullptr) {
      waits_for_block_ = true;
      return nullptr;
    }
    lend(job, *lease);
    if (next == 0) {
      pending_.pop_front();  // as nearly always, and much cheaper
    } else {
      pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(next));
    }
    if (failure) {
      lease->worker = failure->worker;
      lease->attempt = failure->attempt;
      lease->failure = std::move(failure);
      complete(*lease, acts);
    } else if (passes) {
      complete(*lease, acts);
    } else if (pool_.back(*lease) == Pool::Backing::backed) {
      return lease;
    } else {
      do_without_block(*lease, acts);
    }
  }
  return nullptr;
}

// The first, unless it is packed and waits for room. Those behind it that have theirs go before it then: what it waits for may
// be theirs. As many as there are: none.
std::size_t Crew::first_with_room() {
  const Job& first = pending_.front();
  waits_for_room_ = first.packed && !given_up_ && !first.packed->try_room(node_.hold_timeout) &&
                    first.packed->problem().empty();
  if (!waits_for_room_) return 0;
  const auto found = std::find_if(pending_.begin(), pending_.end(), [](const Job& job) {
    return !job.packed || job.packed->has_room() || !job.packed->problem().empty();
  });
  return static_cast<std::size_t>(found - pending_.begin());
}

// An input's own failure passes through; without workers, everything fails.
std::unique_ptr<Failure> Crew::failure_of(const Job& job) const {
  const Lease& input = *job.input;
  if (input.failure) return std::make_unique<Failure>(*input.failure);
  if (job.packed && !job.packed->problem().empty() && !given_up_)
    return std::make_unique<Failure>(Failure{
        node_.name, input.sequence, -1, job.attempt, job.packed->problem(), {}});
  if (!given_up_) return nullptr;
  auto failure = std::make_unique<Failure>(*given_up_);
  failure->sequence = input.sequence;
  return failure;
}

// The graph goes on with the blocks that it has; the refused one is never lent again.
void Crew::do_without_block(Lease& lease, Acts& acts) {
  if (pool_.usable() == 1) {
    fail(
        lease,
        fmt::format("the system refused memory for its only block of {} ({}); free memory or lower the size of "
                    "the outputs",
                    describe_bytes(node_.layout.stride()), std::strerror(pool_.refusal())),
        acts);
    return;
  }
  reclaim(lease, lease.attempt, lease.alone);
  pool_.withdraw(lease);
  if (std::exchange(refusal_told_, true)) return;
  acts.log.push_back(
      fmt::format("node '{}': the system refused memory for one more block of {} ({}); going on with the "
                  "blocks that it has, "
                  "and fewer items in flight",
                  node_.name, describe_bytes(node_.layout.stride()), std::strerror(pool_.refusal())));
}

void Crew::complete(Lease& lease, Acts& acts) {
  if (inputs_[lease.index]) acts.drop.push_back(std::move(inputs_[lease.index]));
  if (packed_of(lease) != nullptr) acts.unpack.push_back(std::move(packed_[lease.index]));
  if (!lease.failure && !lease.skipped) {
    if (node_.output_is_arrays()) {
      show_arrays(lease);
    } else {
      lease.payload = output_of(lease);
    }
  }
  if (lease.failure || lease.skipped) lease.drop_grants();
  acts.emit.emplace_back(&lease, Part::graph);
}

std::unique_ptr<Failure> Crew::new_failure(const Lease& lease, std::string reason, std::string stack) const {
  return std::make_unique<Failure>(Failure{node_.name, lease.sequence, lease.worker, lease.attempt,
                                           std::move(reason), std::move(stack)});
}

// Once: what a worker writes there later is not believed.
void Crew::show_arrays(Lease& lease) {
  const ArraysLayout& layout = *node_.layout.arrays;
  Arrays::copy_extents(layout, output_of(lease), lease.extents);
  if (layout.grows()) {
    std::string wrong = check_grown(layout, lease.extents, lease.grants);
    if (!wrong.empty()) {
      lease.failure = new_failure(lease, std::move(wrong));
      return;
    }
  }
  lease.arrays = Arrays{layout, output_of(lease), layout.has_extents() ? lease.extents.data() : nullptr,
                        node_.arrays ? node_.arrays->segment().base() : nullptr};
  lease.payload = &lease.arrays;
}

void Crew::fail(Lease& lease, std::string reason, Acts& acts, std::string stack) {
  lease.failure = new_failure(lease, std::move(reason), std::move(stack));
  complete(lease, acts);
}

void Crew::put_back(Lease& lease, int attempt, bool alone) {
  reclaim(lease, attempt, alone);
  pool_.give_back(lease);
}

void Crew::reclaim(Lease& lease, int attempt, bool alone) {
  lease.drop_grants();
  Job job{std::move(inputs_[lease.index]), nullptr, attempt, lease.begun, alone};
  if (job.input) {
    lease.root->drop(Part::graph);  // not the last one: the input holds the root too
  } else {
    job.input = Handle{lease.root, Part::graph};
  }
  if (!packed_.empty()) job.packed = std::move(packed_[lease.index]);
  make_room(1);
  pending_.push_front(std::move(job));
}

void Crew::give_up(std::string reason, int worker, Acts& acts) {
  given_up_ = Failure{node_.name, 0, worker, 1, std::move(reason), {}};
  fail_pending(acts);
  look_for_hunger(acts);
}

void Crew::fail_pending(Acts& acts) {
  while (given_up_ && next_job(acts) != nullptr) {}
}

const void* Crew::payload_of_input(const Lease& lease) const noexcept {
  const Handle& input = inputs_[lease.index];
  return input ? input->payload : lease.root->payload;
}

}  // namespace tandem
