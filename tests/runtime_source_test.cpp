// Credits of a source: how many there may be, who is woken by a returned one, and what the end is.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <future>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <tandem/source.hpp>

#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;

struct Listener final : SourceListener {
  void message_left(Source&, std::uint64_t sequence) noexcept override {
    const std::lock_guard lock{mutex};
    left.push_back(sequence);
  }
  void source_drained(Source& source) noexcept override {
    ++drained;
    if (!source.drained()) ++drained_too_early;
  }
  void credit_free(Source&) noexcept override { ++credits_free; }
  std::mutex mutex;
  std::vector<std::uint64_t> left;
  std::atomic<int> credits_free{0};
  std::atomic<int> drained{0};
  std::atomic<int> drained_too_early{0};
};

struct Store final : MessageStore {
  explicit Store(std::atomic<std::uint64_t>& destroyed_in) : destroyed{destroyed_in} {}
  void destroy(std::uint32_t) noexcept override { ++destroyed; }
  std::atomic<std::uint64_t>& destroyed;
};

class SourceTest : public TandemTest {
 protected:
  void open(std::uint32_t in_flight, std::uint64_t all_sequencers = 0) {
    source_.open(listener_, keep_, std::make_unique<Store>(destroyed_), in_flight, 0, all_sequencers);
  }
  // Null when there is no credit.
  Handle try_acquired() {
    Lease* const lease = source_.try_acquire();
    return lease == nullptr ? Handle{} : Handle{lease, Part::graph};
  }
  Handle acquired() {
    Handle message = try_acquired();
    if (!message) std::abort();
    return message;
  }
  ~SourceTest() override { source_.close(); }

  Listener listener_;
  std::atomic<std::uint64_t> destroyed_{0};
  std::shared_ptr<int> keep_ = std::make_shared<int>(0);
  Source source_{3};
};

TEST_F(SourceTest, GivesNoMoreThanItsCredits) {
  open(4);
  std::vector<Handle> messages;
  while (Handle message = try_acquired()) messages.push_back(std::move(message));
  EXPECT_EQ(messages.size(), 4U);
  EXPECT_EQ(source_.live(), 4U);
  EXPECT_EQ(source_.in_graph(), 4U);
  messages.pop_back();
  EXPECT_TRUE(try_acquired());
}

TEST_F(SourceTest, NumbersMessagesInTheirOrder) {
  open(2);
  for (std::uint64_t number = 0; number < 100; ++number) {
    const Handle message = acquired();
    EXPECT_EQ(message->sequence, number);
    EXPECT_EQ(message->source, 3U);
    EXPECT_EQ(message->root, message.get());
  }
  EXPECT_EQ(source_.emitted(), 100U);
}

TEST_F(SourceTest, KeepsTheCreditWhileAUserHoldsTheMessage) {
  open(1);
  Handle message = acquired();
  message.leave_graph();
  EXPECT_EQ(source_.in_graph(), 0U);
  EXPECT_EQ(source_.live(), 1U);
  EXPECT_FALSE(try_acquired());
  EXPECT_TRUE(source_.exhausted_by_user(false));
  message = Handle{};
  EXPECT_FALSE(source_.exhausted_by_user(false));
  EXPECT_TRUE(try_acquired());
}

TEST_F(SourceTest, GivesTheNumberOfADiscardedMessageToTheNext) {
  open(2, 1);
  Lease* const first = source_.try_acquire();
  EXPECT_EQ(first->sequence, 0U);
  source_.discard(*first);
  EXPECT_EQ(source_.live(), 0U);
  EXPECT_EQ(acquired()->sequence, 0U);
  EXPECT_EQ(listener_.left, std::vector<std::uint64_t>{0});  // of the second, which no sequencer saw
}

TEST_F(SourceTest, DestroysEachMessageOnce) {
  open(3);
  int payload = 0;
  for (int number = 0; number < 50; ++number) {
    Handle message = acquired();
    message->payload = &payload;
    if (number % 2 == 0) message.leave_graph();
    const Handle copy = message;
  }
  EXPECT_EQ(destroyed_, 50U);
}

TEST_F(SourceTest, TellsOfMessagesThatSomeSequencerDidNotSee) {
  open(8, 0b11);
  for (const std::uint64_t saw : {0b11U, 0b01U, 0b10U, 0b00U, 0b11U}) {
    const Handle message = acquired();
    message->sequencers = saw;
  }
  EXPECT_EQ(listener_.left, (std::vector<std::uint64_t>{1, 2, 3}));
}

TEST_F(SourceTest, TellsOfAMessageWhenTheGraphIsDoneWithItThoughAUserHoldsIt) {
  open(8, 1);
  Handle message = acquired();
  message.leave_graph();
  EXPECT_EQ(listener_.left, std::vector<std::uint64_t>{0});
}

TEST_F(SourceTest, IsDrainedOnceItIsFinishedAndTheGraphIsDone) {
  open(8);
  Handle message = acquired();
  source_.finish();
  EXPECT_FALSE(source_.drained());
  EXPECT_EQ(listener_.drained, 0);
  message.leave_graph();
  EXPECT_TRUE(source_.drained());
  EXPECT_EQ(listener_.drained, 1);
}

TEST_F(SourceTest, IsDrainedAtItsFinishWhenNothingIsLeft) {
  open(8);
  { const Handle message = acquired(); }
  EXPECT_FALSE(source_.drained());
  source_.finish();
  EXPECT_TRUE(source_.drained());
  EXPECT_EQ(listener_.drained, 1);
}

TEST_F(SourceTest, GivesNothingAfterItsStop) {
  open(2);
  source_.stop();
  EXPECT_EQ(source_.try_acquire(), nullptr);
  EXPECT_EQ(source_.wait_acquire(nullptr), nullptr);
}

TEST_F(SourceTest, WakesASleepingEmitterAtItsStop) {
  open(1);
  const Handle message = acquired();
  auto waiting = std::async(std::launch::async, [&] { return source_.wait_acquire(nullptr); });
  source_.stop();
  EXPECT_EQ(waiting.get(), nullptr);
}

TEST_F(SourceTest, WakesASleepingEmitterAtItsFinish) {
  open(1);
  const Handle message = acquired();
  auto waiting = std::async(std::launch::async, [&] { return source_.wait_acquire(nullptr); });
  source_.finish();
  EXPECT_EQ(waiting.get(), nullptr);
}

TEST_F(SourceTest, CountsALoanNeitherInTheGraphNorWithUsers) {
  source_.open(listener_, keep_, std::make_unique<Store>(destroyed_), 1, 1, 0b1);
  Lease* const dropped = source_.try_loan();
  Lease* const pushed = source_.try_loan();
  EXPECT_EQ(source_.live(), 2U);
  EXPECT_EQ(source_.numbered(), 0U);
  EXPECT_EQ(source_.in_graph(), 0U);
  EXPECT_FALSE(source_.exhausted_by_user(false));
  EXPECT_TRUE(source_.exhausted_by_user(true));
  dropped->drop(Part::graph);
  source_.finish();
  EXPECT_FALSE(source_.drained()) << "a loan may still come";
  source_.number(*pushed);
  EXPECT_EQ(pushed->sequence, 0U);
  EXPECT_EQ(source_.numbered(), 1U);
  EXPECT_EQ(source_.in_graph(), 1U);
  pushed->drop(Part::graph);
  EXPECT_TRUE(source_.drained());
  EXPECT_EQ(listener_.drained, 1);
  EXPECT_EQ(listener_.left, std::vector<std::uint64_t>{0});
  EXPECT_EQ(source_.live(), 0U);
}

// Whoever asks whether a wait is hopeless looks into crews, and may end messages by that.
TEST_F(SourceTest, MayLoseItsMessagesToWhoeverAsksWhetherAWaitIsHopeless) {
  source_.open(listener_, keep_, std::make_unique<Store>(destroyed_), 1, 1, 0);
  source_.keep_reserve();
  Handle step = acquired();
  EXPECT_EQ(source_.try_loan(), nullptr);
  EXPECT_TRUE(source_.wait_credit([&step] {
    step = Handle{};
    return false;
  }));
}

TEST_F(SourceTest, LetsGoOfItsKeeperWhenClosedAndTheLastMessageEnds) {
  const std::weak_ptr<int> kept = keep_;
  open(2);
  keep_.reset();
  Handle message = acquired();
  message.leave_graph();
  source_.close();
  EXPECT_FALSE(kept.expired());
  message = Handle{};
  EXPECT_TRUE(kept.expired());
}

TEST_F(SourceTest, IsKeptUntilAllLoansHaveComeBackThoughTheyWereLentBeforeItClosed) {
  const std::weak_ptr<int> kept = keep_;
  source_.open(listener_, std::move(keep_), std::make_unique<Store>(destroyed_), 2, 1, 0);
  Lease* const unused = source_.try_loan();
  Lease* const pushed = source_.try_loan();
  source_.number(*pushed);
  source_.close();
  unused->drop(Part::graph);
  EXPECT_FALSE(kept.expired());
  pushed->drop(Part::graph);
  EXPECT_TRUE(kept.expired());
}

TEST_F(SourceTest, TellsOfOneCreditEachTimeThatItIsAsked) {
  open(4);
  std::vector<Handle> messages;
  while (Handle message = try_acquired()) messages.push_back(std::move(message));
  messages.pop_back();
  EXPECT_EQ(listener_.credits_free, 0) << "nobody has asked";
  source_.tell_next_credit();
  messages.pop_back();
  EXPECT_EQ(listener_.credits_free, 1);
  messages.pop_back();
  EXPECT_EQ(listener_.credits_free, 1);
  source_.tell_next_credit();
  source_.tell_next_credit();
  messages.pop_back();
  EXPECT_EQ(listener_.credits_free, 2);
}

TEST_F(SourceTest, LendsALeaseAgainAsIfItWereNew) {
  open(2);
  Handle whole = acquired();
  whole.leave_graph();
  int payload = 0;
  {
    const Handle part = acquired();
    part->payload = &payload;
    part->failure = std::make_unique<Failure>();
    part->skipped = true;
    part->round = Round::end;
    part->epoch = 3;
    part->epoch_begin = 4;
    part->sequencers = 1;
    part->worker = 5;
    part->attempt = 6;
    part->is_part = true;
    part->piece = {whole.release(), nullptr, 7, 8, 9, 10};
  }
  EXPECT_EQ(source_.live(), 0U) << "the part kept its whole";
  for (int twice = 0; twice < 2; ++twice) {
    const Handle message = acquired();
    EXPECT_EQ(message->payload, nullptr);
    EXPECT_EQ(message->failure, nullptr);
    EXPECT_FALSE(message->skipped);
    EXPECT_EQ(message->round, Round::none);
    EXPECT_EQ(message->epoch, 0U);
    EXPECT_EQ(message->epoch_begin, 0U);
    EXPECT_EQ(message->sequencers, 0U);
    EXPECT_EQ(message->worker, -1);
    EXPECT_EQ(message->attempt, 1);
    EXPECT_FALSE(message->is_part);
    EXPECT_EQ(message->piece.whole, nullptr);
    EXPECT_EQ(message->piece.count, 1U);
  }
}

// The source is its own keeper, as the runtime's state is: whoever looks at it once it is let go looks at nothing, which
// AddressSanitizer sees.
TEST_F(SourceTest, IsLetGoOnceByWhoeverIsLastThoughMessagesEndWhileItCloses) {
  struct Owner {
    explicit Owner(std::atomic<int>& ends_in) : ends{ends_in} {}
    ~Owner() { ++ends; }
    std::atomic<int>& ends;
    Listener listener;
    Source source{0};
  };
  constexpr int kRounds = 3000;
  constexpr std::uint32_t kLimit = 6;
  std::atomic<int> ends{0};
  std::atomic<int> wrong{0};
  for (int round = 0; round < kRounds; ++round) {
    auto owner = std::make_shared<Owner>(ends);
    Source& source = owner->source;
    source.open(owner->listener, owner, std::make_unique<Store>(destroyed_), kLimit, 0, 0);
    std::vector<Handle> mine;
    std::vector<Handle> theirs;
    for (std::uint32_t place = 0; place < kLimit; ++place) {
      (place % 2 == 0 ? mine : theirs).emplace_back(source.try_acquire(), Part::graph);
    }
    const bool sleeps = round % 3 == 0;  // with an emitter that is woken by one of them
    std::thread emitter;
    if (sleeps) {
      emitter = std::thread{[&source, &wrong] {
        Lease* const lease = source.wait_acquire(nullptr);
        if (lease == nullptr) ++wrong;
        if (lease != nullptr) lease->drop(Part::graph);
      }};
    }
    std::thread dropper{[&theirs, round] {
      if (round % 2 == 0) {
        for (Handle& one : theirs) one.leave_graph();
      }
      theirs.clear();
    }};
    if (sleeps) {
      mine.pop_back();
      emitter.join();
    }
    source.finish();
    owner.reset();
    source.close();
    mine.clear();
    dropper.join();
    ASSERT_EQ(ends, round + 1);
  }
  EXPECT_EQ(wrong, 0);
}

// ---- the emitter's sleep -------------------------------------------------------------------------------------

class SleepingEmitter : public SourceTest {
 protected:
  // Fills all credits; the emitter then waits for one in a thread of its own.
  void fall_asleep(std::uint32_t in_flight) {
    open(in_flight);
    while (Handle message = try_acquired()) held_.push_back(std::move(message));
    std::promise<pid_t> begun;
    waiting_ = std::async(std::launch::async, [this, &begun] {
      begun.set_value(gettid());
      return source_.wait_acquire(nullptr);
    });
    emitter_ = begun.get_future().get();
  }
  // Waits until it does not give way any more, but sleeps.
  void wait_until_asleep() const {
    const std::string path = "/proc/self/task/" + std::to_string(emitter_) + "/stat";
    char state = 'R';
    while (state != 'S') {
      std::this_thread::sleep_for(1ms);
      std::ifstream stat{path};
      std::string word;
      stat >> word >> word >> state;  // the name is of the program, without spaces
    }
  }
  void expect_a_message() {
    if (waiting_.wait_for(10s) != std::future_status::ready) {
      source_.stop();
      ADD_FAILURE() << "the emitter sleeps with " << source_.in_flight_limit() - source_.live()
                    << " credits free";
    }
    if (Lease* const lease = waiting_.get()) held_.emplace_back(lease, Part::graph);
  }
  std::vector<Handle> held_;
  std::future<Lease*> waiting_;
  pid_t emitter_ = 0;
};

TEST_F(SleepingEmitter, GetsTheOnlyFreeCreditWhileTheGraphHoldsAllOthers) {
  fall_asleep(64);
  held_.pop_back();
  expect_a_message();
}

TEST_F(SleepingEmitter, GetsTheOnlyFreeCreditWhileUsersHoldAllOthers) {
  fall_asleep(64);
  for (Handle& message : held_) message.leave_graph();
  held_.pop_back();
  expect_a_message();
}

TEST_F(SleepingEmitter, GetsTheOnlyCreditThereIs) {
  fall_asleep(1);
  held_.pop_back();
  expect_a_message();
}

struct Workers final : Downstream {
  bool has_plenty() const noexcept override { return plenty; }
  std::atomic<bool> plenty{true};
};

TEST_F(SleepingEmitter, LetsCreditsGatherUntilAQuarterOfThemIsFree) {
  Workers workers;
  source_.feed({&workers});
  fall_asleep(64);
  wait_until_asleep();
  held_.resize(64 - 16);
  EXPECT_EQ(waiting_.wait_for(50ms), std::future_status::timeout);
  held_.pop_back();
  expect_a_message();
}

TEST_F(SleepingEmitter, IsWokenForWhatIsThereWhenTheWorkersRunDry) {
  Workers workers;
  source_.feed({&workers});
  fall_asleep(64);
  wait_until_asleep();
  held_.pop_back();
  EXPECT_EQ(waiting_.wait_for(50ms), std::future_status::timeout);
  workers.plenty = false;
  source_.hurry();
  expect_a_message();
}

TEST_F(SleepingEmitter, IsWokenForTheNextCreditWhenTheWorkersHaveRunDry) {
  Workers workers;
  source_.feed({&workers});
  fall_asleep(64);
  wait_until_asleep();
  workers.plenty = false;
  source_.hurry();
  held_.pop_back();
  expect_a_message();
}

TEST_F(SleepingEmitter, DoesNotWakeForAMessageThatOnlyLeavesTheGraph) {
  fall_asleep(4);
  for (Handle& message : held_) message.leave_graph();
  EXPECT_EQ(waiting_.wait_for(50ms), std::future_status::timeout);
  held_.clear();
  expect_a_message();
}

// Each message goes to one of several threads; each thread keeps some and gives back, at random, one or all.
class ContendedSource : public SourceTest, public testing::WithParamInterface<std::uint32_t> {};

TEST_P(ContendedSource, NeverGivesTooManyAndNeverSleepsWithOneFree) {
  const std::uint32_t limit = GetParam();
  constexpr std::uint64_t kAll = 100'000;
  constexpr std::size_t kThreads = 3;
  std::mt19937_64 random = random_generator();
  open(limit, 0b1);
  struct Hand {
    std::mutex mutex;
    std::condition_variable more;
    std::vector<Handle> messages;
    bool closed = false;
  };
  std::vector<Hand> hands(kThreads);
  std::vector<std::thread> threads;
  for (Hand& hand : hands) {
    threads.emplace_back([&hand, seed = random()] {
      std::mt19937_64 own{seed};
      for (;;) {
        std::vector<Handle> mine;
        {
          std::unique_lock lock{hand.mutex};
          hand.more.wait(lock, [&] { return !hand.messages.empty() || hand.closed; });
          if (hand.messages.empty()) return;
          mine.swap(hand.messages);
        }
        while (!mine.empty()) {  // all are given back before this thread waits for more
          std::swap(mine[own() % mine.size()], mine.back());
          if (own() % 2 == 0) mine.back()->root->sequencers |= 1;
          if (own() % 2 == 0) mine.back().leave_graph();
          mine.pop_back();
        }
      }
    });
  }
  for (std::uint64_t number = 0; number < kAll; ++number) {
    Lease* const lease = source_.wait_acquire(nullptr);  // a hang: it sleeps with a credit free
    EXPECT_NE(lease, nullptr);
    if (lease == nullptr) break;
    EXPECT_EQ(lease->sequence, number);
    EXPECT_LE(source_.in_graph(), limit);
    if (number % 16 == 0) source_.tell_next_credit();
    Hand& hand = hands[random() % kThreads];
    {
      const std::lock_guard lock{hand.mutex};
      hand.messages.emplace_back(lease, Part::graph);
    }
    hand.more.notify_one();
  }
  source_.finish();
  for (Hand& hand : hands) {
    {
      const std::lock_guard lock{hand.mutex};
      hand.closed = true;
    }
    hand.more.notify_one();
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(source_.live(), 0U);
  EXPECT_TRUE(source_.drained());
  EXPECT_GE(listener_.drained, 1);
  EXPECT_EQ(listener_.drained_too_early, 0);
  EXPECT_GT(listener_.credits_free, 0);
  EXPECT_LE(static_cast<std::uint64_t>(listener_.credits_free), kAll / 16);
  const std::set<std::uint64_t> unseen{listener_.left.begin(), listener_.left.end()};
  EXPECT_EQ(unseen.size(), listener_.left.size()) << "told twice of a message";
}

INSTANTIATE_TEST_SUITE_P(, ContendedSource, testing::Values(1U, 2U, 3U, 64U, 1000U));

TEST_F(SourceTest, IsSeenDrainedByWhoeverTakesTheLastMessageOrFinishes) {
  open(4);
  for (int round = 0; round < 2000; ++round) {
    Source source{0};
    Listener listener;
    source.open(listener, nullptr, std::make_unique<Store>(destroyed_), 4, 0, 0);
    Lease* const lease = source.try_acquire();
    std::thread dropper{[lease] { const Handle last{lease, Part::graph}; }};
    source.finish();
    dropper.join();
    ASSERT_GE(listener.drained, 1) << "round " << round;
    ASSERT_TRUE(source.drained());
    source.close();
  }
}

}  // namespace
}  // namespace tandem::test
