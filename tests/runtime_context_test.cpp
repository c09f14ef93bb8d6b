#include <tandem/context.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

namespace tandem {
namespace {

constexpr std::uint64_t kKey = 0x0123456789abcdef;

template <std::size_t Count>
std::array<std::uint64_t, Count> draw(Random random) {
  std::array<std::uint64_t, Count> numbers{};
  std::generate(numbers.begin(), numbers.end(), std::ref(random));
  return numbers;
}

// A stream close to the end of its first lap, which 2^34 numbers would reach.
struct LateRandom : Random {
  explicit LateRandom(std::uint64_t left) : Random{kKey, 7} { left_in_lap_ = left; }
};

static_assert(std::uniform_random_bit_generator<Random>);

TEST(Random, GivesThePublishedAnswersOfPhilox) {
  // Random123's kat_vectors, philox4x64 10 with counter and key zero; MicroURNG hands a block out backwards.
  EXPECT_EQ(draw<4>(Random(0, 0)), (std::array<std::uint64_t, 4>{0x7e68b68aec7ba23b, 0xd7e772cee186176b,
                                                                 0xdb20fe9d672d0fdc, 0x16554d9eca36314c}));
}

TEST(Random, CountsBlocksAndSequencesInTheCounter) {
  // From an independent implementation: counters {7, 0, 0, 0} and {7, 0, 0, 2^32}.
  EXPECT_EQ(draw<8>(Random(kKey, 7)),
            (std::array<std::uint64_t, 8>{0xa241ed37c704b737, 0x6987b35cbb537d34, 0xb14433f34a33e297,
                                          0x8653ceb2864b740e, 0x65f73fef7cea067f, 0xcc8fa90ca00029c2,
                                          0xc0c75612cc3839bc, 0x494030dd20eafae4}));
}

TEST(Random, GoesOnUnderAnotherCounterWhenALapEnds) {
  // From an independent implementation: counter {7, 1, 0, 0}, after the last number of {7, 0, ...}.
  const auto numbers = draw<5>(LateRandom{1});
  EXPECT_EQ(numbers[1], 0xd2ef1bf4dc2928d1U);
  EXPECT_EQ(numbers[4], 0x5cfce5088cc4f036U);
}

TEST(Random, DiffersBetweenSequencesKeysAndUses) {
  std::set<std::uint64_t> firsts;
  for (std::uint64_t key = 0; key < 10; ++key) {
    for (std::uint64_t sequence = 0; sequence < 100; ++sequence) firsts.insert(Random{key, sequence}());
    firsts.insert(Random{key, 0, Random::Use::start}());
  }
  EXPECT_EQ(firsts.size(), 1010U);
}

TEST(Random, CopyGoesOnWhereTheOriginalWas) {
  Random random{kKey, 7};
  random();
  Random copy = random;
  EXPECT_EQ(copy(), random());
}

TEST(Random, FeedsStandardDistributions) {
  Random random{kKey, 7};
  std::uniform_int_distribution<int> dice{1, 6};
  for (int i = 0; i < 1000; ++i) {
    const int value = dice(random);
    ASSERT_GE(value, 1);
    ASSERT_LE(value, 6);
  }
}

TEST(StreamKey, NeverChangesForASeedAndANode) {
  EXPECT_EQ(stream_key(42, "reader"), 0x7930018717f6aee2U);
  EXPECT_EQ(stream_key(43, "reader"), 0x3c9b9b125a366180U);
  EXPECT_EQ(stream_key(42, ""), 0xb029411ff43d84d2U);
}

TEST(Context, StartsWithAStreamOfItsOwnThatAllWorkersShare) {
  Context first{"reader", kKey, 0, nullptr};
  Context second{"reader", kKey, 1, nullptr};

  EXPECT_EQ(first.sequence(), 0U);
  EXPECT_EQ(first.attempt(), 1);
  const std::uint64_t number = first.random()();
  EXPECT_EQ(number, second.random()());
  EXPECT_EQ(number, 0x48a1f8c423759e75U);  // counter {0, 0, 1, 0}, from an independent implementation
  EXPECT_NE(number, Random(kKey, 0)());
}

TEST(Context, GivesTheSameNumbersForAMessageOnAnyWorkerAndAttempt) {
  Context first{"reader", kKey, 0, nullptr};
  Context second{"reader", kKey, 5, nullptr};
  first.begin(7, 1);
  second.begin(6, 1);
  second.random()();

  second.begin(7, 3);

  EXPECT_EQ(draw<8>(first.random()), draw<8>(second.random()));
  EXPECT_EQ(second.sequence(), 7U);
  EXPECT_EQ(second.attempt(), 3);
  EXPECT_EQ(second.worker(), 5);
  EXPECT_EQ(second.node(), "reader");
}

TEST(Context, IsStoppingOnceTheFlagIsSet) {
  std::atomic<std::uint32_t> flag{0};
  const Context context{"reader", kKey, 0, &flag};
  EXPECT_FALSE(context.stopping());
  flag = 1;
  EXPECT_TRUE(context.stopping());
}

TEST(Context, IsNeverStoppingWithoutAFlag) {
  const Context context{"reader", kKey, 0, nullptr};
  EXPECT_FALSE(context.stopping());
}

}  // namespace
}  // namespace tandem
