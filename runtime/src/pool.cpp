#include <tandem/pool.hpp>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace tandem {

BlockLayout BlockLayout::of_arrays(std::vector<ArraySpec> arrays) {
  BlockLayout layout;
  layout.arrays = std::make_shared<const ArraysLayout>(std::move(arrays));
  layout.output_bytes = layout.arrays->bytes();
  return layout;
}

std::size_t BlockLayout::stride() const noexcept {
  const std::size_t bytes = std::max(output_offset() + round_up(output_bytes, kAlign), kAlign);
  return bytes < kLargeBlock ? bytes : round_up(bytes, Segment::page_bytes());
}

Pool::Pool(std::string node, Segment& segment, const BlockLayout& layout, const BlockAreas& where)
    : node_{std::move(node)},
      segment_{segment},
      layout_{layout},
      large_{layout.is_large()},
      where_{where},
      table_{*this, where.count, where.areas + 1, true},
      areas_(where.areas) {
  for (Area& area : areas_) area.given.reserve(where.count);  // so that unbind() needs no memory
}

template <class Find>
auto Pool::find_or_want(Find find) noexcept {
  auto found = find();
  if (!found) {
    // WANT(lease): pairs with ended(). Either ended() sees the flag after its put, or the second
    // look here sees the put. Weaker than seq_cst: both could miss, and the message would wait.
    wanted_.store(true, std::memory_order_seq_cst);
    found = find();
    if (found) wanted_.store(false, std::memory_order_relaxed);
  }
  return found;
}

Lease* Pool::take_or_want(std::uint32_t area) noexcept {
  return find_or_want([this, area] { return find(area); });
}

bool Pool::has_or_wants(std::uint32_t area) noexcept {
  return find_or_want([this, area] { return has(area); });
}

Lease* Pool::take_any() noexcept {
  return find_or_want([this] { return table_.take_any(); });
}

Lease* Pool::find(std::uint32_t area) noexcept {
  if (!is_below_limit(area)) return nullptr;
  if (Lease* const lease = table_.take(area)) return lease;
  Lease* const lease = limit_ == kNoLimit ? table_.take_any() : table_.take(unbound());
  if (lease == nullptr) return nullptr;
  if (lease->list != unbound()) unbind(*lease);
  bind(*lease, area);
  return lease;
}

bool Pool::give_up_one_for(std::uint32_t area) noexcept {
  for (std::uint32_t list = where_.areas; list-- > 0;) {
    if (list == area) continue;
    Lease* const lease = table_.take(list);
    if (lease == nullptr) continue;
    unbind(*lease);
    table_.put_back(*lease);
    return true;
  }
  return false;
}

void Pool::leave_out(std::uint32_t area) noexcept {
  areas_[area].left_out = true;
  share_out(limit_, favoured_);
}

void Pool::share_out(std::uint32_t limit, std::uint32_t favoured) noexcept {
  limit_ = limit;
  favoured_ = favoured;
  const auto sharing =
      static_cast<std::uint32_t>(std::count_if(areas_.begin(), areas_.end(),
                                               [](const Area& area) { return !area.left_out; }));
  if (sharing == 0) return;
  std::uint32_t over = limit % sharing;
  for (std::uint32_t i = 0; i < where_.areas; ++i) {
    Area& area = areas_[(favoured + i) % where_.areas];
    if (area.left_out) continue;
    area.part = std::max<std::uint32_t>(limit / sharing + (over > 0 ? 1 : 0), 1);
    over -= over > 0 ? 1 : 0;
  }
}

void Pool::bind(Lease& lease, std::uint32_t number) {
  Area& area = areas_[number];
  std::uint32_t place = area.fresh;
  if (area.given.empty()) {
    ++area.fresh;  // at most `count` leases have a block here at a time
  } else {
    place = area.given.back();
    area.given.pop_back();
  }
  ++area.bound;
  lease.list = number;
  lease.block = number * where_.count + place;
  lease.memory = segment_.base() + where_.block_offset(lease.block);
  lease.backed = false;
}

void Pool::unbind(Lease& lease) {
  --areas_[lease.list].bound;
  areas_[lease.list].given.push_back(lease.block % where_.count);
  if (lease.backed && large_) segment_.release(where_.block_offset(lease.block), where_.stride);
  lease.backed = false;
  lease.list = unbound();
}

void Pool::give_back(Lease& lease) noexcept {
  lease.failure.reset();
  lease.drop_grants();
  lease.cancel();
  table_.put_back(lease);
}

Pool::Backing Pool::back_now(Lease& lease) noexcept {
  if (!large_) return back_small(lease);
  refusal_ = segment_.back(where_.block_offset(lease.block), where_.stride);
  if (refusal_ != 0) return Backing::refused;
  lease.backed = true;
  return Backing::backed;
}

// Small blocks share pages, and are backed a run at a time: one system call each would cost more than they do.
Pool::Backing Pool::back_small(Lease& lease) noexcept {
  Area& area = areas_[lease.list];
  const std::size_t end = (std::size_t{lease.block % where_.count} + 1) * where_.stride;
  lease.backed = end <= area.backed_bytes;
  if (lease.backed) return Backing::backed;
  constexpr std::size_t kRun = 256 * 1024;
  const std::size_t all = std::size_t{where_.count} * where_.stride;
  const std::size_t wish = std::min(std::max(end, area.backed_bytes + kRun), all);
  for (const std::size_t target : {wish, end}) {
    refusal_ = segment_.back(where_.area_offset(lease.list) + area.backed_bytes, target - area.backed_bytes);
    if (refusal_ == 0) {
      area.backed_bytes = target;
      lease.backed = true;
      return Backing::backed;
    }
  }
  return Backing::refused;
}

void Pool::scrub(std::uint32_t number) noexcept {
  const Area& area = areas_[number];
  std::size_t begin = round_up(area.backed_bytes, Segment::page_bytes());
  if (large_) {
    begin = area.fresh * where_.stride;
    for (const std::uint32_t place : area.given) {
      segment_.release(where_.area_offset(number) + place * where_.stride, where_.stride);
    }
  }
  const std::size_t end = where_.area_bytes();
  if (begin < end) segment_.release(where_.area_offset(number) + begin, end - begin);
}

void Pool::withdraw(Lease& lease) noexcept {
  lease.cancel();
  if (large_ && lease.list != unbound())
    unbind(lease);  // it is not lent: it does not count for its area's limit
  ++withdrawn_;
}

std::uint32_t Pool::lent() const noexcept {
  std::uint32_t lent = 0;
  for (std::uint32_t index = 0; index < size(); ++index) {
    if (table_.at(index).held()) ++lent;
  }
  return lent;
}

void Pool::audit(Audit& audit) {
  const Audit::Blocks blocks{node_, size(), table_.free(), lent(), withdrawn_};
  audit.blocks.push_back(blocks);
  if (blocks.free + blocks.lent + blocks.withdrawn != blocks.all) {
    audit.broken.push_back(fmt::format("node '{}': {} free + {} lent + {} withdrawn, of {} blocks", node_,
                                       blocks.free, blocks.lent, blocks.withdrawn, blocks.all));
  }
  std::vector<std::uint32_t> lent_blocks;
  for (std::uint32_t index = 0; index < size(); ++index) {
    const Lease& lease = table_.at(index);
    if (!lease.held()) continue;
    if (!lease.root->held()) {
      audit.broken.push_back(fmt::format("node '{}': the item of message {} has no live message", node_,
                                         lease.sequence));
    }
    if (lease.list != unbound()) lent_blocks.push_back(lease.block);
  }
  std::sort(lent_blocks.begin(), lent_blocks.end());
  const auto twice = std::adjacent_find(lent_blocks.begin(), lent_blocks.end());
  if (twice != lent_blocks.end()) {
    audit.broken.push_back(fmt::format("node '{}': block {} is lent twice", node_, *twice));
  }
}

void Pool::ended(Lease& lease) noexcept {
  lease.failure.reset();
  lease.drop_grants();
  table_.put(lease);
  // WANT(lease)
  if (wanted_.load(std::memory_order_seq_cst) && wanted_.exchange(false) && on_returned) { on_returned(); }
}

}  // namespace tandem
