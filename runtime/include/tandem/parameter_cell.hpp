#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

namespace tandem {

/// The bytes of one parameter. Written by the host alone, into memory that every worker maps read-only.
///
/// Two places, and the number of values so far: value v lies in place v % 2. The writer announces v before it writes,
/// and publishes it after; a reader of v looks afterwards whether v + 2, which would lie in the same place, was announced.
/// If the host dies in mid-write, the readers die with it; until then they read the value before.
/// Threads   set() by any thread of the host, one at a time; get() by any thread of any process.
class ParameterCell {
 public:
  explicit ParameterCell(std::span<const std::byte> initial);

  /// Both of as many bytes as the first value.
  void set(std::span<const std::byte> value);
  void get(std::span<std::byte> value) const;

  /// Bytes of shared memory that it needs; a multiple of 64.
  std::size_t shared_bytes() const noexcept;
  /// The runtime begins: from here on the value lies at `place`, in zeroed shared memory.
  void move_to(std::byte* place);
  /// In a spawned worker: the value lies at `place` already, and is the host's. What main sets from here on is dropped:
  /// the host's main has done the same.
  void attach(std::byte* place);
  /// The memory is about to go. Not beside get().
  void move_back();

 private:
  struct Head {
    std::atomic<std::uint64_t> announced{0};
    std::atomic<std::uint64_t> published{0};
  };
  static constexpr std::size_t kHeadBytes = 64;
  using Word = std::uint64_t;

  Head& head() const noexcept { return *reinterpret_cast<Head*>(place_); }
  Word* words(std::uint64_t version) const noexcept {
    return reinterpret_cast<Word*>(place_ + kHeadBytes) + (version % 2) * words_;
  }
  void write(std::span<const std::byte> value) noexcept;

  const std::size_t bytes_;
  const std::size_t words_;
  bool read_only_ = false;      // guarded by mutex_
  std::byte* place_ = nullptr;  // constant while a body can see it; guarded by mutex_ for the host
  std::vector<std::byte> own_;  // the value while there is no place
  mutable std::mutex mutex_;    // of the writers, and of who reads own_
};

}  // namespace tandem
