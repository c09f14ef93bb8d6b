// The ring of replies: words and tokens by turns, stale words, and words that name another request.
#include <atomic>
#include <bit>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include <tandem/replies.hpp>

#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

struct alignas(kCacheLine) Token {
  std::uint64_t number;
  std::uint64_t rest[7];
};
Token token_of(std::uint64_t number) { return {number, {1, 2, 3, 4, 5, 6, ~number}}; }

using Writer = RepliesWriter<Token>;
using Reader = RepliesReader<Token>;
using Take = Reader::Take;

// Zeroed, as a channel gets it.
class RepliesMemory {
 public:
  explicit RepliesMemory(std::uint32_t capacity) : lines_(replies_bytes(capacity) / sizeof(Token)) {
    std::memset(static_cast<void*>(lines_.data()), 0, replies_bytes(capacity));
  }
  std::byte* data() { return reinterpret_cast<std::byte*>(lines_.data()); }

 private:
  std::vector<Token> lines_;
};

RequestNames names_of(std::uint64_t number) {
  return {3, static_cast<std::uint32_t>(number % 8), static_cast<std::uint32_t>(number / 8), number};
}

class Replies : public TandemTest {};

TEST_F(Replies, TellOfARequestInOneWord) {
  RepliesMemory memory{8};
  Writer writer{memory.data(), 8};
  Reader reader{memory.data(), 8};
  writer.push(DoneWord{names_of(1), 4711});
  EXPECT_FALSE(reader.ready());
  EXPECT_EQ(reader.next(), Take::empty);
  EXPECT_TRUE(writer.publish());

  EXPECT_TRUE(reader.ready());
  ASSERT_EQ(reader.next(), Take::token);
  EXPECT_TRUE(reader.word().tells_of(names_of(1)));
  EXPECT_EQ(reader.word().busy_nanoseconds(), 4711U);
  EXPECT_EQ(reader.head(), 1U);
  EXPECT_EQ(reader.next(), Take::empty);
}

TEST_F(Replies, TellOfEachPartOfTheNames) {
  const RequestNames right = names_of(12345);
  const DoneWord word{right, 0};
  EXPECT_TRUE(word.tells_of(right));
  for (const std::uint32_t off : {1U, ~0U, 0x80000000U, 0x100U}) {
    for (int part = 0; part < 4; ++part) {
      RequestNames wrong = right;
      if (part == 0) wrong.incarnation += off;
      if (part == 1) wrong.block += off;
      if (part == 2) wrong.generation += off;
      if (part == 3) wrong.sequence += off;
      EXPECT_FALSE(word.tells_of(wrong)) << part << " off by " << off;
    }
  }
  RequestNames far = right;
  far.sequence += std::uint64_t{1} << 32;
  EXPECT_FALSE(word.tells_of(far));
  EXPECT_FALSE(DoneWord{}.tells_of(right));
}

// As a host sees them that has many under way: no two of them have the same word.
TEST_F(Replies, OfManyRequestsHaveHardlyAnyWordInCommon) {
  std::set<std::uint64_t> words;
  constexpr std::uint64_t kAll = 20'000;
  for (std::uint64_t number = 0; number < kAll; ++number)
    words.insert(std::bit_cast<std::uint64_t>(DoneWord{names_of(number), 0}));
  EXPECT_GE(words.size(), kAll - 2);  // of 32 bits: a twentieth of one pair is to be expected
}

TEST_F(Replies, KeepTheLongestTimeApartFromTheNames) {
  const DoneWord word{names_of(9), DoneWord::kMostBusy};
  EXPECT_EQ(word.busy_nanoseconds(), DoneWord::kMostBusy);
  EXPECT_TRUE(word.tells_of(names_of(9)));
}

// Nothing but a word of its own tells of a request: a token leaves none, and so does memory that was never written.
TEST_F(Replies, ThatAreTokensLeaveNoWord) {
  RepliesMemory memory{1};
  Writer writer{memory.data(), 1};
  Reader reader{memory.data(), 1};
  writer.push(DoneWord{names_of(1), 5});
  writer.publish();
  ASSERT_EQ(reader.next(), Take::token);
  ASSERT_TRUE(reader.word().tells_of(names_of(1)));
  writer.push(token_of(2));
  writer.publish();
  ASSERT_EQ(reader.next(), Take::token);
  EXPECT_FALSE(reader.word().tells_of(names_of(1)));
  EXPECT_EQ(std::bit_cast<std::uint64_t>(reader.word()), 0U);
}

TEST_F(Replies, SayTheLongestTimeOfALongerOne) {
  const DoneWord word{names_of(9), ~std::uint64_t{0}};
  EXPECT_EQ(word.busy_nanoseconds(), DoneWord::kMostBusy);
  EXPECT_TRUE(word.tells_of(names_of(9)));
}

// A word of the last lap lies where a token is what counts, and a token where a word does.
TEST_F(Replies, ByTurnsAreToldApart) {
  constexpr std::uint32_t kCapacity = 4;
  RepliesMemory memory{kCapacity};
  Writer writer{memory.data(), kCapacity};
  Reader reader{memory.data(), kCapacity};
  std::mt19937_64 random{1};
  for (std::uint64_t number = 0; number < 10'000;) {
    const std::uint64_t together = 1 + random() % kCapacity;
    std::vector<bool> words;
    for (std::uint64_t i = 0; i < together; ++i) {
      words.push_back(random() % 3 != 0);
      if (words.back()) {
        writer.push(DoneWord{names_of(number + i), number + i});
      } else {
        writer.push(token_of(number + i));
      }
    }
    EXPECT_TRUE(writer.publish());
    for (const bool is_word : words) {
      ASSERT_EQ(reader.next(), Take::token);
      ASSERT_EQ(reader.word().tells_of(names_of(number)), is_word) << number;
      if (is_word) {
        ASSERT_EQ(reader.word().busy_nanoseconds(), number);
      } else {
        Token token;
        reader.read(token);
        const Token wanted = token_of(number);
        ASSERT_EQ(std::memcmp(&token, &wanted, sizeof token), 0) << number;
      }
      ++number;
    }
    ASSERT_EQ(reader.next(), Take::empty);
  }
}

// Another incarnation writes into the same memory, and finds the words of the one before.
TEST_F(Replies, OfTheIncarnationBeforeTellOfNothing) {
  RepliesMemory memory{4};
  Writer old{memory.data(), 4};
  for (std::uint64_t number = 0; number < 4; ++number) old.push(DoneWord{names_of(number), 1});
  old.publish();

  Writer writer{memory.data(), 4};
  Reader reader{memory.data(), 4};
  writer.push(token_of(0));
  writer.publish();
  ASSERT_EQ(reader.next(), Take::token);
  RequestNames names = names_of(0);
  ++names.incarnation;
  EXPECT_FALSE(reader.word().tells_of(names));
}

TEST_F(Replies, CrossFromThreadToThread) {
  constexpr std::uint32_t kCapacity = 64;
  constexpr std::uint64_t kAll = 200'000;
  RepliesMemory memory{kCapacity};
  Writer writer{memory.data(), kCapacity};
  Reader reader{memory.data(), kCapacity};
  std::atomic<std::uint64_t> read{0};
  std::thread worker{[&] {
    for (std::uint64_t number = 0; number < kAll; ++number) {
      while (number - read.load(std::memory_order_acquire) >= kCapacity) std::this_thread::yield();
      if (number % 7 == 0) {
        writer.push(token_of(number));
      } else {
        writer.push(DoneWord{names_of(number), number & 0xFFFF});
      }
      if (number % 3 == 0 || number + 1 == kAll) writer.publish();
      if (number % 64 == 63) writer.publish();
    }
  }};
  std::uint64_t wrong = 0;
  for (std::uint64_t number = 0; number < kAll; ++number) {
    Take found = Take::empty;
    while ((found = reader.next()) == Take::empty) std::this_thread::yield();
    wrong += found != Take::token ? 1 : 0;
    Token token{};
    if (number % 7 == 0) {
      reader.read(token);
      wrong += token.number != number || token.rest[6] != ~number ? 1 : 0;
    } else {
      const DoneWord word = reader.word();
      wrong += !word.tells_of(names_of(number)) || word.busy_nanoseconds() != (number & 0xFFFF) ? 1 : 0;
    }
    read.store(number + 1, std::memory_order_release);
  }
  worker.join();
  EXPECT_EQ(wrong, 0U);
}

}  // namespace
}  // namespace tandem::test
