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
  // While another thread waits for a credit there is none. It may wait for as long as it likes, so this one asks now and
  // then itself.
  constexpr std::chrono::seconds kLook{1};
  {
    std::unique_lock lock{turn_mutex_};
    while (turn_taken_) {
      const Clock::time_point now = Clock::now();
      if (now >= until) return nullptr;
      const bool late =
          turn_free_.wait_until(lock, until - now < kLook ? until : now + kLook) == std::cv_status::timeout;
      if (!late || !hopeless) continue;
      lock.unlock();
      if (hopeless()) return nullptr;
      lock.lock();
    }
    turn_taken_ = true;
  }
  Lease* const root = source_.wait_loan(hopeless, until);
  {
    const std::lock_guard lock{turn_mutex_};
    turn_taken_ = false;
  }
  turn_free_.notify_all();
  return root == nullptr ? nullptr : prepare(*root);
}

// A block for the credit: there is one for each.
Lease* Feed::prepare(Lease& root) {
  source_.keep_quiet(root);  // until it has a number
  Lease* lease = nullptr;
  {
    const std::lock_guard lock{mutex_};
    lease = pool_.take(0);
    if (lease != nullptr && pool_.back(*lease) == Pool::Backing::refused) {
      pool_.give_back(*lease);
      lease = nullptr;
    }
    if (lease != nullptr) {
      ++loans_;
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
  source_.forget_loan();
  root.drop(Part::graph);
  throw MemoryError(
      fmt::format("node '{}': the system refused memory for one more buffer of {} ({}); free memory, or lower "
                  "in_flight or the "
                  "size of the arrays",
                  node_.name, describe_bytes(node_.layout.stride()), std::strerror(pool_.refusal())));
}

void Feed::give_back(Lease& lease) noexcept {
  {
    const std::lock_guard lock{mutex_};
    --loans_;
  }
  source_.forget_loan();
  lease.drop(Part::graph);
}

// Whether one more may enter the graph, when it is neither lent nor waiting itself any more.
bool Feed::has_room() const noexcept {
  const std::uint32_t outside = loans_ + (waiting_ != nullptr ? 1 : 0);
  return source_.live() - outside < in_flight_;
}

Lease* Feed::number(Lease* lease) noexcept {
  source_.number(*lease->root);
  lease->sequence = lease->root->sequence;
  lease->root->sequencers.store(0, std::memory_order_relaxed);  // seen with the item, as its number is
  return lease;
}

Feed::Outcome Feed::push(Lease& lease) noexcept {
  const std::lock_guard lock{mutex_};
  const bool room = has_room();  // while it still counts as a loan
  --loans_;
  if (closed_) {
    source_.forget_loan();
    return {nullptr, &lease};
  }
  // What waits goes first.
  if (room && waiting_ == nullptr) return {number(&lease), nullptr};
  if (node_.config.full == WhenFull::block) return {number(&lease), nullptr};
  if (node_.config.full == WhenFull::drop_newest) {
    dropped_.fetch_add(1, std::memory_order_relaxed);
    source_.forget_loan();
    return {nullptr, &lease};
  }
  Outcome outcome;
  outcome.dropped = std::exchange(waiting_, &lease);
  if (outcome.dropped != nullptr) {
    dropped_.fetch_add(1, std::memory_order_relaxed);
    source_.forget_loan();
  }
  // TELL: the flag before the look, both seq_cst; Source::leave() counts the credit before it looks at the flag.
  // Weaker: the last credit could come back unseen, and the step would wait with nobody left to fetch it.
  source_.tell_next_credit();
  if (has_room()) outcome.enters = number(std::exchange(waiting_, nullptr));
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
  if (waiting_ != nullptr) source_.forget_loan();
  return std::exchange(waiting_, nullptr);
}

void Feed::audit(Audit& audit) {
  const std::lock_guard lock{mutex_};
  pool_.audit(audit);
}

}  // namespace tandem
