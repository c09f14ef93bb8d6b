// The shipped ring and doorbell, on a simulated memory: a scheduler runs them in all orders that the C++ memory
// model allows, within a bound, and at random beyond it. Each order and fence is taken away once, and must be
// missed. tests/model has the same protocols for a model checker.
// labels: no_asan no_tsan
// (the sanitizers do not know the scheduler's stacks)
#include <cstdint>
#include <cstring>
#include <iostream>
#include <string>

#include <tandem/doorbell.hpp>
#include <tandem/recall.hpp>
#include <tandem/replies.hpp>
#include <tandem/ring.hpp>

#include "support/scheduler.hpp"
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

Scheduler& scheduler() { return Scheduler::now(); }

template <std::uint32_t Capacity>
struct RingMemory {
  alignas(kCacheLine) std::byte bytes[ring_bytes(Capacity)] = {};
};

class InAllOrders : public TandemTest {
 protected:
  /// Explores the scene, and says how far.
  template <class Scene>
  Exploration explore(const Bounds& bounds) {
    Exploration found = Scheduler::explore<Scene>(bounds, random_generator());
    std::cout << found.executions << " executions" << (found.complete ? ", all within " : ", not all within ")
              << bounds.deviations << " deviations" << std::endl;
    return found;
  }
  template <class Scene>
  Exploration expect_right(const Bounds& bounds) {
    Exploration found = explore<Scene>(bounds);
    EXPECT_EQ(found.failure, "");
    return found;
  }
  /// Weakened, the scene must fail, with a text that holds this.
  template <class Scene>
  void expect_failure(const std::string& text) {
    const Exploration found = explore<Scene>({3, 200'000, 0});
    EXPECT_TRUE(!found.failure.empty() && found.failure.find(text) != found.failure.npos)
        << "found: " << found.failure;
  }
};

// ---- the simulated memory itself -----------------------------------------------------------------------------

using Word = SimulatedAtomic<std::uint32_t>;
constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;

struct TwoWords {
  Word x{0};
  Word y{0};
  std::uint32_t seen_x = 9;
  std::uint32_t seen_y = 9;
  TwoWords() {
    x.name("x");
    y.name("y");
  }
};

// Both store to their own word, then look at the other's.
template <class Memory>
struct StoreBuffering : TwoWords {
  StoreBuffering() {
    scheduler().thread("left", [this] {
      x.store(1, kRelaxed);
      Memory::fence();
      seen_y = y.load(kRelaxed);
    });
    scheduler().thread("right", [this] {
      y.store(1, kRelaxed);
      Memory::fence();
      seen_x = x.load(kRelaxed);
    });
  }
  void end() const {
    if (seen_x == 0 && seen_y == 0) scheduler().reach("neither saw the other");
  }
};

template <std::memory_order Store, std::memory_order Load>
struct MessagePassing : TwoWords {
  MessagePassing() {
    scheduler().thread("sender", [this] {
      x.store(1, kRelaxed);
      y.store(1, Store);
    });
    scheduler().thread("receiver", [this] {
      seen_y = y.load(Load);
      seen_x = x.load(kRelaxed);
    });
  }
  void end() const {
    if (seen_y == 1 && seen_x == 0) scheduler().reach("the flag without the message");
  }
};

struct ReadingTwice : TwoWords {
  ReadingTwice() {
    scheduler().thread("writer", [this] {
      x.store(1, kRelaxed);
      x.store(2, kRelaxed);
    });
    scheduler().thread("reader", [this] {
      const std::uint32_t first = x.load(kRelaxed);
      const std::uint32_t second = x.load(kRelaxed);
      scheduler().check(first <= second, "a word went back");
      if (first == 0 && second == 2) scheduler().reach("both ends");
    });
  }
  void end() const {}
};

// The fences of a thread in the middle carry on what it has read.
template <class Memory>
struct FencePassesOn : TwoWords {
  FencePassesOn() {
    scheduler().thread("first", [this] {
      x.store(1, kRelaxed);
      Memory::fence();
      y.store(1, kRelaxed);
    });
    scheduler().thread("second", [this] {
      seen_y = y.load(kRelaxed);
      Memory::fence();
      seen_x = x.load(kRelaxed);
    });
  }
  void end() const {
    if (seen_y == 1 && seen_x == 0) scheduler().reach("the flag without the message");
  }
};

constexpr Bounds kEverything{100, 100'000, 0};

class SimulatedMemoryOf : public InAllOrders {};

TEST_F(SimulatedMemoryOf, StoreBufferingNeedsBothFences) {
  EXPECT_EQ(explore<StoreBuffering<WithoutFences>>(kEverything).reached.size(), 1U);
  const Exploration fenced = explore<StoreBuffering<SimulatedMemory>>(kEverything);
  EXPECT_TRUE(fenced.complete);
  EXPECT_EQ(fenced.reached.size(), 0U);
}

TEST_F(SimulatedMemoryOf, MessagePassingNeedsReleaseAndAcquire) {
  EXPECT_EQ((explore<MessagePassing<kRelaxed, kAcquire>>(kEverything).reached.size()), 1U);
  EXPECT_EQ((explore<MessagePassing<kRelease, kRelaxed>>(kEverything).reached.size()), 1U);
  EXPECT_EQ((explore<MessagePassing<kRelease, kAcquire>>(kEverything).reached.size()), 0U);
}

TEST_F(SimulatedMemoryOf, MessagePassingCanDoWithFences) {
  EXPECT_EQ(explore<FencePassesOn<WithoutFences>>(kEverything).reached.size(), 1U);
  EXPECT_EQ(explore<FencePassesOn<SimulatedMemory>>(kEverything).reached.size(), 0U);
}

TEST_F(SimulatedMemoryOf, OneWordNeverGoesBack) {
  const Exploration found = expect_right<ReadingTwice>(kEverything);
  EXPECT_TRUE(found.complete);
  EXPECT_EQ(found.reached.count("both ends"), 1U);
}

// ---- the ring ------------------------------------------------------------------------------------------------

// A writer with as many credits as the ring has places, and a reader that gives them back.
template <std::uint32_t Capacity, std::uint64_t Tokens, class WriterMemory = SimulatedMemory,
          class ReaderMemory = SimulatedMemory, bool Credits = true>
struct RingScene {
  using Writer = RingWriter<Token, WriterMemory>;
  using Reader = RingReader<Token, ReaderMemory>;

  RingMemory<Capacity> memory;
  Writer writer{memory.bytes, Capacity};
  Reader reader{memory.bytes, Capacity};
  SimulatedAtomic<std::uint64_t> taken{0};

  RingScene() {
    reader.commit()->name("commit");
    taken.name("taken");
    scheduler().thread("writer", [this] { write(); });
    scheduler().thread("reader", [this] { read(); });
  }
  void write() {
    for (std::uint64_t next = 0; next < Tokens;) {
      while (Credits && next - taken.load(kAcquire) >= Capacity) scheduler().pause();
      writer.push(token_of(next++));
      if (next % 3 != 0 || next == Tokens) writer.publish();  // one or two at a time
    }
  }
  void read() {
    while (reader.head() < Tokens) {
      const std::uint64_t head = reader.head();
      Token token;
      const auto take = reader.take(token);
      scheduler().check(take != Reader::Take::broken, "the commit word is broken");
      if (take == Reader::Take::empty) {
        scheduler().pause();
        continue;
      }
      scheduler().check(is_token_of(token, head), "another token than the one that was pushed");
      taken.store(reader.head(), kRelease);
    }
  }
  void end() const { scheduler().check(!reader.ready(), "more tokens than were pushed"); }
};

class RingInAllOrders : public InAllOrders {};

TEST_F(RingInAllOrders, DeliversEachTokenOnceWholeAndInOrder) {
  expect_right<RingScene<4, 4>>({8, 100'000, 10'000});
}
TEST_F(RingInAllOrders, DeliversEachTokenOverSeveralLaps) {
  expect_right<RingScene<2, 5>>({5, 100'000, 10'000});
  expect_right<RingScene<1, 3>>({5, 100'000, 10'000});
}
TEST_F(RingInAllOrders, NeedsTheReleaseOfPublish) {
  expect_failure<RingScene<2, 3, RelaxedOrders>>("a data race");
}
TEST_F(RingInAllOrders, NeedsTheAcquireOfTake) {
  expect_failure<RingScene<2, 3, SimulatedMemory, RelaxedOrders>>("a data race");
}
TEST_F(RingInAllOrders, NeedsTheCredits) {
  expect_failure<RingScene<1, 3, SimulatedMemory, SimulatedMemory, false>>("the commit word is broken");
}

// ---- the ring of replies -------------------------------------------------------------------------------------

// Words and tokens by turns, so that in each place there is of both what the last lap left.
template <std::uint32_t Capacity, std::uint64_t Replies, class WriterMemory = SimulatedMemory,
          class ReaderMemory = SimulatedMemory>
struct RepliesScene {
  using Writer = RepliesWriter<Token, WriterMemory>;
  using Reader = RepliesReader<Token, ReaderMemory>;

  alignas(kCacheLine) std::byte memory[replies_bytes(Capacity)] = {};
  Writer writer{memory, Capacity};
  Reader reader{memory, Capacity};
  SimulatedAtomic<std::uint64_t> taken{0};

  RepliesScene() {
    taken.name("taken");
    scheduler().thread("worker", [this] { write(); });
    scheduler().thread("host", [this] { read(); });
  }
  static bool is_word(std::uint64_t number) { return number % 3 != 1; }
  static RequestNames names_of(std::uint64_t number) {
    return {1, static_cast<std::uint32_t>(number), 1, number};
  }
  void write() {
    for (std::uint64_t next = 0; next < Replies; ++next) {
      while (next - taken.load(kAcquire) >= Capacity) scheduler().pause();
      if (is_word(next)) {
        writer.push(DoneWord{names_of(next), next});
      } else {
        writer.push(token_of(next));
      }
      writer.publish();
    }
  }
  void read() {
    while (reader.head() < Replies) {
      const std::uint64_t number = reader.head();
      const auto found = reader.next();
      scheduler().check(found != Reader::Take::broken, "the commit word is broken");
      if (found == Reader::Take::empty) {
        scheduler().pause();
        continue;
      }
      const DoneWord word = reader.word();
      scheduler().check(word.tells_of(names_of(number)) == is_word(number), "a word of another request");
      if (is_word(number)) {
        scheduler().check(word.busy_nanoseconds() == number, "half of another word");
      } else {
        Token token;
        reader.read(token);
        scheduler().check(is_token_of(token, number), "another token than the one that was pushed");
      }
      taken.store(reader.head(), kRelease);
    }
  }
  void end() const { scheduler().check(!reader.ready(), "more replies than were pushed"); }
};

class RepliesInAllOrders : public InAllOrders {};

TEST_F(RepliesInAllOrders, AreEachAWordOrATokenAndNeverTheLastLaps) {
  expect_right<RepliesScene<2, 5>>({5, 100'000, 10'000});
  expect_right<RepliesScene<1, 4>>({5, 100'000, 10'000});
}
TEST_F(RepliesInAllOrders, NeedTheReleaseOfPublish) {
  expect_failure<RepliesScene<2, 4, RelaxedOrders>>("a data race");
}
TEST_F(RepliesInAllOrders, NeedTheAcquireOfTake) {
  expect_failure<RepliesScene<2, 4, SimulatedMemory, RelaxedOrders>>("a data race");
}

// ---- the ring of a writer that dies --------------------------------------------------------------------------

// The host reads while the worker writes, learns of its end, reads what it committed, and makes a new ring for
// the next one. Dead: the host waits for the pidfd.
template <bool Dead>
struct DyingWriterScene {
  static constexpr std::uint32_t kCapacity = 4;
  using Writer = RingWriter<Token, SimulatedMemory>;
  using Reader = RingReader<Token, SimulatedMemory>;

  RingMemory<kCapacity> memory;
  Writer writer{memory.bytes, kCapacity};
  Reader reader{memory.bytes, kCapacity};
  int worker;
  int next;
  std::uint64_t committed = 0;  // what has happened, in one step with the commit word
  std::uint64_t first = 0;      // of the second incarnation

  DyingWriterScene() {
    reader.commit()->name("commit");
    worker = scheduler().thread("worker", [this] { write(0); });
    scheduler().make_mortal(worker);
    scheduler().thread("host", [this] { read(); });
    next = scheduler().thread("next", [this] { write(first); });
    scheduler().make_late(next);
  }
  void write(std::uint64_t number) {
    for (int run = 1; run <= 2; ++run) {
      for (int token = 0; token < run; ++token) writer.push(token_of(number++));
      writer.publish();
      committed = number;
    }
  }
  void take_all(std::uint64_t base) {
    for (;;) {
      const std::uint64_t place = reader.head();
      Token token;
      const auto take = reader.take(token);
      scheduler().check(take != Reader::Take::broken, "the commit word is broken");
      if (take == Reader::Take::empty) return;
      scheduler().check(is_token_of(token, base + place), "another token than the one that was pushed");
    }
  }
  void read() {
    take_all(0);
    if (Dead) {
      scheduler().wait_end(worker);
      take_all(0);
      scheduler().check(reader.head() == committed, "not what was committed");
    }
    if (committed < 3) scheduler().reach("died before its last token");
    first = 100;
    writer = Writer{memory.bytes, kCapacity};
    reader = Reader{memory.bytes, kCapacity};
    reader.commit()->name("new commit");
    scheduler().start(next);
    take_all(first);
  }
  void end() {
    take_all(first);
    scheduler().check(committed == first + 3 && reader.head() == 3, "not all of the second incarnation's");
  }
};

TEST_F(RingInAllOrders, OfAWriterThatDiesHoldsExactlyWhatItCommitted) {
  const Exploration found = expect_right<DyingWriterScene<true>>({4, 100'000, 10'000});
  EXPECT_EQ(found.reached.count("died before its last token"), 1U);
}
TEST_F(RingInAllOrders, MustNotBeMadeAnewBeforeItsWriterIsGone) { expect_failure<DyingWriterScene<false>>(""); }

// ---- the doorbell --------------------------------------------------------------------------------------------

// What Worker::serve() and wait_for_requests() do, without the linger.
template <class SleeperMemory = SimulatedMemory, class BellMemory = SimulatedMemory,
          class ReaderMemory = SimulatedMemory>
struct SleepingSide {
  RingReader<Token, ReaderMemory> requests;
  FutexBell<BellMemory> bell;
  Sleeper<SleeperMemory> sleeper;

  // Returns when there may be a token.
  void wait_for_requests() {
    const std::uint32_t heard = bell.count();
    sleeper.announce();
    if (!requests.ready()) {
      bell.wait(heard);
      if (!requests.ready()) scheduler().reach("woken for nothing");
    }
    sleeper.awake();
  }
  void take(std::uint64_t number) {
    Token token;
    while (requests.take(token) != decltype(requests)::Take::token) wait_for_requests();
    scheduler().check(is_token_of(token, number), "another token than the one that was pushed");
  }
};

template <class SleeperMemory = SimulatedMemory, class RingerMemory = SimulatedMemory,
          class BellMemory = SimulatedMemory>
struct DoorbellScene {
  static constexpr std::uint32_t kCapacity = 4;
  static constexpr std::uint64_t kTokens = 3;

  RingMemory<kCapacity> memory;
  SimulatedAtomic<std::uint32_t> word{0};
  SimulatedAtomic<std::uint32_t> count{0};
  RingWriter<Token, SimulatedMemory> writer{memory.bytes, kCapacity};
  Ringer<RingerMemory> ringer{word};
  FutexBell<SimulatedMemory> bell{count};
  SleepingSide<SleeperMemory, BellMemory> side{RingReader<Token, SimulatedMemory>{memory.bytes, kCapacity},
                                               FutexBell<BellMemory>{count}, Sleeper<SleeperMemory>{word}};

  DoorbellScene() {
    side.requests.commit()->name("commit");
    word.name("sleep word");
    count.name("bell");
    scheduler().thread("ringer", [this] {
      for (std::uint64_t number = 0; number < kTokens; ++number) {
        writer.push(token_of(number));
        writer.publish();
        if (ringer.must_ring()) bell.ring();
      }
    });
    scheduler().thread("sleeper", [this] {
      for (std::uint64_t number = 0; number < kTokens; ++number) side.take(number);
    });
  }
  void end() const {}
};

class DoorbellInAllOrders : public InAllOrders {};

TEST_F(DoorbellInAllOrders, LosesNoWakeUp) {
  const Exploration found = expect_right<DoorbellScene<>>({5, 250'000, 20'000});
  EXPECT_EQ(found.reached.count("woken for nothing"), 1U);  // by a late ring, or early
}
TEST_F(DoorbellInAllOrders, NeedsTheFenceOfSleep) {
  expect_failure<DoorbellScene<WithoutFences>>("a lost wake-up");
}
TEST_F(DoorbellInAllOrders, NeedsTheFenceOfRing) {
  expect_failure<DoorbellScene<SimulatedMemory, WithoutFences>>("a lost wake-up");
}
TEST_F(DoorbellInAllOrders, NeedsABellThatLasts) {
  expect_failure<DoorbellScene<SimulatedMemory, SimulatedMemory, BareWakeUps>>("a lost wake-up");
}

// ---- requests that are taken back ----------------------------------------------------------------------------

// A worker that comes to its requests while the host takes them back, twice: the second time those that came after.
template <class WorkerMemory = SimulatedMemory, class HostMemory = SimulatedMemory>
struct RecallScene {
  static constexpr std::uint64_t kRequests = 4;
  static constexpr std::uint64_t kFirst = 2;  // those that are out at the first recall

  SimulatedAtomic<std::uint64_t> begun{0};
  SimulatedAtomic<std::uint64_t> recalled{0};
  Beginner<WorkerMemory> beginner{begun, recalled};
  Recaller<HostMemory> recaller{begun, recalled};
  bool done[kRequests] = {};
  bool taken[kRequests] = {};

  RecallScene() {
    begun.name("begun");
    recalled.name("recalled");
    scheduler().thread("worker", [this] {
      for (std::uint64_t place = 0; place < kRequests; ++place) done[place] = beginner.begin(place);
    });
    scheduler().thread("host", [this] {
      for (const std::uint64_t end : {kFirst, kRequests}) {
        for (std::uint64_t place = recaller.recall(end); place < end; ++place) taken[place] = true;
      }
    });
  }
  void end() const {
    for (std::uint64_t place = 0; place < kRequests; ++place) {
      scheduler().check(!done[place] || !taken[place], "a message is done twice");
      if (taken[place]) scheduler().reach("taken back");
      if (!taken[place] && !done[place]) scheduler().reach("declined, and comes back with the reply");
    }
  }
};

class RecallInAllOrders : public InAllOrders {};

TEST_F(RecallInAllOrders, GivesEachMessageToOneSide) {
  const Exploration found = expect_right<RecallScene<>>({8, 200'000, 20'000});
  EXPECT_EQ(found.reached.size(), 2U);
}
TEST_F(RecallInAllOrders, NeedsTheFenceOfBegin) {
  expect_failure<RecallScene<WithoutFences>>("a message is done twice");
}
TEST_F(RecallInAllOrders, NeedsTheFenceOfRecall) {
  expect_failure<RecallScene<SimulatedMemory, WithoutFences>>("a message is done twice");
}

// ---- a worker, the pump, and a thread that submits -----------------------------------------------------------

// What is shipped; weakened copies change one thing of it.
struct Shipped {
  using Leave = SimulatedMemory;
  using PumpsSleep = SimulatedMemory;
  using WorkersRing = SimulatedMemory;
  static constexpr bool kLocked = true;  // the crew's mutex, around the books
  static constexpr bool kRingsAnnounced =
      true;  // the pump rings sleepers between its announcement and its sleep
  static constexpr std::uint64_t kMessages = 1;
};

// In small, what ProcessCrew, Pump and Worker do with both rings and both bells. The first reply says that the
// worker is ready. The pump's bell is an event counter, as an eventfd is.
template <class How>
struct CrewScene {
  static constexpr std::uint32_t kCapacity = 4;
  static constexpr std::uint64_t kReplies = 1 + How::kMessages;

  RingMemory<kCapacity> request_memory;
  RingMemory<kCapacity> reply_memory;
  SimulatedAtomic<std::uint32_t> worker_word{0};
  SimulatedAtomic<std::uint32_t> worker_count{0};
  SimulatedAtomic<std::uint32_t> pump_word{0};
  std::uint32_t pump_event = 0;
  Scheduler::Mutex mutex;

  // The host's.
  std::uint64_t waiting = 0;
  RingWriter<Token, SimulatedMemory> requests{request_memory.bytes, kCapacity};
  RingReader<Token, SimulatedMemory> replies{reply_memory.bytes, kCapacity};
  Ringer<SimulatedMemory> ringer{worker_word};
  FutexBell<SimulatedMemory> bell{worker_count};
  Sleeper<typename How::PumpsSleep> pump_sleeper{pump_word};
  // The worker's.
  SleepingSide<> side{RingReader<Token, SimulatedMemory>{request_memory.bytes, kCapacity},
                      FutexBell<SimulatedMemory>{worker_count}, Sleeper<SimulatedMemory>{worker_word}};
  RingWriter<Token, SimulatedMemory> answers{reply_memory.bytes, kCapacity};
  Ringer<typename How::WorkersRing> host{pump_word};

  CrewScene() {
    side.requests.commit()->name("requests");
    replies.commit()->name("replies");
    worker_word.name("worker sleeps");
    worker_count.name("worker's bell");
    pump_word.name("pump sleeps");
    scheduler().thread("submit", [this] {
      for (std::uint64_t number = 0; number < How::kMessages; ++number) submit();
    });
    scheduler().thread("pump", [this] {
      for (drain(); replies.head() < kReplies; drain()) wait();
    });
    scheduler().thread("worker", [this] {
      reply(0);
      for (std::uint64_t number = 0; number < How::kMessages; ++number) {
        side.take(number);
        reply(1 + number);
      }
    });
  }
  void end() const {}

  void reply(std::uint64_t number) {
    answers.push(token_of(number));
    answers.publish();
    if (host.must_ring()) scheduler().ring_event(pump_event);
  }
  void lock() {
    if (How::kLocked) scheduler().lock(mutex);
  }
  void unlock() {
    if (How::kLocked) scheduler().unlock(mutex);
  }
  void submit() {
    lock();
    ++waiting;
    const bool wake = dispatch();
    unlock();
    if (wake) bell.ring();
  }
  void drain() {
    lock();
    Token token;
    while (replies.ready()) {
      const std::uint64_t number = replies.head();
      const bool taken = replies.take(token) == decltype(replies)::Take::token;
      scheduler().check(taken && is_token_of(token, number), "another reply than the one that was written");
    }
    const bool wake = dispatch();
    unlock();
    if (wake) bell.ring();
  }
  bool dispatch() {
    if (replies.head() == 0) return false;  // the worker is not ready
    for (; waiting > 0; --waiting) requests.push(token_of(requests.pushed()));
    if (!requests.publish()) return false;
    return is_asleep<typename How::Leave>(pump_word) && ringer.must_ring();
  }
  void ring_sleepers() {
    lock();
    const std::uint64_t answered = replies.head() == 0 ? 0 : replies.head() - 1;
    const bool wake = requests.pushed() != answered && ringer.must_ring();
    unlock();
    if (wake) bell.ring();
  }
  // Pump::wait(), without the linger
  void wait() {
    ring_sleepers();
    pump_sleeper.announce();
    if (How::kRingsAnnounced) ring_sleepers();
    if (!replies.ready()) scheduler().wait_event(pump_event);
    pump_sleeper.awake();
    pump_event = 0;
  }
};

struct TwoMessages : Shipped {
  static constexpr std::uint64_t kMessages = 2;
};
struct WithoutLock : Shipped {
  static constexpr bool kLocked = false;
};
struct WithoutFenceOfLeave : Shipped {
  using Leave = WithoutFences;
};
struct WithoutLockAndFenceOfLeave : WithoutLock {
  using Leave = WithoutFences;
};
struct RingsBeforeTheAnnouncement : Shipped {
  static constexpr bool kRingsAnnounced = false;
};
struct WithoutFenceOfThePumpsSleep : Shipped {
  using PumpsSleep = WithoutFences;
};
struct WithoutFenceOfTheWorkersRing : Shipped {
  using WorkersRing = WithoutFences;
};

class CrewInAllOrders : public InAllOrders {};

TEST_F(CrewInAllOrders, LeavesNoRequestAndNoReply) {
  expect_right<CrewScene<Shipped>>({3, 150'000, 10'000});
  expect_right<CrewScene<TwoMessages>>({3, 100'000, 10'000});
}
// The fence of LEAVE and the crew's mutex: each would do.
TEST_F(CrewInAllOrders, LeavesNoRequestWithTheFenceOfLeaveAlone) {
  expect_right<CrewScene<WithoutLock>>({2, 100'000, 10'000});
}
TEST_F(CrewInAllOrders, LeavesNoRequestWithTheMutexAlone) {
  expect_right<CrewScene<WithoutFenceOfLeave>>({2, 100'000, 10'000});
}
TEST_F(CrewInAllOrders, NeedsTheFenceOfLeaveOrTheMutex) {
  expect_failure<CrewScene<WithoutLockAndFenceOfLeave>>("a lost wake-up");
}
TEST_F(CrewInAllOrders, NeedsThePumpToRingAfterItsAnnouncement) {
  expect_failure<CrewScene<RingsBeforeTheAnnouncement>>("a lost wake-up");
}
TEST_F(CrewInAllOrders, NeedsTheFenceOfThePumpsSleep) {
  expect_failure<CrewScene<WithoutFenceOfThePumpsSleep>>("a lost wake-up");
}
TEST_F(CrewInAllOrders, NeedsTheFenceOfTheWorkersRing) {
  expect_failure<CrewScene<WithoutFenceOfTheWorkersRing>>("a lost wake-up");
}

}  // namespace
}  // namespace tandem::test
