#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

namespace tandem {

/// The bytes of one parameter. Written by the host alone: into its own memory, which its threads read, before, in and
/// after the run; and while there is a run, into memory that every worker maps read-only.
///
/// In each, two places, and the number of values so far: value v lies in place v % 2. The writer announces v before it writes,
/// and publishes it after; a reader of v looks afterwards whether v + 2, which would lie in the same place, was announced.
/// If the host dies in mid-write, the readers die with it; until then they read the value before.
/// Threads   set() by any thread of the host, one at a time; get() by any thread of any process.
class ParameterCell {
 public:
  explicit ParameterCell(std::span<const std::byte> initial);

  /// For the runtime that it belongs to, before that begins.
  void set_owner(const void* runtime) noexcept { owner_ = runtime; }
  /// Both of as many bytes as the first value.
  /// Errors    get() throws Error in a worker process of another runtime, which does not hear of new values.
  void set(std::span<const std::byte> value);
  void get(std::span<std::byte> value) const;

  /// Bytes of shared memory that it needs; a multiple of 64.
  std::size_t shared_bytes() const noexcept;
  /// The runtime begins: from here on the value also lies at `place`, in zeroed shared memory, for workers.
  void share(std::byte* place);
  /// In a spawned worker: the value lies at `place` already, and is the host's. What main sets from here on is dropped:
  /// the host's main has done the same.
  void attach(std::byte* place);
  /// The memory is about to go; the workers are gone.
  void unshare();

 private:
  struct Head {
    std::atomic<std::uint64_t> announced{0};
    std::atomic<std::uint64_t> published{0};
  };
  static constexpr std::size_t kHeadBytes = 64;
  using Word = std::uint64_t;

  static Head& head(std::byte* at) noexcept { return *reinterpret_cast<Head*>(at); }
  Word* words(std::byte* at, std::uint64_t version) const noexcept {
    return reinterpret_cast<Word*>(at + kHeadBytes) + (version % 2) * words_;
  }
  void write(std::byte* at, std::span<const std::byte> value) noexcept;
  void read(std::byte* at, std::span<std::byte> value) const;

  const std::size_t bytes_;
  const std::size_t words_;
  const std::unique_ptr<Word[]> own_;  // as in shared memory
  const void* owner_ = nullptr;
  std::mutex mutex_;        // of the writers
  bool read_only_ = false;  // guarded by mutex_
  // What workers read: never looked at by a thread of the host, where it comes and goes. Written under mutex_.
  std::atomic<std::byte*> shared_{nullptr};
  std::atomic<std::byte*> seen_;  // what all others read: own_, but in a spawned worker what is shared
};

}  // namespace tandem
