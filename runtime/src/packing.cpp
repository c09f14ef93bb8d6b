#include <tandem/packing.hpp>

#include <cstring>
#include <utility>

#include <fmt/format.h>

#include <tandem/archive.hpp>
#include <tandem/error.hpp>
#include <tandem/node.hpp>

namespace tandem {

PackedMessage::PackedMessage(const Packing& packing, const void* message, std::shared_ptr<ArrayStore> store,
                             const std::string& node, std::uint64_t sequence) noexcept
    : store_{std::move(store)} {
  try {
    pack(packing, message, node, sequence);
  } catch (...) { problem_ = "its message cannot be packed for a worker process: " + current_exception_text(); }
}

PackedMessage::~PackedMessage() {
  end_waiting();
  if (!noted_) return;
  for (const auto& array : arrays_) store_->forget_holder(*array, holder_);
}

void PackedMessage::pack(const Packing& packing, const void* message, const std::string& node,
                         std::uint64_t sequence) {
  ArchiveWriter writer;
  writer.set_reading(true);  // a body is given its message as a constant
  packing.pack(message, writer);
  for (const auto& array : writer.arrays()) {
    if (!store_->owns(*array)) throw Error("it names a shared array of another Runtime; make it with this one");
  }
  size_ = writer.bytes().size();
  bytes_.assign(writer.bytes().begin(), writer.bytes().end());
  arrays_.assign(writer.arrays().begin(), writer.arrays().end());
  if (size_ <= kSmall && arrays_.empty()) return;
  holder_ = fmt::format("node '{}', message {}", node, sequence);
  if (size_ > store_->size()) {
    problem_ = fmt::format(
        "its message has {} when it is packed for a worker process, and all shared arrays have {}; raise "
        "arrays, "
        "or make it smaller",
        describe_bytes(size_), describe_bytes(store_->size()));
  } else if (size_ <= kSmall) {
    note_holders();
  } else if (!store_->anybody_waits()) {
    take_room();
  }
}

// False when the store is full.
// Errors    throws MemoryError when the system refuses the memory.
bool PackedMessage::take_room() {
  room_ = store_->try_allocate(size_, Dtype::uint8, Shape{size_});
  if (!room_) return false;
  std::memcpy(room_->writable(), bytes_.data(), size_);
  bytes_ = {};
  arrays_.push_back(room_);
  note_holders();
  return true;
}

// Only of what will be given out without waiting: any_held() means that something comes back by itself.
void PackedMessage::note_holders() {
  for (const auto& array : arrays_) store_->note_holder(*array, holder_);
  noted_ = true;
}

void PackedMessage::end_waiting() noexcept {
  if (std::exchange(waits_, false)) store_->end_waiting();
}

bool PackedMessage::try_room(std::chrono::nanoseconds patience) noexcept {
  if (!problem_.empty() || has_room()) return has_room();
  try {
    if (take_room()) {
      end_waiting();
      return true;
    }
    if (!std::exchange(waits_, true)) store_->begin_waiting();
    const Clock::time_point now = Clock::now();
    if (store_->any_held()) {
      alone_since_.reset();
    } else if (!alone_since_) {
      alone_since_ = now;
    } else if (now - *alone_since_ >= patience) {
      problem_ = fmt::format(
          "its message has {} when it is packed for a worker process, and there is no room for it: {} of {} "
          "for "
          "shared arrays are in use; drop handles of arrays that are done with, or raise arrays",
          describe_bytes(size_), describe_bytes(store_->used()), describe_bytes(store_->size()));
    }
  } catch (...) { problem_ = "there is no room for its message: " + current_exception_text(); }
  return false;
}

PackedPlace PackedMessage::put(std::byte* block) const noexcept {
  if (room_) return {size_, room_->offset()};
  if (size_ > 0) std::memcpy(block, bytes_.data(), size_);
  return {size_, PackedPlace::kInBlock};
}

}  // namespace tandem
