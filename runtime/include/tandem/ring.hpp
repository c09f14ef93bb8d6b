#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

#include <tandem/shared_memory.hpp>

// A single-producer single-consumer ring of 64-byte tokens between two processes.
//
// Memory: [commit word, a cache line of its own][capacity tokens]. The writer alone writes both;
// the reader maps them read-only where it is a worker, and keeps its own place in private memory.
// There is no word that tells the writer how far the reader is: whoever owns the pair of rings
// never has more tokens under way than the ring holds (the crew's credits), so a full ring cannot
// happen and nobody ever waits for room.
//
// If the writer dies before publish() stores the commit word, the tokens it wrote have not
// happened; after it, they have. If the reader dies, the writer writes on into memory that nobody
// reads. A ring is made new for each incarnation of a worker and never repaired.
//
// Modelled by tests/model/ring.pml; this code itself is run in all orders by tests/interleavings_test.cpp.

namespace tandem {

inline constexpr std::size_t kCacheLine = 64;

/// Bytes of a ring in shared memory.
constexpr std::size_t ring_bytes(std::uint32_t capacity, std::size_t token_bytes = kCacheLine) {
  return kCacheLine + std::size_t{capacity} * token_bytes;
}

/// The writing end.
/// Threads   one, in one process.
/// Memory    SharedMemory in the product; a test may put a simulated one in its place.
template <class Token, class Memory = SharedMemory>
class RingWriter {
  template <class T>
  using Atomic = typename Memory::template Atomic<T>;
  static_assert(std::is_trivially_copyable_v<Token> && sizeof(Token) == kCacheLine);

 public:
  RingWriter() = default;
  /// Makes a new ring in `memory`. capacity: a power of two.
  RingWriter(std::byte* memory, std::uint32_t capacity)
      : commit_{new(memory) Atomic<std::uint64_t>{0}}, tokens_{memory + kCacheLine}, mask_{capacity - 1} {}

  /// Writes a token that the reader cannot see yet. The owner's credits keep it from overrunning.
  void push(const Token& token) noexcept {
    Memory::write(place(), token);
    pass();
  }
  /// Where the next token goes: for who writes it there, which spares a copy, and then calls pass() instead of push().
  std::byte* place() const noexcept { return place(next_); }
  /// A token that was pushed, as long as no later one lies there. For a writer whose reader cannot write.
  Token pushed_at(std::uint64_t number) const noexcept {
    Token token;
    Memory::read(&token, place(number), sizeof token);
    return token;
  }
  /// Goes past a place and leaves there what there is.
  void pass() noexcept { ++next_; }

  /// Shows the reader all that was pushed. Returns false when there was nothing new.
  bool publish() noexcept {
    if (published_ == next_) return false;
    published_ = next_;
    // PUBLISH(ring): pairs with TAKE(ring) in RingReader::next().
    // Weaker: the reader could see the new commit word and the last lap's token.
    commit_->store(next_, std::memory_order_release);
    return true;
  }

  std::uint64_t pushed() const noexcept { return next_; }

 private:
  std::byte* place(std::uint64_t number) const noexcept { return tokens_ + (number & mask_) * sizeof(Token); }

  Atomic<std::uint64_t>* commit_ = nullptr;
  std::byte* tokens_ = nullptr;
  std::uint64_t mask_ = 0;
  std::uint64_t next_ = 0;
  std::uint64_t published_ = 0;
};

/// The reading end. Trusts nothing that it reads: every token is copied once into private memory,
/// and a commit word that no honest writer could have stored is reported, not followed.
template <class Token, class Memory = SharedMemory>
class RingReader {
  template <class T>
  using Atomic = typename Memory::template Atomic<T>;

 public:
  enum class Take { empty, token, broken };

  RingReader() = default;
  /// Reads the ring that a RingWriter made (or will make, in zeroed memory) in `memory`.
  RingReader(std::byte* memory, std::uint32_t capacity)
      : commit_{reinterpret_cast<Atomic<std::uint64_t>*>(memory)},
        tokens_{memory + kCacheLine},
        capacity_{capacity} {}

  /// The next token. broken: the commit word went backwards or more than a ring ahead.
  [[nodiscard]] Take take(Token& token) noexcept {
    const Take found = next();
    if (found == Take::token) read(token);
    return found;
  }
  /// Goes on to the next place, as take(), and leaves it to the caller whether to read() what is there.
  [[nodiscard]] Take next() noexcept {
    if (head_ == seen_) {
      // TAKE(ring): pairs with PUBLISH(ring).
      seen_ = commit_->load(std::memory_order_acquire);
      if (seen_ == head_) return Take::empty;
      if (seen_ - head_ > capacity_) {
        seen_ = head_;
        return Take::broken;
      }
    }
    ++head_;
    return Take::token;
  }
  /// What lies at the place that next() went to.
  void read(Token& token) const noexcept {
    Memory::read(&token, tokens_ + ((head_ - 1) & (capacity_ - 1)) * sizeof(Token), sizeof(Token));
  }

  /// True when take() would find something (or something broken).
  bool ready() const noexcept { return head_ != seen_ || commit_->load(std::memory_order_acquire) != head_; }
  /// How many tokens were taken.
  std::uint64_t head() const noexcept { return head_; }
  const Atomic<std::uint64_t>* commit() const noexcept { return commit_; }

 private:
  const Atomic<std::uint64_t>* commit_ = nullptr;
  const std::byte* tokens_ = nullptr;
  std::uint64_t capacity_ = 0;
  std::uint64_t head_ = 0;
  std::uint64_t seen_ = 0;
};

}  // namespace tandem
