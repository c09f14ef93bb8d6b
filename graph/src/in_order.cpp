#include <tandem/in_order.hpp>

#include <algorithm>

namespace tandem {

void InOrder::take(std::span<Handle> items, std::uint64_t bit, std::uint64_t all_bits) noexcept {
  // Relaxed: whoever drops the last handle comes after this line by way of the item's own hand-over.
  for (const Handle& item : items) {
    if (bit == all_bits) {
      item->root->sequencers.store(bit, std::memory_order_relaxed);  // nobody else writes there
    } else {
      item->root->sequencers.fetch_or(bit, std::memory_order_relaxed);
    }
  }
  std::unique_lock lock{mutex_};
  if (closed_) return;
  for (Handle& item : items) {
    const std::uint32_t source = item->source;
    const std::uint64_t sequence = item->sequence;
    if (branches_ > 1) {
      gather(source, sequence, std::move(item));
      continue;
    }
    Reorder<Handle>& order = order_of(source);
    if (order.pass(sequence)) {
      due_.push_back(std::move(item));
    } else {
      order.put(sequence, std::move(item));
    }
  }
  let_out(lock);
}

void InOrder::gather(std::uint32_t source, std::uint64_t sequence, Handle item) {
  const auto place = gathered_.try_emplace({source, sequence}).first;
  std::vector<Handle>& items = place->second;
  items.push_back(std::move(item));
  if (items.size() < branches_) return;
  std::sort(items.begin(), items.end(), [](const Handle& a, const Handle& b) { return a->node < b->node; });
  for (Handle& one : items) order_of(source).put(sequence, std::move(one));
  gathered_.erase(place);
}

void InOrder::skip(std::uint32_t source, std::uint64_t sequence) noexcept {
  std::unique_lock lock{mutex_};
  if (closed_) return;
  order_of(source).skip(sequence);
  let_out(lock);
}

// Lets out what is due. One thread at a time, the others leave their items to it: two threads side by side could
// pass each other between the lock and the successor.
void InOrder::let_out(std::unique_lock<std::mutex>& lock) noexcept {
  if (emitting_) return;
  emitting_ = true;
  for (;;) {
    for (const auto& order : orders_) {
      if (order) order->take_due(due_);
    }
    if (due_.empty()) break;
    std::vector<Handle> now;
    now.swap(due_);
    lock.unlock();
    out_.emit(now);
    now.clear();
    lock.lock();
    if (due_.empty()) due_.swap(now);  // keeps its memory
  }
  emitting_ = false;
  lock.unlock();
}

Reorder<Handle>& InOrder::make_order(std::uint32_t source) {
  if (orders_.size() <= source) orders_.resize(source + 1);
  if (!orders_[source]) orders_[source] = std::make_unique<Reorder<Handle>>();
  return *orders_[source];
}

void InOrder::close() noexcept {
  decltype(orders_) dropped;
  decltype(gathered_) gathered;
  const std::lock_guard lock{mutex_};
  closed_ = true;
  dropped.swap(orders_);
  gathered.swap(gathered_);
}

}  // namespace tandem
