// When a crew's replies are worth taking: those to tiny messages are left to gather, but never for long, and never unseen by who is about
// to sleep. And when somebody looks whether a worker is held up.

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <set>
#include <thread>
#include <utility>

#include "support/played_crew.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

constexpr std::uint64_t kTiny = 100;     // nanoseconds
constexpr std::uint64_t kLonger = 1000;  // too long to wait for the others'
constexpr std::uint64_t kEnough = 64;    // replies

class Crews : public testing::Test {
 protected:
  // Some rounds tell the crew how long messages take. Then the workers have so many to do, in all.
  void give(std::uint64_t count, std::uint64_t nanoseconds) {
    for (int round = 0; round < 3; ++round) {
      played.submit(PlayedCrew::kInFlight);
      while (played.play(PlayedCrew::kInFlight, nanoseconds) > 0) played.crew().drain();
      ASSERT_EQ(played.drop(), PlayedCrew::kInFlight);
    }
    played.submit(count);
    played.crew().drain();
    ASSERT_FALSE(is_worth());
    ASSERT_FALSE(played.crew().has_work());
  }
  bool is_worth() { return played.crew().seems_worth_draining(); }
  bool is_soon_worth() {
    const auto end = std::chrono::steady_clock::now() + kLong;
    while (!is_worth()) {
      if (std::chrono::steady_clock::now() > end) return false;
    }
    return true;
  }
  // What it writes next is nonsense.
  void spoil(std::uint32_t worker) { played.commit_word(worker).store(played.commit_word(worker).load() - 1); }

  static constexpr std::chrono::seconds kLong{60};
  PlayedCrew played;
};

TEST_F(Crews, RepliesToTinyMessagesGather) {
  ASSERT_NO_FATAL_FAILURE(give(32, kTiny));
  ASSERT_GT(played.play(1, kTiny), 0U);
  // The first look begins the time that they are left.
  EXPECT_FALSE(is_worth());
  EXPECT_TRUE(played.crew().has_work()) << "who is about to sleep must not overlook them";
  EXPECT_TRUE(is_soon_worth());
  EXPECT_TRUE(played.crew().drain());
  EXPECT_GT(played.drop(), 0U);
}

TEST_F(Crews, WhatAWorkerHasDoneOfTinyMessagesIsTakenWhenItHasNoMore) {
  ASSERT_NO_FATAL_FAILURE(give(32, kTiny));
  std::uint64_t done = 0;
  while (const std::uint64_t more = played.play(PlayedCrew::kInFlight, kTiny)) {
    done += more;
    ASSERT_TRUE(is_worth()) << "at the first look: nothing is left to wait for";
    EXPECT_TRUE(played.crew().drain());
  }
  EXPECT_EQ(done, 32U);
  EXPECT_EQ(played.drop(), done);
  EXPECT_FALSE(is_worth());
}

// Each counts by itself.
TEST_F(Crews, OneWorkerHasNoMoreAndTheOtherHas) {
  ASSERT_NO_FATAL_FAILURE(give(PlayedCrew::kInFlight, kTiny));
  played.play_one(0, 1, kTiny);
  EXPECT_FALSE(is_worth());
  ASSERT_GT(played.play_one(1, PlayedCrew::kInFlight, kTiny), 1U) << "both must have something to do";
  EXPECT_TRUE(is_worth());
  EXPECT_TRUE(played.crew().drain());
}

TEST_F(Crews, OfManyTinyMessagesSomeAreEnough) {
  ASSERT_NO_FATAL_FAILURE(give(PlayedCrew::kInFlight, kTiny));
  std::uint32_t worker = 0;
  if (played.play_one(0, kEnough - 1, kTiny) < kEnough - 1) worker = 1;  // the other has the more, then
  if (worker == 1) {
    played.crew().drain();
    ASSERT_EQ(played.play_one(1, kEnough - 1, kTiny), kEnough - 1);
  }
  EXPECT_FALSE(is_worth());
  ASSERT_EQ(played.play_one(worker, 1, kTiny), 1U);
  EXPECT_TRUE(is_worth());
}

TEST_F(Crews, RepliesToLongerMessagesAreTakenAtOnce) {
  ASSERT_NO_FATAL_FAILURE(give(8, kLonger));
  ASSERT_GT(played.play(1, kLonger), 0U);
  EXPECT_TRUE(is_worth());
}

// The time that they are left begins anew with each that is taken.
TEST_F(Crews, WhatGathersAfterThatIsLeftAgain) {
  ASSERT_NO_FATAL_FAILURE(give(32, kTiny));
  for (int round = 0; round < 4; ++round) {
    ASSERT_GT(played.play(1, kTiny), 0U);
    EXPECT_FALSE(is_worth());
    EXPECT_TRUE(played.crew().drain());
  }
}

TEST_F(Crews, ACommitWordThatGoesBackIsLookedAtInTime) {
  ASSERT_NO_FATAL_FAILURE(give(32, kTiny));
  for (std::uint32_t worker = 0; worker < PlayedCrew::kWorkers; ++worker) spoil(worker);
  EXPECT_TRUE(played.crew().has_work());
  ASSERT_TRUE(is_soon_worth());
  played.crew().drain();
  EXPECT_FALSE(played.crew().has_work()) << "the workers are condemned";
  EXPECT_FALSE(is_worth()) << "nobody reads there any more, so nobody must be kept looking";
}

TEST_F(Crews, TheNextProcessOfACondemnedOneIsHeardAgain) {
  ASSERT_NO_FATAL_FAILURE(give(32, kTiny));
  for (std::uint32_t worker = 0; worker < PlayedCrew::kWorkers; ++worker) spoil(worker);
  played.crew().drain();
  for (std::uint32_t worker = 0; worker < PlayedCrew::kWorkers; ++worker)
    played.crew().ended(worker, 1, "killed", true, true);
  played.crew().launch_wanted();
  for (std::uint32_t worker = 0; worker < PlayedCrew::kWorkers; ++worker) {
    const PlayedCrew::Launched next = played.launch();
    // It may be quicker than the news of it.
    played.say_ready(next);
    EXPECT_FALSE(is_worth()) << "it is not read yet, so nobody must be kept looking";
    played.crew().started({next.slot, next.incarnation, getpid(), Descriptor{}});
    EXPECT_TRUE(is_worth());
    EXPECT_TRUE(played.crew().drain());
    EXPECT_FALSE(is_worth());
  }
  std::uint64_t came = 0;
  while (played.play(PlayedCrew::kInFlight, kTiny) > 0) {
    EXPECT_TRUE(is_soon_worth());
    played.crew().drain();
    came += played.drop();
  }
  EXPECT_EQ(came, 32U);
}

TEST_F(Crews, WhatAProcessSaidThatCountsAsNotStartedKeepsNobodyLooking) {
  spoil(0);
  played.crew().drain();
  played.crew().ended(0, 1, "killed", true, true);
  played.crew().launch_wanted();
  for (int attempt = 0; attempt < 10; ++attempt) {
    const PlayedCrew::Launched next = played.launch();
    played.say_ready(next);
    played.crew().not_started({next.slot, next.incarnation, EAGAIN});
    EXPECT_FALSE(is_worth());
    if (!played.wants_launch()) return;
  }
  ADD_FAILURE() << "it is never left out";
}

TEST_F(Crews, WhoHasNothingToDoIsAReasonToLookSoonWhetherAnotherIsHeldUp) {
  using Clock = ProcessCrew::Clock;
  constexpr std::chrono::nanoseconds kBody{100'000'000};
  constexpr std::uint64_t kBodyNanoseconds = kBody.count();
  ASSERT_NO_FATAL_FAILURE(give(4, kBodyNanoseconds));
  played.crew().will_relieve();
  Clock::time_point now = Clock::now();
  EXPECT_GE(played.crew().relieve(now), now + kBody) << "all have something to do";
  const int before = played.nudges();
  ASSERT_EQ(played.play_one(1, 2, kBodyNanoseconds), 2U) << "each must have two";
  played.crew().drain();
  EXPECT_EQ(played.nudges(), before + 1);
  played.crew().drain();
  EXPECT_EQ(played.nudges(), before + 1) << "once is enough";
  played.crew().will_relieve();
  now = Clock::now();
  const Clock::time_point next = played.crew().relieve(now);
  const bool relieved = played.play_one(1, 1, 1) == 1;  // where the machine let this thread stand
  EXPECT_TRUE(relieved || next < now + kBody / 10);
}

// By which the host tells a late reply from a true one.
TEST_F(Crews, LendABlockUnderAnotherGenerationEachTime) {
  std::set<std::pair<std::uint32_t, std::uint32_t>> lends;
  std::size_t done = 0;
  for (int round = 0; round < 100; ++round) {
    played.submit(1);
    played.crew().drain();
    for (std::uint32_t slot = 0; slot < PlayedCrew::kWorkers; ++slot) {
      if (played.play_one(slot, 1, kTiny) == 0) continue;
      lends.emplace(played.last(slot).block, played.last(slot).generation);
      ++done;
    }
    played.crew().drain();
    ASSERT_EQ(played.drop(), 1U);
  }
  EXPECT_EQ(lends.size(), done);
  EXPECT_EQ(done, 100U);
}

// As who waits for an item does, while another takes what has come.
TEST_F(Crews, MayBeLookedAtMeanwhile) {
  std::atomic<bool> over{false};
  std::thread looker{[&] {
    while (!over.load()) is_worth();
  }};
  for (int round = 0; round < 200; ++round) {
    played.submit(PlayedCrew::kInFlight);
    while (played.play(7, kTiny) > 0) played.crew().drain();
    EXPECT_EQ(played.drop(), PlayedCrew::kInFlight);
  }
  spoil(0);
  played.crew().drain();
  played.crew().ended(0, 1, "killed", true, true);
  played.crew().launch_wanted();
  over.store(true);
  looker.join();
}

}  // namespace
}  // namespace tandem::test
