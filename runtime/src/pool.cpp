#include <tandem/pool.hpp>

#include <algorithm>
#include <utility>

namespace tandem {

std::size_t BlockLayout::stride() const noexcept {
  const std::size_t bytes = std::max(output_offset() + round_up(output_bytes, kAlign), kAlign);
  return bytes < kLargeBlock ? bytes : round_up(bytes, Segment::page_bytes());
}

Pool::Pool(std::string node, Segment& segment, std::size_t offset, const BlockLayout& layout,
           std::uint32_t count)
    : node_{std::move(node)},
      segment_{segment},
      offset_{offset},
      layout_{layout},
      stride_{layout.stride()},
      table_{*this, count} {}

Lease* Pool::take() noexcept {
  Lease* lease = table_.take();
  if (lease == nullptr) {
    // WANT(lease): pairs with ended(). Either ended() sees the flag after its put, or the second
    // look here sees the put. Weaker than seq_cst: both could miss, and the message would wait.
    wanted_.store(true, std::memory_order_seq_cst);
    lease = table_.take();
    if (lease == nullptr) return nullptr;
    wanted_.store(false, std::memory_order_relaxed);
  }
  return lease;
}

void Pool::give_back(Lease& lease) noexcept {
  lease.failure.reset();
  lease.cancel();
  table_.put_back(lease);
}

Pool::Backing Pool::back(Lease& lease) noexcept {
  const std::size_t end = (std::size_t{lease.index} + 1) * stride_;
  if (end <= backed_bytes_) return Backing::backed;
  // Small blocks are backed a run at a time: one system call each would cost more than they do.
  constexpr std::size_t kRun = 256 * 1024;
  const std::size_t all = std::size_t{size()} * stride_;
  const std::size_t wish = std::min(std::max(end, backed_bytes_ + kRun), all);
  for (const std::size_t target : {wish, end}) {
    refusal_ = segment_.back(offset_ + backed_bytes_, target - backed_bytes_);
    if (refusal_ == 0) {
      backed_bytes_ = target;
      return Backing::backed;
    }
  }
  return Backing::refused;
}

void Pool::withdraw(Lease& lease) noexcept {
  lease.cancel();
  ++withdrawn_;
}

std::uint32_t Pool::lent() const noexcept {
  std::uint32_t lent = 0;
  for (std::uint32_t index = 0; index < size(); ++index) {
    if (table_.at(index).held()) ++lent;
  }
  return lent;
}

void Pool::ended(Lease& lease) noexcept {
  lease.failure.reset();
  table_.put(lease);
  // WANT(lease)
  if (wanted_.load(std::memory_order_seq_cst) && wanted_.exchange(false) && on_returned) { on_returned(); }
}

}  // namespace tandem
