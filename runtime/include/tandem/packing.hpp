#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <tandem/array_store.hpp>

namespace tandem {

class ArchiveReader;
class ArchiveWriter;

/// How the messages of one type cross to a worker process when they are not their bytes.
struct Packing {
  void (*pack)(const void* message, ArchiveWriter& to) = nullptr;  // null: they are their bytes
  std::shared_ptr<const void> (*unpack)(ArchiveReader& from) = nullptr;

  explicit operator bool() const noexcept { return pack != nullptr; }
};

/// The Packing of messages of type M, as static functions. Defined in <tandem/message.hpp> alone: to include a serialisation
/// library costs time to compile.
template <class M>
struct PackingOf;

/// Types with a Packing, as far as has been included.
template <class M>
concept Packable = requires {
  &PackingOf<M>::pack;
  &PackingOf<M>::unpack;
};

/// Host to worker, in a request: where a packed message lies. In bytes.
struct PackedPlace {
  static constexpr std::uint64_t kInBlock = ~std::uint64_t{0};

  std::uint64_t bytes = 0;
  std::uint64_t place = kInBlock;  // of its item; or from the beginning of the store of shared arrays
};

/// One message as bytes, in the host's books. Made by the thread that brings the message to a node, so that none of the
/// user's functions runs under a lock; kept until a worker is done with the message, which may have to be given out again. Keeps
/// the shared arrays that the message names.
///
/// A small one is copied into the block of its item each time that it is given out. A larger one takes room in the store
/// of shared arrays; if there is none, it waits for some.
/// Threads   one at a time.
class PackedMessage {
 public:
  static constexpr std::size_t kSmall = 512;  // bytes

  PackedMessage(const Packing& packing, const void* message, std::shared_ptr<ArrayStore> store,
                const std::string& node, std::uint64_t sequence) noexcept;
  ~PackedMessage();
  PackedMessage(const PackedMessage&) = delete;
  PackedMessage& operator=(const PackedMessage&) = delete;

  /// Why it cannot be given to any worker; empty when it can.
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }
  /// Whether it has the room that it needs.
  [[nodiscard]] bool has_room() const noexcept {
    return problem_.empty() && (size_ <= kSmall || room_ != nullptr);
  }
  /// The same, when it is its turn: takes room if there is some by now. To be asked again when it is false, until there is a
  /// problem(): no message or call that is under way holds any of the store, so that only the user can give some
  /// back, and did not for `patience`; or the system refuses the memory.
  [[nodiscard]] bool try_room(std::chrono::nanoseconds patience) noexcept;
  /// Where a worker finds it from now on: in its room, or at the beginning of this block.
  [[nodiscard]] PackedPlace put(std::byte* block) const noexcept;

 private:
  using Clock = std::chrono::steady_clock;

  void pack(const Packing& packing, const void* message, const std::string& node, std::uint64_t sequence);
  bool take_room();
  void note_holders();
  void end_waiting() noexcept;

  const std::shared_ptr<ArrayStore> store_;
  std::string problem_;
  std::string holder_;
  std::vector<std::byte> bytes_;  // none once they are in its room
  std::size_t size_ = 0;
  std::shared_ptr<ArrayBlock> room_;  // null: it is small, or has none yet
  std::vector<std::shared_ptr<ArrayBlock>> arrays_;
  bool waits_ = false;
  bool noted_ = false;                            // as a holder, of its room and its arrays
  std::optional<Clock::time_point> alone_since_;  // in waiting for room
};

}  // namespace tandem
