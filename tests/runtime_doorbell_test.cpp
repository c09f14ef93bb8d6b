// Sleeping and ringing: between two threads, between two processes, and the order of steps in which a ringer
// comes late.
// labels: no_tsan
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <thread>

#include <tandem/channel.hpp>
#include <tandem/doorbell.hpp>

#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

// One side of a conversation, in memory that both see: its sleep word, its bell, and what it was told.
struct Side {
  alignas(kCacheLine) std::atomic<std::uint32_t> sleep_word{0};
  alignas(kCacheLine) std::atomic<std::uint32_t> bell{0};
  alignas(kCacheLine) std::atomic<std::uint64_t> told{0};
};
struct Pair {
  Side left;
  Side right;
};

constexpr std::uint64_t kRoundTrips = 100'000;

// Tells the other side a number and waits for the same from there, again and again; sleeps each time.
class Talker {
 public:
  Talker(Side& mine, Side& other)
      : mine_{mine},
        other_{other},
        sleeper_{mine.sleep_word},
        bell_{mine.bell},
        ringer_{other.sleep_word},
        others_bell_{other.bell} {}

  void tell(std::uint64_t number) {
    other_.told.store(number, std::memory_order_release);
    if (ringer_.must_ring()) others_bell_.ring();
  }
  void wait(std::uint64_t number) {
    while (mine_.told.load(std::memory_order_acquire) < number) {
      const std::uint32_t heard = bell_.count();
      sleeper_.announce();
      if (mine_.told.load(std::memory_order_relaxed) < number) bell_.wait(heard);
      sleeper_.awake();
    }
  }

 private:
  Side& mine_;
  Side& other_;
  Sleeper<> sleeper_;
  FutexBell<> bell_;
  Ringer<> ringer_;
  FutexBell<> others_bell_;
};

void ask(Pair& pair) {
  Talker talker{pair.left, pair.right};
  for (std::uint64_t trip = 1; trip <= kRoundTrips; ++trip) {
    talker.tell(trip);
    talker.wait(trip);
  }
}
void answer(Pair& pair) {
  Talker talker{pair.right, pair.left};
  for (std::uint64_t trip = 1; trip <= kRoundTrips; ++trip) {
    talker.wait(trip);
    talker.tell(trip);
  }
}

// A lost wake-up would be a hang: ends the program, with the place, when there is no progress for long.
class Watchdog {
 public:
  explicit Watchdog(Pair& pair)
      : thread_{[this, &pair] {
          std::unique_lock lock{mutex_};
          std::uint64_t last = 0;
          while (!end_.wait_for(lock, std::chrono::seconds{20}, [this] { return ended_; })) {
            const std::uint64_t now = pair.left.told.load();
            if (now == last) {
              std::fprintf(stderr, "lost wake-up after round trip %llu\n",
                           static_cast<unsigned long long>(now));
              std::_Exit(1);
            }
            last = now;
          }
        }} {}
  ~Watchdog() {
    {
      const std::lock_guard lock{mutex_};
      ended_ = true;
    }
    end_.notify_all();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable end_;
  bool ended_ = false;
  std::thread thread_;
};

class Doorbell : public TandemTest {};

TEST_F(Doorbell, LosesNoWakeUpBetweenThreads) {
  Shared<Pair> pair;
  const Watchdog watchdog{*pair};
  std::thread other{[&] { answer(*pair); }};
  ask(*pair);
  other.join();
  EXPECT_EQ(pair->left.told.load(), kRoundTrips);
}

TEST_F(Doorbell, LosesNoWakeUpBetweenProcesses) {
  Shared<Pair> pair;
  const pid_t other = fork();
  if (other == 0) {
    answer(*pair);
    _exit(0);
  }
  const Watchdog watchdog{*pair};
  ask(*pair);
  int status = -1;
  waitpid(other, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(pair->left.told.load(), kRoundTrips);
}

// Many tellers' turns at once: one side tells in bursts, the other sleeps whenever it has caught up.
TEST_F(Doorbell, LosesNoWakeUpWhenOneSideTellsInBursts) {
  Shared<Pair> pair;
  const Watchdog watchdog{*pair};
  std::mt19937_64 random = random_generator();
  std::thread listener{[&] {
    Talker talker{pair->right, pair->left};
    std::uint64_t heard = 0;
    while (heard < kRoundTrips) {
      talker.wait(heard + 1);
      heard = pair->right.told.load(std::memory_order_acquire);
      pair->left.told.store(heard);  // for the watchdog
    }
  }};
  Talker talker{pair->left, pair->right};
  for (std::uint64_t number = 1; number <= kRoundTrips; ++number) {
    talker.tell(number);
    for (std::uint64_t pause = random() % 512; pause > 0; --pause) asm volatile("");
  }
  listener.join();
  EXPECT_EQ(pair->left.told.load(), kRoundTrips);
}

// ---- step by step --------------------------------------------------------------------------------------------

struct ByHand : Doorbell {
  std::atomic<std::uint32_t> word{0};
  std::atomic<std::uint32_t> count{0};
  Sleeper<> sleeper{word};
  Ringer<> ringer{word};
  FutexBell<> bell{count};
};

TEST_F(ByHand, NobodyIsRungWhileAwake) {
  EXPECT_FALSE(ringer.must_ring());
  sleeper.announce();
  sleeper.awake();
  EXPECT_FALSE(ringer.must_ring());
}

TEST_F(ByHand, ASleeperIsRungOncePerSleep) {
  for (int sleep = 0; sleep < 10; ++sleep) {
    sleeper.announce();
    EXPECT_TRUE(ringer.must_ring());
    EXPECT_FALSE(ringer.must_ring());
    EXPECT_FALSE(ringer.must_ring());
    sleeper.awake();
    EXPECT_FALSE(ringer.must_ring());
  }
}

TEST_F(ByHand, TheWordTellsASleepFromTheNext) {
  std::set<std::uint32_t> words;
  for (int sleep = 0; sleep < 100; ++sleep) {
    sleeper.announce();
    EXPECT_EQ(word.load() & 1U, 1U);
    EXPECT_TRUE(words.insert(word.load()).second);
    sleeper.awake();
    EXPECT_EQ(word.load() & 1U, 0U);
  }
}

// The ringer publishes; before it looks at the word, the sleeper has taken the token and announced the next
// sleep. The ring goes into that sleep, and the one for the token after it is not made: the first must last.
TEST_F(ByHand, ALateRingLastsUntilItIsHeard) {
  // ringer: publishes token 1.           sleeper: takes it, finds nothing more:
  const std::uint32_t heard = bell.count();
  sleeper.announce();
  // ringer, late: looks, and rings for a token that is long taken.
  ASSERT_TRUE(ringer.must_ring());
  bell.ring();
  // ringer: publishes token 2 and has rung for this sleep already.
  ASSERT_FALSE(ringer.must_ring());

  // sleeper: looked at the ring before token 2 came, and goes to sleep now. A wake-up call would be lost.
  bell.wait(heard);  // hangs if it was

  sleeper.awake();
  EXPECT_EQ(bell.count(), heard + 1);
}

TEST_F(ByHand, ARingBeforeTheLookAtTheCountIsForATokenThatTheSleeperSees) {
  sleeper.announce();
  ASSERT_TRUE(ringer.must_ring());
  bell.ring();
  sleeper.awake();
  // The next sleep: the old ring does not count for it, and a new one does.
  const std::uint32_t heard = bell.count();
  sleeper.announce();
  ASSERT_TRUE(ringer.must_ring());
  bell.ring();
  EXPECT_NE(bell.count(), heard);
  bell.wait(heard);
  sleeper.awake();
}

TEST_F(ByHand, AWaitForSomeTimeEndsWithTheTimeOrWithTheRing) {
  const std::uint32_t heard = bell.count();
  bell.wait_for(heard, std::chrono::milliseconds{1});  // hangs if the time did not count
  EXPECT_EQ(bell.count(), heard);
  bell.ring();
  bell.wait_for(heard, std::chrono::hours{1});  // hangs if a ring before did not
  std::thread other{[this, heard] {
    while (bell.count() == heard + 1) bell.wait_for(heard + 1, std::chrono::hours{1});
  }};
  std::this_thread::sleep_for(std::chrono::milliseconds{10});  // so that it may be asleep by then
  bell.ring();
  other.join();  // hangs if it did not hear
}

TEST_F(ByHand, ASecondRingerHasItsOwnView) {
  Ringer<> other{word};
  sleeper.announce();
  EXPECT_TRUE(ringer.must_ring());
  EXPECT_TRUE(other.must_ring());
  sleeper.awake();
}

class PipeBells : public TandemTest {
 protected:
  static bool readable(const PipeBell& bell) {
    pollfd watched{bell.heard_at(), POLLIN, 0};
    return poll(&watched, 1, 0) == 1;
  }
};

TEST_F(PipeBells, AreReadableFromTheRingToTheClear) {
  const PipeBell bell;
  EXPECT_FALSE(readable(bell));
  PipeBell::ring(bell.rung_at());
  PipeBell::ring(bell.rung_at());
  EXPECT_TRUE(readable(bell));
  bell.clear();
  EXPECT_FALSE(readable(bell));
}

TEST_F(PipeBells, AreRungFromAForkedProcess) {
  const PipeBell bell;
  const pid_t other = fork();
  if (other == 0) {
    PipeBell::ring(bell.rung_at());
    _exit(0);
  }
  pollfd watched{bell.heard_at(), POLLIN, 0};
  EXPECT_EQ(poll(&watched, 1, 20'000), 1);
  waitpid(other, nullptr, 0);
}

TEST_F(PipeBells, ClearedWithoutARingDoNotWait) {
  const PipeBell bell;
  bell.clear();
  bell.clear();
  EXPECT_FALSE(readable(bell));
}

TEST_F(PipeBells, OfTheHostsOwnAreReadableFromTheRingToTheClear) {
  const EventBell bell;
  pollfd watched{bell.number(), POLLIN, 0};
  EXPECT_EQ(poll(&watched, 1, 0), 0);
  bell.ring();
  bell.ring();
  EXPECT_EQ(poll(&watched, 1, 0), 1);
  bell.clear();
  bell.clear();
  EXPECT_EQ(poll(&watched, 1, 0), 0);
}

}  // namespace
}  // namespace tandem::test
