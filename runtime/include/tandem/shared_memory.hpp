#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

namespace tandem {

/// What ring and doorbell do to memory that processes share; they touch it in no other way, but that a token may be written by who
/// pushes it (RingWriter::place()).
/// tests/interleavings_test.cpp puts a simulated memory in its place, and runs the same code on it in all orders.
struct SharedMemory {
  template <class T>
  using Atomic = std::atomic<T>;

  static void fence() noexcept { std::atomic_thread_fence(std::memory_order_seq_cst); }

  /// Plain bytes: the orders of the words around them must keep writer and reader apart. Written member by member: a copy of what was
  /// just made elsewhere would wait until that is in the cache.
  template <class T>
  static void write(std::byte* to, const T& value) noexcept {
    std::construct_at(reinterpret_cast<T*>(to), value);
  }
  static void read(void* to, const std::byte* from, std::size_t bytes) noexcept {
    std::memcpy(to, from, bytes);
  }

  /// Sleeps while the word is `heard`; ends early for any reason. A shared futex (futex(2)): the processes may
  /// map the word at different addresses, and the sleeper may map it read-only.
  static void wait(const std::atomic<std::uint32_t>& word, std::uint32_t heard) noexcept;
  /// The same for so long at most.
  static void wait_for(const std::atomic<std::uint32_t>& word, std::uint32_t heard,
                       std::chrono::nanoseconds time) noexcept;
  /// Wakes all that sleep on the word.
  static void wake(const std::atomic<std::uint32_t>& word) noexcept;
};

}  // namespace tandem
