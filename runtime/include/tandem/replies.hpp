#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include <tandem/ring.hpp>
#include <tandem/shared_memory.hpp>

// A ring of replies. Of nearly all of them there is no more to say than that the request is done, and then a word says it in place of the
// token: eight lie in a cache line, which has to go from one processor to another and back again.
//
// Memory: [commit word][capacity tokens][capacity words]. A reply has the same place in both. It is done if the word there tells of the
// request which the reader expects to hear of next; otherwise the token counts, and its writer has left an empty word, which tells of
// none. So an honest writer is never misunderstood.
//
// If the writer dies before publish() stores the commit word, neither has happened; as in ring.hpp.

namespace tandem {

/// Which request a reply is about. Of two that could be mistaken for each other, one part at least is different.
struct RequestNames {
  std::uint32_t incarnation = 0;  // of the worker
  std::uint32_t block = 0;
  std::uint32_t generation = 0;
  std::uint64_t sequence = 0;
};

/// That a request is done, and how long it took; an empty one tells of nothing. The names are folded into 32 bits: of the words that somebody
/// else could write there by mistake, one in four thousand million says it.
class DoneWord {
 public:
  static constexpr std::uint64_t kMostBusy = std::numeric_limits<std::uint32_t>::max();  // nanoseconds

  DoneWord() noexcept = default;
  /// busy_nanoseconds: of more than kMostBusy it says kMostBusy.
  DoneWord(const RequestNames& names, std::uint64_t busy_nanoseconds) noexcept
      : bits_{std::uint64_t{check_of(names)} << 32 | std::min(busy_nanoseconds, kMostBusy)} {}

  bool tells_of(const RequestNames& names) const noexcept { return bits_ >> 32 == check_of(names); }
  std::uint64_t busy_nanoseconds() const noexcept { return bits_ & kMostBusy; }

 private:
  // Never 0, which is the empty word's. Odd factors, so that no part is lost: as in any multiplicative hash, what decides is in the upper half.
  static std::uint32_t check_of(const RequestNames& names) noexcept {
    std::uint64_t mixed = names.sequence * 0x9E3779B97F4A7C15U;
    mixed += (std::uint64_t{names.block} << 32) + names.generation;
    mixed = (mixed ^ (mixed >> 32)) * 0xD6E8FEB86659FD93U;
    mixed = (mixed ^ names.incarnation) * 0x9E3779B97F4A7C15U;
    return std::max<std::uint32_t>(static_cast<std::uint32_t>(mixed >> 32), 1);
  }

  std::uint64_t bits_ = 0;
};
static_assert(sizeof(DoneWord) == 8);

/// Bytes of the words.
constexpr std::size_t done_words_bytes(std::uint32_t capacity) {
  const std::size_t bytes = std::size_t{capacity} * sizeof(DoneWord);
  return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
}
/// Bytes of a ring of replies in shared memory.
constexpr std::size_t replies_bytes(std::uint32_t capacity) {
  return ring_bytes(capacity) + done_words_bytes(capacity);
}

/// The worker's end.
/// Threads   one, in one process.
template <class Token, class Memory = SharedMemory>
class RepliesWriter {
 public:
  RepliesWriter() = default;
  RepliesWriter(std::byte* memory, std::uint32_t capacity)
      : ring_{memory, capacity}, words_{memory + ring_bytes(capacity)}, mask_{capacity - 1} {}

  /// Writes a reply that the host cannot see yet.
  void push(const Token& token) noexcept {
    Memory::write(word_place(), DoneWord{});
    ring_.push(token);
  }
  /// The same of a request that is done.
  void push(DoneWord done) noexcept {
    Memory::write(word_place(), done);
    ring_.pass();
  }
  bool publish() noexcept { return ring_.publish(); }
  std::uint64_t pushed() const noexcept { return ring_.pushed(); }

 private:
  std::byte* word_place() const noexcept { return words_ + (ring_.pushed() & mask_) * sizeof(DoneWord); }

  RingWriter<Token, Memory> ring_;
  std::byte* words_ = nullptr;
  std::uint64_t mask_ = 0;
};

/// The host's end. Trusts nothing that it reads, as RingReader.
template <class Token, class Memory = SharedMemory>
class RepliesReader {
  using Ring = RingReader<Token, Memory>;

 public:
  using Take = typename Ring::Take;

  RepliesReader() = default;
  RepliesReader(std::byte* memory, std::uint32_t capacity)
      : ring_{memory, capacity}, words_{memory + ring_bytes(capacity)}, mask_{capacity - 1} {}

  /// Goes on to the next reply. token: there is one; a word if it tells of what is expected, and otherwise a token.
  [[nodiscard]] Take next() noexcept { return ring_.next(); }
  /// Of the reply that next() went to.
  DoneWord word() const noexcept {
    DoneWord word;
    Memory::read(&word, words_ + ((ring_.head() - 1) & mask_) * sizeof word, sizeof word);
    return word;
  }
  void read(Token& token) const noexcept { ring_.read(token); }

  bool ready() const noexcept { return ring_.ready(); }
  std::uint64_t head() const noexcept { return ring_.head(); }

 private:
  Ring ring_;
  const std::byte* words_ = nullptr;
  std::uint64_t mask_ = 0;
};

}  // namespace tandem
