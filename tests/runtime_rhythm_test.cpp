// When a loop is likely to do next what it does again and again.
#include <chrono>
#include <random>

#include <tandem/rhythm.hpp>

#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;
using Time = Rhythm::Clock::time_point;

class Rhythms : public TandemTest {
 protected:
  static constexpr Time kNever = Time::max();
  const Time begin_ = Rhythm::Clock::now();
  Rhythm rhythm_;

  // The last beat is at `until`.
  void beat_every(std::chrono::nanoseconds period, std::chrono::nanoseconds until) {
    for (auto at = 0ns; at <= until; at += period) rhythm_.beat(begin_ + at);
  }
};

TEST_F(Rhythms, AreNotKnownBeforeTheThirdTime) {
  EXPECT_EQ(rhythm_.next_look(begin_), kNever);
  EXPECT_FALSE(rhythm_.beat(begin_));
  EXPECT_EQ(rhythm_.next_look(begin_), kNever);
  EXPECT_FALSE(rhythm_.beat(begin_ + 1ms));
  EXPECT_TRUE(rhythm_.beat(begin_ + 2ms));
}

TEST_F(Rhythms, AreLookedAfterALittleLaterThanTheNextIsDueAndAFewTimesMore) {
  beat_every(1ms, 10ms);
  Time look = rhythm_.next_look(begin_ + 10ms);
  EXPECT_GT(look, begin_ + 11ms);
  EXPECT_LT(look, begin_ + 11ms + 50us);
  int looks = 1;
  for (Time next = rhythm_.next_look(look); next != kNever; next = rhythm_.next_look(look)) {
    EXPECT_GT(next, look);
    EXPECT_LE(next, begin_ + 12ms);
    look = next;
    ASSERT_LT(++looks, 10);
  }
  EXPECT_GT(looks, 2);
}

TEST_F(Rhythms, ExpectWhatComesAboutInTime) {
  beat_every(1ms, 10ms);
  EXPECT_FALSE(rhythm_.beat(begin_ + 10ms + 100us));  // one more in between
  for (auto at = 11ms; at <= 30ms; at += 1ms) rhythm_.beat(begin_ + at);
  EXPECT_TRUE(rhythm_.beat(begin_ + 31ms + 200us));
  EXPECT_FALSE(rhythm_.beat(begin_ + 33ms));
}

TEST_F(Rhythms, FollowALoopThatBecomesFasterOrSlower) {
  beat_every(1ms, 20ms);
  auto at = 20ms + 0ns;
  for (int step = 0; step < 30; ++step) rhythm_.beat(begin_ + (at += 200us));
  EXPECT_LT(rhythm_.next_look(begin_ + at), begin_ + at + 250us);
  for (int step = 0; step < 30; ++step) rhythm_.beat(begin_ + (at += 5ms));
  EXPECT_GT(rhythm_.next_look(begin_ + at), begin_ + at + 5ms);
}

TEST_F(Rhythms, OfASlowLoopAreNone) {
  beat_every(1s, 20s);
  EXPECT_EQ(rhythm_.next_look(begin_ + 20s), kNever);
  EXPECT_FALSE(rhythm_.beat(begin_ + 21s));
}

TEST_F(Rhythms, OfAFastLoopAreNone) {
  beat_every(10us, 1ms);
  EXPECT_EQ(rhythm_.next_look(begin_ + 1ms), kNever);
  EXPECT_FALSE(rhythm_.beat(begin_ + 1ms + 10us));
}

TEST_F(Rhythms, ThatWereSpoiledAreLeftAloneForLongerEachTime) {
  auto at = 0ns;
  const auto beats_until_expected = [&] {
    int beats = 1;
    while (beats < 10'000 && !rhythm_.beat(begin_ + (at += 1ms))) ++beats;
    return beats;
  };
  EXPECT_EQ(beats_until_expected(), 3);
  int last = 0;
  for (int spoils = 0; spoils < 5; ++spoils) {
    rhythm_.spoil();
    EXPECT_EQ(rhythm_.next_look(begin_ + at), kNever);
    const int beats = beats_until_expected();
    EXPECT_GT(beats, last);
    last = beats;
  }
  for (int beat = 0; beat < 1000; ++beat) rhythm_.beat(begin_ + (at += 1ms));
  rhythm_.spoil();
  EXPECT_LT(beats_until_expected(), 5);
}

// Otherwise whoever looks would come back at once, again and again.
TEST_F(Rhythms, AreNeverLookedAfterInThePast) {
  std::mt19937_64 random = random_generator();
  Time now = begin_;
  for (int step = 0; step < 100'000; ++step) {
    now += std::chrono::nanoseconds{random() % 1'000'000};
    if (random() % 2 == 0) {
      rhythm_.beat(now);
    } else {
      ASSERT_GT(rhythm_.next_look(now), now);
    }
  }
}

}  // namespace
}  // namespace tandem::test
