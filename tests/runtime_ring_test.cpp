// The ring of tokens: against a plain model, between two threads, and with commit words that no honest writer
// stores.
#include <atomic>
#include <cstring>
#include <deque>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <thread>
#include <vector>

#include <tandem/ring.hpp>

#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

struct alignas(kCacheLine) Token {
  std::uint64_t words[8];
};
Token token_of(std::uint64_t number) {
  Token token;
  for (std::uint64_t& word : token.words) word = number = number * 6364136223846793005U + 1;
  return token;
}
bool is_token_of(const Token& token, std::uint64_t number) {
  const Token wanted = token_of(number);
  return std::memcmp(&token, &wanted, sizeof token) == 0;
}

using Writer = RingWriter<Token>;
using Reader = RingReader<Token>;
using Take = Reader::Take;

// Zeroed memory for a ring, as a channel gets it.
class RingMemory {
 public:
  explicit RingMemory(std::uint32_t capacity)
      : lines_(ring_bytes(capacity) / sizeof(Token)), capacity_{capacity} {
    std::memset(static_cast<void*>(lines_.data()), 0, ring_bytes(capacity));
  }
  std::byte* data() { return reinterpret_cast<std::byte*>(lines_.data()); }
  std::uint32_t capacity() const { return capacity_; }
  std::atomic<std::uint64_t>& commit() { return *reinterpret_cast<std::atomic<std::uint64_t>*>(data()); }
  Token& place(std::uint64_t number) { return lines_[1 + (number & (capacity_ - 1))]; }

 private:
  std::vector<Token> lines_;
  std::uint32_t capacity_;
};

class Ring : public TandemTest {};

TEST_F(Ring, IsEmptyInZeroedMemory) {
  RingMemory memory{8};
  Reader reader{memory.data(), 8};
  Token token;

  EXPECT_FALSE(reader.ready());
  EXPECT_EQ(reader.take(token), Take::empty);
  EXPECT_EQ(reader.head(), 0U);
}

TEST_F(Ring, HidesATokenThatIsNotPublished) {
  RingMemory memory{8};
  Writer writer{memory.data(), 8};
  Reader reader{memory.data(), 8};
  Token token;

  writer.push(token_of(1));
  EXPECT_FALSE(reader.ready());
  EXPECT_EQ(reader.take(token), Take::empty);

  EXPECT_TRUE(writer.publish());
  EXPECT_TRUE(reader.ready());
  EXPECT_EQ(reader.take(token), Take::token);
  EXPECT_TRUE(is_token_of(token, 1));
}

TEST_F(Ring, HidesWhatWasPushedAfterTheLastPublish) {
  RingMemory memory{8};
  Writer writer{memory.data(), 8};
  Reader reader{memory.data(), 8};
  Token token;
  writer.push(token_of(1));
  EXPECT_TRUE(writer.publish());
  writer.push(token_of(2));

  EXPECT_EQ(reader.take(token), Take::token);
  EXPECT_TRUE(is_token_of(token, 1));
  EXPECT_EQ(reader.take(token), Take::empty);
  EXPECT_FALSE(reader.ready());
}

TEST_F(Ring, SaysThatThereIsNothingNewToPublish) {
  RingMemory memory{8};
  Writer writer{memory.data(), 8};
  EXPECT_FALSE(writer.publish());
  writer.push(token_of(1));
  EXPECT_TRUE(writer.publish());
  EXPECT_FALSE(writer.publish());
}

TEST_F(Ring, MadeAnewInUsedMemoryIsEmpty) {
  RingMemory memory{4};
  Writer old{memory.data(), 4};
  for (std::uint64_t number = 0; number < 3; ++number) old.push(token_of(number));
  EXPECT_TRUE(old.publish());

  Writer writer{memory.data(), 4};
  Reader reader{memory.data(), 4};
  Token token;
  EXPECT_EQ(reader.take(token), Take::empty);
  writer.push(token_of(7));
  EXPECT_TRUE(writer.publish());
  EXPECT_EQ(reader.take(token), Take::token);
  EXPECT_TRUE(is_token_of(token, 7));
  EXPECT_EQ(reader.take(token), Take::empty);
}

TEST_F(Ring, DoesAsAPlainQueueDoes) {
  std::mt19937_64 random = random_generator();
  for (int round = 0; round < 50; ++round) {
    const auto capacity = static_cast<std::uint32_t>(1U << (random() % 6));
    RingMemory memory{capacity};
    Writer writer{memory.data(), capacity};
    Reader reader{memory.data(), capacity};
    std::deque<std::uint64_t> hidden;
    std::deque<std::uint64_t> shown;
    std::uint64_t pushed = 0;
    std::uint64_t taken = 0;
    for (int step = 0; step < 20'000; ++step) {
      switch (random() % 3) {
        case 0:
          if (hidden.size() + shown.size() == capacity) break;  // the owner's credits see to that
          writer.push(token_of(pushed));
          hidden.push_back(pushed++);
          break;
        case 1:
          ASSERT_EQ(writer.publish(), !hidden.empty());
          shown.insert(shown.end(), hidden.begin(), hidden.end());
          hidden.clear();
          break;
        default:
          ASSERT_EQ(reader.ready(), !shown.empty());
          Token token;
          if (shown.empty()) {
            ASSERT_EQ(reader.take(token), Take::empty);
          } else {
            ASSERT_EQ(reader.take(token), Take::token);
            ASSERT_TRUE(is_token_of(token, shown.front()));
            shown.pop_front();
            ++taken;
          }
      }
      ASSERT_EQ(writer.pushed(), pushed);
      ASSERT_EQ(reader.head(), taken);
    }
  }
}

class ContendedRing : public TandemTest, public testing::WithParamInterface<std::uint32_t> {};

TEST_P(ContendedRing, DeliversEachTokenOnceAndWhole) {
  constexpr std::uint64_t kAll = 400'000;
  const std::uint32_t capacity = GetParam();
  std::mt19937_64 random = random_generator();
  RingMemory memory{capacity};
  Writer writer{memory.data(), capacity};
  Reader reader{memory.data(), capacity};
  std::atomic<std::uint64_t> taken{0};  // the credits come back by another way, as in a crew

  std::thread producer{[&, seed = random()] {
    std::mt19937_64 own{seed};
    for (std::uint64_t next = 0; next < kAll;) {
      const std::uint64_t burst = 1 + own() % (2 * std::uint64_t{capacity});
      std::uint64_t count = 0;
      for (; count < burst && next < kAll && next - taken.load(std::memory_order_acquire) < capacity; ++count) {
        writer.push(token_of(next++));
      }
      writer.publish();
      if (count == 0) std::this_thread::yield();
    }
  }};
  bool right = true;
  for (std::uint64_t next = 0; next < kAll && right;) {
    Token token;
    const Take take = reader.take(token);
    if (take == Take::empty) {
      std::this_thread::yield();
      continue;
    }
    right = take == Take::token && is_token_of(token, next);
    EXPECT_TRUE(right) << "token " << next;
    taken.store(++next, std::memory_order_release);
  }
  if (!right) taken.store(std::numeric_limits<std::uint64_t>::max() / 2);  // lets the producer end
  producer.join();
  EXPECT_FALSE(reader.ready());
}

INSTANTIATE_TEST_SUITE_P(, ContendedRing, testing::Values(1U, 2U, 8U, 512U));

class BrokenCommitWord : public TandemTest {
 protected:
  static constexpr std::uint32_t kCapacity = 8;

  BrokenCommitWord() {
    Token token;
    for (std::uint64_t number = 0; number < 11; ++number) {
      writer_.push(token_of(number));
      writer_.publish();
      EXPECT_EQ(reader_.take(token), Take::token);
    }
  }
  Take take_after(std::uint64_t committed) {
    memory_.commit() = committed;
    Token token;
    return reader_.take(token);
  }

  RingMemory memory_{kCapacity};
  Writer writer_{memory_.data(), kCapacity};
  Reader reader_{memory_.data(), kCapacity};
};

TEST_F(BrokenCommitWord, ThatWentBackIsReported) {
  for (const std::uint64_t committed : {10U, 3U, 1U, 0U})
    EXPECT_EQ(take_after(committed), Take::broken) << committed;
}

TEST_F(BrokenCommitWord, ThatIsMoreThanARingAheadIsReported) {
  for (const std::uint64_t committed : {std::uint64_t{11 + kCapacity + 1}, std::uint64_t{1} << 32,
                                        std::uint64_t{1} << 63, std::numeric_limits<std::uint64_t>::max()}) {
    EXPECT_EQ(take_after(committed), Take::broken) << committed;
  }
}

TEST_F(BrokenCommitWord, StaysBrokenHoweverOftenItIsRead) {
  memory_.commit() = 5;
  Token token;
  for (int time = 0; time < 100; ++time) EXPECT_EQ(reader_.take(token), Take::broken);
  EXPECT_TRUE(reader_.ready());  // so that somebody looks
  EXPECT_EQ(reader_.head(), 11U);
}

TEST_F(BrokenCommitWord, OfAWholeRingAheadIsStillFollowed) {
  memory_.commit() = 11 + kCapacity;
  Token token;
  for (std::uint32_t time = 0; time < kCapacity; ++time) EXPECT_EQ(reader_.take(token), Take::token);
  EXPECT_EQ(reader_.take(token), Take::empty);
}

TEST_F(BrokenCommitWord, DoesNotHideTokensThatWereSeenBefore) {
  for (std::uint64_t number = 11; number < 15; ++number) writer_.push(token_of(number));
  writer_.publish();
  Token token;
  ASSERT_EQ(reader_.take(token), Take::token);
  memory_.commit() = 0;

  for (std::uint64_t number = 12; number < 15; ++number) {
    ASSERT_EQ(reader_.take(token), Take::token);
    EXPECT_TRUE(is_token_of(token, number));
  }
  EXPECT_EQ(reader_.take(token), Take::broken);
}

TEST_F(BrokenCommitWord, OfAnyValueNeverLeadsOutOfTheRing) {
  std::mt19937_64 random = random_generator();
  for (int time = 0; time < 200'000; ++time) {
    const std::uint64_t near = reader_.head() + random() % 32 - 16;
    memory_.commit() = random() % 2 == 0 ? random() : near;
    Token token;
    const std::uint64_t before = reader_.head();
    const Take take = reader_.take(token);
    ASSERT_EQ(reader_.head(), before + (take == Take::token ? 1 : 0));
  }
}

// The token is copied once: what the writer does to it afterwards, nobody sees.
TEST_F(Ring, GivesACopyThatTheWriterCannotChange) {
  RingMemory memory{4};
  Writer writer{memory.data(), 4};
  Reader reader{memory.data(), 4};
  writer.push(token_of(1));
  writer.publish();
  Token token;
  ASSERT_EQ(reader.take(token), Take::token);

  memory.place(0) = token_of(2);

  EXPECT_TRUE(is_token_of(token, 1));
}

}  // namespace
}  // namespace tandem::test
