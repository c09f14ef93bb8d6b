#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include <tandem/descriptor.hpp>
#include <tandem/shared_memory.hpp>

// How a sleeping side is woken, and how the waking side knows that it must be.
//
// The side that may sleep owns one word: odd while it sleeps or is about to, even while it is
// awake, and different at each sleep. The other side looks at the word after it has published,
// and makes the system call at most once for each sleep.
//
//     sleeper:  word = odd;      fence;  look at the ring;  sleep if it is empty
//     ringer:   publish a token; fence;  look at the word;  ring if it is odd
//
// With both fences, either the sleeper sees the token or the ringer sees the odd word. Without
// either one, both may miss, and the token would lie there until somebody else rings (Dekker's
// store-buffering case; futex(2)).
//
// A ring must last until it is heard: a ringer may look at the word late, when the token that it
// published is long taken and the sleeper is on its way into the next sleep, and it rings only once
// for each sleep. So every bell is a counter that the sleeper can compare, not a bare wake-up call.
//
// A worker sleeps on a FutexBell in memory that only the host writes. The host sleeps in epoll,
// because it waits for the ends of processes too, and is rung through a pipe, or by its own threads through an eventfd. If the host dies,
// the worker is killed with it; if a worker dies, its pidfd wakes the host.
//
// Modelled by tests/model/doorbell.pml and leave.pml; this code itself is run in all orders by
// tests/interleavings_test.cpp.

namespace tandem {

/// The sleeping side's view of its word.
/// Memory    SharedMemory in the product; a test may put a simulated one in its place.
template <class Memory = SharedMemory>
class Sleeper {
  using Word = typename Memory::template Atomic<std::uint32_t>;

 public:
  Sleeper() = default;
  explicit Sleeper(Word& word) : word_{&word} {}

  /// Announces a sleep. The caller must look for work once more before it really sleeps.
  void announce() noexcept {
    epoch_ |= 1U;
    word_->store(epoch_, std::memory_order_relaxed);
    // SLEEP: pairs with RING in Ringer::must_ring(). Weaker: see above, a lost wake-up.
    Memory::fence();
  }
  /// The side is awake again.
  void awake() noexcept {
    epoch_ = (epoch_ | 1U) + 1;
    word_->store(epoch_, std::memory_order_relaxed);  // a late ring is harmless
  }

 private:
  Word* word_ = nullptr;
  std::uint32_t epoch_ = 0;
};

/// The other side's view of the sleeper's word.
template <class Memory = SharedMemory>
class Ringer {
  using Word = typename Memory::template Atomic<std::uint32_t>;

 public:
  Ringer() = default;
  explicit Ringer(const Word& word) : word_{&word} {}

  /// True when the other side sleeps and has not been rung for this sleep. Call after publishing.
  [[nodiscard]] bool must_ring() noexcept {
    // RING: pairs with SLEEP in Sleeper::announce().
    Memory::fence();
    return must_ring_now();
  }
  /// Whether it looks as if the other side slept. Says nothing of what it has seen.
  [[nodiscard]] bool sleeps() const noexcept { return (word_->load(std::memory_order_relaxed) & 1U) != 0; }
  /// The same for a caller that has made a fence of its own after it published.
  [[nodiscard]] bool must_ring_now() noexcept {
    const std::uint32_t now = word_->load(std::memory_order_relaxed);
    if ((now & 1U) == 0 || now == rung_) return false;
    rung_ = now;
    return true;
  }

 private:
  const Word* word_ = nullptr;
  std::uint32_t rung_ = 0;
};

/// True when the side that owns the word sleeps or is about to. Call after publishing: either this is true,
/// or that side sees what was published when it looks once more after Sleeper::announce().
template <class Memory = SharedMemory>
[[nodiscard]] bool is_asleep(const typename Memory::template Atomic<std::uint32_t>& word) noexcept {
  Memory::fence();
  return (word.load(std::memory_order_relaxed) & 1U) != 0;
}

/// A bell in shared memory: a counter with a shared futex.
/// Threads   rung by one process at a time; heard by another, which may map it read-only.
template <class Memory = SharedMemory>
class FutexBell {
  using Word = typename Memory::template Atomic<std::uint32_t>;

 public:
  FutexBell() = default;
  explicit FutexBell(Word& count) : count_{&count} {}

  void ring() const noexcept {
    count_->fetch_add(1, std::memory_order_release);
    Memory::wake(*count_);
  }
  /// How often it was rung: read before Sleeper::announce(), handed to wait().
  std::uint32_t count() const noexcept { return count_->load(std::memory_order_acquire); }
  /// Sleeps until the bell is rung once more than `heard`; ends early for any reason.
  void wait(std::uint32_t heard) const noexcept { Memory::wait(*count_, heard); }
  /// The same for so long at most.
  void wait_for(std::uint32_t heard, std::chrono::nanoseconds time) const noexcept {
    Memory::wait_for(*count_, heard, time);
  }

 private:
  Word* count_ = nullptr;
};

/// A pipe that ends the host's epoll_wait, rung by workers. They have its writing end alone: with an eventfd, one
/// could take the rings of others. Close-on-exec.
/// Never written to by the host: a worker can make the end that it shares with others a blocking one, and fill the pipe.
class PipeBell {
 public:
  /// Errors    throws Error when the process has no descriptor left.
  PipeBell();
  ~PipeBell();
  PipeBell(const PipeBell&) = delete;
  PipeBell& operator=(const PipeBell&) = delete;

  int heard_at() const noexcept { return heard_at_.get(); }  // readable when it was rung
  int rung_at() const noexcept { return rung_at_; }
  /// Rings a bell by its writing end. False when that end is no bell's any more.
  static bool ring(int rung_at) noexcept;
  /// Takes rings, so many that the next look at heard_at() is worth while; never waits.
  void clear() const noexcept;

 private:
  Descriptor heard_at_;
  int rung_at_ = -1;
};

/// An eventfd that ends the host's epoll_wait, rung by the host's own threads and signal handlers. No worker has it.
class EventBell {
 public:
  /// Errors    throws Error when the process has no descriptor left.
  EventBell();

  int number() const noexcept { return number_.get(); }  // readable when it was rung
  void ring() const noexcept { ring(number()); }
  /// Safe in a signal handler.
  static void ring(int number) noexcept;
  /// Takes all rings so far; never waits.
  void clear() const noexcept;

 private:
  Descriptor number_;
};

}  // namespace tandem
