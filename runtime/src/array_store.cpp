#include <tandem/array_store.hpp>

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include <tandem/error.hpp>

namespace tandem {

ArrayBlock::ArrayBlock(std::shared_ptr<FileMapping> file, std::size_t offset, std::size_t bytes, bool lent)
    : data_{file->base()},
      offset_{offset},
      bytes_{bytes},
      room_{file->room()},
      lent_{lent},
      file_{std::move(file)} {}

std::size_t ArrayBlock::next_of_files() noexcept {
  static std::atomic<std::size_t> next{kOfFiles};
  return next.fetch_add(1, std::memory_order_relaxed);
}

void ArrayBlock::sync(std::size_t first, std::size_t bytes) const {
  if (!file_)
    throw Error("this shared array is in memory, and no file is to be written; see Runtime::file_array()");
  static_cast<void>(readable());
  file_->sync(first, bytes);
}

void ArrayBlock::refuse() const {
  throw Error(
      "a shared array was used in a worker after the call that it was lent for; keep a copy of its elements, "
      "or hand it to "
      "each call");
}

void ArrayBlock::make_writable() {
  if (for_reading_) {
    throw Error(
        "a shared array that a worker was lent for reading is to be written; take it as SharedArray<T>, "
        "neither "
        "const nor of const T, or make another with array<T>(context, shape)");
  }
  if (room_ > 0 && mprotect(data_, room_, PROT_READ | PROT_WRITE) != 0) {
    throw Error(fmt::format("cannot make a shared array of {} writable: {}", describe_bytes(bytes_),
                            std::strerror(errno)));
  }
  set_writable();
}

ArrayStore::ArrayStore(std::size_t bytes)
    : segment_{round_up(std::max<std::size_t>(bytes, 1), Segment::page_bytes()), "tandem:arrays"} {
  free_[0] = segment_.size();
}

std::shared_ptr<ArrayBlock> ArrayStore::allocate(std::size_t bytes, Dtype dtype, const Shape& shape) {
  std::shared_ptr<ArrayBlock> block = try_allocate(bytes, dtype, shape);
  if (!block) refuse(bytes);
  return block;
}

std::shared_ptr<ArrayBlock> ArrayStore::try_allocate(std::size_t bytes, Dtype dtype, const Shape& shape) {
  // No worker has this object, only a copy of it as it was at the fork.
  if (is_worker_process())
    throw Error("a worker cannot make a shared array in the runtime; make it with array<T>(context, shape)");
  // One without elements has an address of its own, too, and so an identity.
  const std::size_t room =
      bytes > segment_.size() ? bytes : round_up(std::max<std::size_t>(bytes, 1), Segment::page_bytes());
  const std::optional<std::size_t> place = take_pages(bytes, room);
  if (!place) return nullptr;
  const std::size_t offset = *place;
  const auto forget = [store = shared_from_this()](ArrayBlock* block) {
    // In a worker this is a copy of the host's record, and the array is the host's to end.
    if (!is_worker_process()) store->take_back(*block);
    delete block;
  };
  std::shared_ptr<ArrayBlock> block{new ArrayBlock{segment_.base() + offset, offset, bytes, room}, forget};
  const std::lock_guard lock{mutex_};
  block->id_ = next_id_++;
  block->dtype_ = dtype;
  block->shape_ = shape;
  alive_[offset] = block;
  return block;
}

std::optional<std::size_t> ArrayStore::take_pages(std::size_t bytes, std::size_t room) {
  const std::lock_guard lock{mutex_};
  const std::size_t offset = take_place(room);
  if (offset == segment_.size()) return std::nullopt;
  if (offset + room > backed_) {
    if (const int error = segment_.back(backed_, offset + room - backed_); error != 0) {
      put_place(offset, room);
      throw MemoryError(
          fmt::format("the system refused memory for a shared array of {}: {}; free memory, or make it smaller",
                      describe_bytes(bytes), std::strerror(error)));
    }
    backed_ = offset + room;
  }
  used_ += room;
  return offset;
}

// The lowest place with so much room, or the end of the segment. Under the lock.
std::size_t ArrayStore::take_place(std::size_t room) {
  const auto place =
      std::find_if(free_.begin(), free_.end(), [room](const auto& one) { return one.second >= room; });
  if (place == free_.end()) return segment_.size();
  const auto [offset, bytes] = *place;
  free_.erase(place);
  if (bytes > room) free_[offset + room] = bytes - room;
  return offset;
}

void ArrayStore::refuse(std::size_t bytes) const {
  const std::lock_guard lock{mutex_};
  std::size_t largest = 0;
  for (const auto& [offset, free] : free_) largest = std::max(largest, free);
  throw MemoryError(
      fmt::format("no room for a shared array of {}: {} of {} are in use, by {} arrays, and the largest free "
                  "piece has {}; drop "
                  "handles of arrays that are done with, or raise arrays",
                  describe_bytes(bytes), describe_bytes(used_), describe_bytes(segment_.size()), alive_.size(),
                  describe_bytes(largest)));
}

void ArrayStore::take_back(ArrayBlock& block) noexcept {
  const std::lock_guard lock{mutex_};
  alive_.erase(block.offset_);
  used_ -= block.room_;
  put_place(block.offset_, block.room_);
}

void ArrayStore::put_place(std::size_t offset, std::size_t room) {
  auto place = free_.emplace(offset, room).first;
  if (const auto next = std::next(place); next != free_.end() && place->first + place->second == next->first) {
    place->second += next->second;
    free_.erase(next);
  }
  if (place == free_.begin()) return;
  const auto before = std::prev(place);
  if (before->first + before->second != place->first) return;
  before->second += place->second;
  free_.erase(place);
}

void ArrayStore::note_holder(ArrayBlock& block, const std::string& holder) {
  if (block.file()) return;
  const std::lock_guard lock{mutex_};
  block.holders_.push_back(holder);
}

void ArrayStore::forget_holder(ArrayBlock& block, const std::string& holder) {
  if (block.file()) return;
  const std::lock_guard lock{mutex_};
  const auto found = std::find(block.holders_.begin(), block.holders_.end(), holder);
  if (found != block.holders_.end()) block.holders_.erase(found);
}

bool ArrayStore::any_held() const {
  std::vector<std::shared_ptr<ArrayBlock>> kept;  // dropped after the lock, as in arrays()
  const std::lock_guard lock{mutex_};
  return std::any_of(alive_.begin(), alive_.end(), [&kept](const auto& one) {
    kept.push_back(one.second.lock());
    return kept.back() && !kept.back()->holders_.empty();
  });
}

std::vector<ArrayInfo> ArrayStore::arrays() const {
  std::vector<ArrayInfo> all;
  // Dropped after the lock: one of them may turn out to be the last handle.
  std::vector<std::shared_ptr<ArrayBlock>> kept;
  {
    const std::lock_guard lock{mutex_};
    for (const auto& [offset, weak] : alive_) {
      const std::shared_ptr<ArrayBlock> block = weak.lock();
      if (!block) continue;  // its last handle is going
      all.push_back({block->id_, block->dtype_, block->shape_, block->bytes_, block.use_count() - 1,
                     block->holders_});
      kept.push_back(block);
    }
  }
  std::sort(all.begin(), all.end(), [](const ArrayInfo& a, const ArrayInfo& b) { return a.id < b.id; });
  return all;
}

std::size_t ArrayStore::used() const {
  const std::lock_guard lock{mutex_};
  return used_;
}

void ArrayStore::audit(Audit& audit) const {
  const std::lock_guard lock{mutex_};
  std::size_t free = 0;
  for (const auto& [offset, bytes] : free_) free += bytes;
  if (free + used_ != segment_.size()) {
    audit.broken.push_back(fmt::format("shared arrays: {} bytes free + {} alive, of {}", free, used_,
                                       segment_.size()));
  }
}

}  // namespace tandem
