// When a crew's replies are worth taking: those to tiny messages are left to gather, but never for long, and never unseen by who is about
// to sleep.

#include <chrono>
#include <cstdint>

#include "support/played_crew.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

constexpr std::uint64_t kTiny = 100;     // nanoseconds
constexpr std::uint64_t kLonger = 1000;  // too long to wait for the others'

class Crews : public testing::Test {
 protected:
  // A first round tells the crew how long messages take. Then the workers have so many each.
  void give(std::uint64_t each, std::uint64_t nanoseconds) {
    for (int round = 0; round < 3; ++round) {
      played.submit(PlayedCrew::kInFlight);
      while (played.play(PlayedCrew::kInFlight, nanoseconds) > 0) played.crew().drain();
      ASSERT_EQ(played.drop(), PlayedCrew::kInFlight);
    }
    played.submit(PlayedCrew::kWorkers * each);
    played.crew().drain();
    ASSERT_FALSE(played.crew().seems_worth_draining());
    ASSERT_FALSE(played.crew().has_work());
  }
  bool is_soon_worth_draining() {
    const auto end = std::chrono::steady_clock::now() + kLong;
    while (!played.crew().seems_worth_draining()) {
      if (std::chrono::steady_clock::now() > end) return false;
    }
    return true;
  }

  static constexpr std::chrono::seconds kLong{60};
  PlayedCrew played;
};

TEST_F(Crews, RepliesToTinyMessagesGather) {
  give(16, kTiny);
  ASSERT_GT(played.play(1, kTiny), 0U);
  // The first look begins the time that they are left.
  EXPECT_FALSE(played.crew().seems_worth_draining());
  EXPECT_TRUE(played.crew().has_work()) << "who is about to sleep must not overlook them";
  EXPECT_TRUE(is_soon_worth_draining());
  EXPECT_TRUE(played.crew().drain());
  EXPECT_GT(played.drop(), 0U);
}

TEST_F(Crews, WhatAWorkerHasDoneOfTinyMessagesIsTakenWhenItHasNoMore) {
  give(16, kTiny);
  std::uint64_t done = 0;
  while (const std::uint64_t more = played.play(PlayedCrew::kInFlight, kTiny)) {
    done += more;
    ASSERT_TRUE(played.crew().seems_worth_draining()) << "at the first look: nothing is left to wait for";
    EXPECT_TRUE(played.crew().drain());
  }
  EXPECT_EQ(done, PlayedCrew::kWorkers * 16);
  EXPECT_EQ(played.drop(), done);
  EXPECT_FALSE(played.crew().seems_worth_draining());
}

TEST_F(Crews, RepliesToLongerMessagesAreTakenAtOnce) {
  give(4, kLonger);
  ASSERT_GT(played.play(1, kLonger), 0U);
  EXPECT_TRUE(played.crew().seems_worth_draining());
}

// The time that they are left begins anew with each that is taken.
TEST_F(Crews, WhatGathersAfterThatIsLeftAgain) {
  give(16, kTiny);
  for (int round = 0; round < 4; ++round) {
    ASSERT_GT(played.play(1, kTiny), 0U);
    EXPECT_FALSE(played.crew().seems_worth_draining());
    EXPECT_TRUE(played.crew().drain());
  }
}

TEST_F(Crews, ACommitWordThatGoesBackIsLookedAtInTime) {
  give(16, kTiny);
  played.commit_word(0).store(played.commit_word(0).load() - 1);
  played.commit_word(1).store(played.commit_word(1).load() - 1);
  EXPECT_TRUE(played.crew().has_work());
  ASSERT_TRUE(is_soon_worth_draining());
  played.crew().drain();
  EXPECT_FALSE(played.crew().has_work()) << "the workers are condemned";
  EXPECT_FALSE(played.crew().seems_worth_draining())
      << "nobody reads there any more, so nobody must be kept looking";
}

}  // namespace
}  // namespace tandem::test
