// How many large blocks workers are lent at a time, in worlds where more of them cost or bring something.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <random>

#include <tandem/circulation.hpp>

#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

constexpr std::size_t kBig = 12'600'000;

/// What a message costs with so many blocks for all workers.
struct Cost {
  microseconds wait;
  microseconds service;
};

class Circulations : public TandemTest {
 protected:
  // Lends `count` times; returns how large a part of them `limit` was.
  static double part_of(std::uint32_t limit, Circulation& circulation, int count,
                        const std::function<Cost(std::uint32_t)>& world) {
    int at_limit = 0;
    for (int lend = 0; lend < count; ++lend) {
      at_limit += circulation.limit() == limit ? 1 : 0;
      const Cost cost = world(circulation.limit());
      circulation.lend(cost.wait, static_cast<std::uint64_t>(nanoseconds{cost.service}.count()));
    }
    return static_cast<double>(at_limit) / count;
  }
};

TEST_F(Circulations, BeginWithOneOfWhatFillsACacheAndWithManyOfWhatDoesNot) {
  EXPECT_EQ(Circulation(kBig, 64, 2).limit(), 2U);
  EXPECT_EQ(Circulation(64 * 1024, 64, 2).limit(), 64U);
  EXPECT_EQ(Circulation(1 << 20, 64, 2).limit(), 8U);
  EXPECT_EQ(Circulation(64 * 1024, 3, 2).limit(), 3U);
}

TEST_F(Circulations, StayAtOneForEachWorkerWhereMoreAreCold) {
  Circulation circulation{kBig, 8, 2};
  const auto world = [](std::uint32_t limit) {
    return limit == 2 ? Cost{microseconds{40}, microseconds{150}} : Cost{microseconds{10}, microseconds{600}};
  };
  EXPECT_GT(part_of(2, circulation, 10'000, world), 0.9);
}

TEST_F(Circulations, LendOneMoreWhereThatSparesAWait) {
  Circulation circulation{kBig, 8, 2};
  const auto world = [](std::uint32_t limit) {
    return Cost{microseconds{limit == 2 ? 150 : 0}, microseconds{150}};
  };
  EXPECT_GT(part_of(3, circulation, 10'000, world), 0.9);
}

// It is the consumer who is slow then.
TEST_F(Circulations, LendNoMoreWhereThatSparesNothing) {
  Circulation circulation{kBig, 8, 2};
  const auto world = [](std::uint32_t) { return Cost{microseconds{900}, microseconds{150}}; };
  EXPECT_GT(part_of(2, circulation, 10'000, world), 0.8);
}

TEST_F(Circulations, ComeDownWhenAConsumerThatKeptManyKeepsThemNoMore) {
  Circulation circulation{kBig, 64, 2};
  for (int step = 0; step < 100; ++step) circulation.raise();
  EXPECT_EQ(circulation.limit(), 64U);
  const auto world = [](std::uint32_t limit) { return Cost{microseconds{0}, microseconds{150 + 10 * limit}}; };
  EXPECT_GT(part_of(2, circulation, 10'000, world), 0.8);
}

// A consumer that keeps the item before lets two workers take turns: each waits as long as it works, which is not long enough for raise().
TEST_F(Circulations, LendOneMoreSoonWhereWorkersTakeTurns) {
  Circulation circulation{kBig, 8, 2};
  const auto world = [](std::uint32_t limit) {
    return Cost{microseconds{limit == 2 ? 4000 : 0}, microseconds{4000}};
  };
  part_of(3, circulation, 32, world);
  EXPECT_EQ(circulation.limit(), 3U);
  EXPECT_GT(part_of(3, circulation, 10'000, world), 0.9);  // fewer are tried now and then
}

TEST_F(Circulations, WaitLongerForLongerMessagesWithinBounds) {
  using std::chrono::milliseconds;
  Circulation circulation{kBig, 8, 2};
  const auto after = [&circulation](microseconds service) {
    circulation.lend(microseconds{0}, static_cast<std::uint64_t>(nanoseconds{service}.count()));
    return circulation.longest_wait();
  };
  EXPECT_EQ(circulation.longest_wait(), milliseconds{3});
  EXPECT_EQ(after(microseconds{1}), milliseconds{3});
  EXPECT_EQ(after(microseconds{1000}), milliseconds{4});
  EXPECT_EQ(after(microseconds{1'000'000}), milliseconds{20});
}

// As when somebody looks at as many as there are, and then at one after the other.
TEST_F(Circulations, ComeDownWithinSomeMessages) {
  Circulation circulation{kBig, 8, 2};
  for (int step = 0; step < 10; ++step) circulation.raise();
  ASSERT_EQ(circulation.limit(), 8U);
  const auto world = [](std::uint32_t limit) { return Cost{microseconds{10}, microseconds{150 + 50 * limit}}; };
  part_of(2, circulation, 170, world);
  EXPECT_EQ(circulation.limit(), 2U);
}

TEST_F(Circulations, ComeDownAFewAtATimeWhereHalfAreTooFew) {
  Circulation circulation{kBig, 8, 2};
  for (int step = 0; step < 10; ++step) circulation.raise();
  const auto world = [](std::uint32_t limit) {
    return Cost{microseconds{limit < 6 ? 500 : 10}, microseconds{150 + 20 * limit}};
  };
  part_of(6, circulation, 2000, world);
  EXPECT_GT(part_of(6, circulation, 10'000, world), 0.8);
}

// To find out that it does costs one long wait each time, and more and more seldom.
TEST_F(Circulations, TryLessOfWhatAConsumerKeepsAtTheCostOfOneLongWait) {
  Circulation circulation{kBig, 8, 1};
  circulation.raise();
  ASSERT_EQ(circulation.limit(), 2U);
  int long_waits = 0;
  for (int lend = 0; lend < 10'000; ++lend) {
    if (circulation.limit() < 2) {  // the consumer keeps one
      ++long_waits;
      circulation.raise();
    }
    circulation.lend(microseconds{0}, 150'000);
  }
  EXPECT_GT(long_waits, 0);
  EXPECT_LT(long_waits, 20);
}

TEST_F(Circulations, FollowAWorldThatChanges) {
  Circulation circulation{kBig, 8, 2};
  const auto cold = [](std::uint32_t limit) {
    return limit == 2 ? Cost{microseconds{40}, microseconds{150}} : Cost{microseconds{10}, microseconds{600}};
  };
  const auto slow = [](std::uint32_t limit) {
    return Cost{microseconds{limit < 4 ? 400 : 0}, microseconds{600}};
  };
  part_of(2, circulation, 10'000, cold);
  part_of(4, circulation, 40'000, slow);
  EXPECT_GT(part_of(4, circulation, 10'000, slow), 0.8);
  part_of(2, circulation, 40'000, cold);
  EXPECT_GT(part_of(2, circulation, 10'000, cold), 0.8);
}

TEST_F(Circulations, LendAtLeastOneAndNoMoreThanThereAre) {
  std::mt19937_64 random = random_generator();
  for (int world = 0; world < 100; ++world) {
    const auto blocks = static_cast<std::uint32_t>(1 + random() % 20);
    Circulation circulation{std::size_t{1} << (15 + random() % 12), blocks,
                            static_cast<std::uint32_t>(1 + random() % 4)};
    for (int step = 0; step < 2000; ++step) {
      ASSERT_GE(circulation.limit(), 1U);
      ASSERT_LE(circulation.limit(), blocks);
      if (random() % 50 == 0) circulation.raise();
      circulation.lend(microseconds{random() % 2000}, random() % 2'000'000);
    }
  }
}

}  // namespace
}  // namespace tandem::test
