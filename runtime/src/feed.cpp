#include <tandem/feed.hpp>

#include <cstring>
#include <utility>

#include <fmt/format.h>

#include <tandem/error.hpp>

namespace tandem {

Feed::Feed(const NodeInfo& node, Pool& pool, Source& source, std::uint32_t in_flight)
    : node_{node}, pool_{pool}, source_{source}, in_flight_{in_flight} {
  if (node.config.full == WhenFull::block) source.keep_reserve();
}

std::uint32_t Feed::extra(WhenFull full) noexcept {
  switch (full) {
    case WhenFull::block: return 1;
    case WhenFull::drop_newest: return 1;
    case WhenFull::drop_oldest: return 2;
  }
  return 0;
}

Lease* Feed::loan(Clock::time_point until, const std::function<bool()>& hopeless) {
  Lease* const root = borrow(until, hopeless);
  return root == nullptr ? nullptr : prepare(*root);
}

Lease* Feed::borrow(Clock::time_point until, const std::function<bool()>& hopeless) {
  constexpr std::chrono::seconds kLook{1};
  std::unique_lock lock{lend_mutex_};
  bool told = false;
  while (!finished_.load(std::memory_order_relaxed) && !source_.stopped()) {
    const Clock::time_point now = Clock::now();
    const bool late = now >= until;
    if (late || !turn_taken_) {  // else it is another's that has waited for longer
      if (Lease* const root = source_.try_loan()) return root;
    }
    if (late) return nullptr;
    if (on_wait && !std::exchange(told, true)) {
      lock.unlock();
      on_wait();
      lock.lock();
      continue;
    }
    if (turn_taken_) {
      // Whoever has its turn may wait for as long as it likes, so this one asks now and then itself.
      if (turn_free_.wait_until(lock, until - now < kLook ? until : now + kLook) == std::cv_status::no_timeout)
        continue;
      lock.unlock();
      if (hopeless && hopeless()) return nullptr;
      lock.lock();
      continue;
    }
    turn_taken_ = true;
    lock.unlock();
    const bool again = source_.wait_credit(hopeless, until);
    lock.lock();
    turn_taken_ = false;
    turn_free_.notify_all();
    if (!again) return nullptr;
  }
  return nullptr;
}

// A block for the credit: there is one for each.
Lease* Feed::prepare(Lease& root) {
  Lease* lease = nullptr;
  {
    const std::lock_guard lock{mutex_};
    lease = pool_.take(0);
    if (lease != nullptr && pool_.back(*lease) == Pool::Backing::refused) {
      pool_.give_back(*lease);
      lease = nullptr;
    }
    if (lease != nullptr) {
      lease->root = &root;
      lease->sequence = 0;
      lease->source = root.source;
      lease->node = node_.index;
      lease->worker = -1;
      lease->attempt = 1;
      lease->alone = false;
      lease->skipped = false;
      std::byte* const output = pool_.block(*lease) + node_.layout.output_offset();
      lease->payload = output;
      if (node_.output_is_arrays()) {
        lease->arrays = Arrays{*node_.layout.arrays, output};  // nobody else can write there
        lease->arrays.make_whole();
        lease->payload = &lease->arrays;
      }
      lease->open();
    }
  }
  if (lease != nullptr) return lease;
  root.drop(Part::graph);
  throw MemoryError(
      fmt::format("node '{}': the system refused memory for one more buffer of {} ({}); free memory, or lower "
                  "in_flight or the "
                  "size of the arrays",
                  node_.name, describe_bytes(node_.layout.stride()), std::strerror(pool_.refusal())));
}

Lease* Feed::number(Lease* lease) noexcept {
  source_.number(*lease->root);
  lease->sequence = lease->root->sequence;
  return lease;
}

Feed::Outcome Feed::push(Lease& lease) noexcept {
  const std::lock_guard lock{mutex_};
  Outcome outcome;
  outcome.expected = rhythm_.beat(Clock::now());
  if (closed_) {
    outcome.dropped = &lease;
    return outcome;
  }
  // What waits goes first. The thread that made room for it may not have come to fetch it yet.
  if (waiting_ != nullptr && has_room()) outcome.enter[0] = number(std::exchange(waiting_, nullptr));
  if (node_.config.full == WhenFull::block || (waiting_ == nullptr && has_room())) {
    outcome.enter[1] = number(&lease);
    return outcome;
  }
  if (node_.config.full == WhenFull::drop_newest) {
    dropped_.fetch_add(1, std::memory_order_relaxed);
    outcome.dropped = &lease;
    return outcome;
  }
  outcome.dropped = std::exchange(waiting_, &lease);
  if (outcome.dropped != nullptr) dropped_.fetch_add(1, std::memory_order_relaxed);
  // TELL: the mark before the look, both seq_cst; Source::end_and_look() counts the message off before it looks at the mark.
  // Weaker: the last one could end unseen, and the step would wait with nobody left to fetch it.
  source_.tell_next_credit();
  if (has_room()) outcome.enter[1] = number(std::exchange(waiting_, nullptr));
  return outcome;
}

Lease* Feed::enter_waiting() noexcept {
  const std::lock_guard lock{mutex_};
  if (waiting_ == nullptr) return nullptr;
  source_.tell_next_credit();  // TELL
  return has_room() ? number(std::exchange(waiting_, nullptr)) : nullptr;
}

Lease* Feed::close() noexcept {
  const std::lock_guard lock{mutex_};
  closed_ = true;
  return std::exchange(waiting_, nullptr);
}

void Feed::finish() noexcept {
  {
    const std::lock_guard lock{lend_mutex_};
    if (finished_.exchange(true)) return;
  }
  source_.finish();  // wakes who has its turn, who wakes the others
}

void Feed::audit(Audit& audit) {
  const std::lock_guard lock{mutex_};
  pool_.audit(audit);
}

}  // namespace tandem
