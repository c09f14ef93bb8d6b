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
  for (const auto& array : arrays_) store_->forget_holder(*array, holder_);
  if (room_) store_->message_gone();
}

void PackedMessage::pack(const Packing& packing, const void* message, const std::string& node,
                         std::uint64_t sequence) {
  ArchiveWriter writer;
  writer.set_reading(true);  // a body is given its message as a constant
  packing.pack(message, writer);
  size_ = writer.bytes().size();
  bytes_.assign(writer.bytes().begin(), writer.bytes().end());
  if (size_ <= kSmall && writer.arrays().empty()) return;
  holder_ = fmt::format("node '{}', message {}", node, sequence);
  for (const auto& array : writer.arrays()) {
    store_->note_holder(*array, holder_);
    arrays_.push_back(array);
  }
  if (size_ > store_->size()) {
    problem_ = fmt::format(
        "its message has {} when it is packed for a worker process, and all shared arrays have {}; raise "
        "arrays, "
        "or make it smaller",
        describe_bytes(size_), describe_bytes(store_->size()));
    return;
  }
  if (size_ > kSmall) take_room();
}

// False when the store is full.
bool PackedMessage::take_room() {
  try {
    room_ = store_->allocate(size_, Dtype::uint8, Shape{size_});
  } catch (const MemoryError& error) { return false; }
  store_->message_came();
  store_->note_holder(*room_, holder_);
  std::memcpy(room_->writable(), bytes_.data(), size_);
  bytes_ = {};
  return true;
}

bool PackedMessage::has_room(std::chrono::nanoseconds patience) noexcept {
  if (!problem_.empty()) return false;
  if (size_ <= kSmall || room_) return true;
  try {
    if (take_room()) return true;
    const Clock::time_point now = Clock::now();
    if (store_->messages() > 0) {
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
