// A worker process that writes nonsense over all that it may write of the channel to its host. The host kills and
// replaces it; its message is tried again and then becomes an error that says so; all others are delivered once,
// in order. A reply counts from the moment when its commit word is stored, and not before.
// labels: no_tsan
#include <signal.h>
#include <unistd.h>

#include <cstddef>
#include <functional>
#include <limits>
#include <ostream>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "support/line.hpp"
#include "support/reply_area.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

constexpr std::uint64_t kAll = 60;
constexpr std::uint64_t kBad = 33;
constexpr std::uint32_t kInFlight = 14;

struct Out {
  std::uint64_t value;
  std::uint64_t square;
  int attempt;
};
Out honest(const Number& in, const Context& context) {
  return {in.value, in.value * in.value, context.attempt()};
}

// The host must see it, wherever it is; what it sees costs this process its life.
[[noreturn]] void wait_for_the_end() {
  ReplyArea::ring_host();
  for (;;) pause();
}
[[noreturn]] void die() {
  kill(getpid(), SIGKILL);
  _exit(1);
}

using Reply = ReplyToken;
DoneWord word_of(const Reply& reply) {
  return {{reply.incarnation, reply.block, reply.generation, reply.sequence}, 1};
}
void send(const ReplyArea& area, const Reply& reply) {
  const std::uint64_t next = area.commit();
  std::memcpy(area.place(next), &reply, sizeof reply);
  area.show(next + 1);
}

// ---- one field of one reply out of range ---------------------------------------------------------------------

struct Lie {
  const char* name;
  void (*tell)(Reply& reply);
};
void PrintTo(const Lie& lie, std::ostream* out) { *out << lie.name; }

constexpr std::uint32_t kMost32 = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint64_t kMost64 = std::numeric_limits<std::uint64_t>::max();

const Lie kLies[] = {
    {"KindZero", [](Reply& reply) { reply.kind = ReplyKind{0}; }},
    {"KindReadyAgain", [](Reply& reply) { reply.kind = ReplyKind::ready; }},
    {"KindStartFailedLate", [](Reply& reply) { reply.kind = ReplyKind::start_failed; }},
    {"KindDeclinedAndNotRecalled", [](Reply& reply) { reply.kind = ReplyKind::declined; }},
    {"KindGrowWithoutArrays", [](Reply& reply) { reply.kind = ReplyKind::grow; }},
    {"KindOnePastTheLast", [](Reply& reply) { reply.kind = ReplyKind{7}; }},
    {"KindMost", [](Reply& reply) { reply.kind = ReplyKind{kMost32}; }},
    {"IncarnationNext", [](Reply& reply) { ++reply.incarnation; }},
    {"IncarnationLast", [](Reply& reply) { --reply.incarnation; }},
    {"IncarnationMost", [](Reply& reply) { reply.incarnation = kMost32; }},
    {"BlockOfAnother", [](Reply& reply) { reply.block = (reply.block + 1) % kInFlight; }},
    {"BlockOnePastTheLast", [](Reply& reply) { reply.block = 2 * kInFlight; }},  // of two areas
    {"BlockMost", [](Reply& reply) { reply.block = kMost32; }},
    {"GenerationStale", [](Reply& reply) { --reply.generation; }},
    {"GenerationNext", [](Reply& reply) { ++reply.generation; }},
    {"GenerationMost", [](Reply& reply) { reply.generation = kMost32; }},
    {"MessageBefore", [](Reply& reply) { --reply.sequence; }},
    {"MessageAfter", [](Reply& reply) { ++reply.sequence; }},
    {"MessageMost", [](Reply& reply) { reply.sequence = kMost64; }},
    {"AllZero", [](Reply& reply) { std::memset(static_cast<void*>(&reply), 0, sizeof reply); }},
    {"AllOnes", [](Reply& reply) { std::memset(static_cast<void*>(&reply), 0xFF, sizeof reply); }},
};

class NonsenseTest : public TandemTest {
 protected:
  static Config config(int workers, const Settings& more = {}) {
    Settings settings{{"in_flight", std::to_string(kInFlight)}, {"node.work.attempts", "2"}};
    settings.insert(settings.end(), more.begin(), more.end());
    return placed({"process", workers}, {"work"}, settings);
  }
  static void expect_honest(const Line<Out>::Outcome& outcome, std::uint64_t number, int attempt) {
    ASSERT_EQ(outcome.sequence, number);
    ASSERT_TRUE(outcome.value) << outcome.failure->reason;
    ASSERT_EQ(outcome.value->value, number);
    ASSERT_EQ(outcome.value->square, number * number);
    ASSERT_EQ(outcome.value->attempt, attempt);
  }
  static void expect_only_bad_fails(const std::vector<Line<Out>::Outcome>& outcomes) {
    ASSERT_EQ(outcomes.size(), kAll);
    for (std::uint64_t number = 0; number < kAll; ++number) {
      if (number != kBad) expect_honest(outcomes[number], number, 1);
    }
    ASSERT_EQ(outcomes[kBad].sequence, kBad);
    ASSERT_TRUE(outcomes[kBad].failure);
    EXPECT_EQ(outcomes[kBad].failure->attempt, 2);
    EXPECT_NE(outcomes[kBad].failure->reason.find("wrote nonsense"), std::string::npos)
        << outcomes[kBad].failure->reason;
  }
};

class Nonsense : public NonsenseTest, public testing::WithParamInterface<std::tuple<Lie, int>> {};

TEST_P(Nonsense, InAReplyIsAnErrorAfterAllAttempts) {
  const auto& [lie, workers] = GetParam();
  Line<Out> line{config(workers), CountTo{kAll}, [tell = lie.tell](const Number& in, Context& context) {
                   if (in.value == kBad) {
                     const ReplyArea area{kInFlight};
                     Reply reply = area.honest_reply();
                     tell(reply);
                     send(area, reply);
                     wait_for_the_end();
                   }
                   return honest(in, context);
                 }};
  expect_only_bad_fails(line.take_all());
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

TEST_P(Nonsense, InAReplyCostsOneAttempt) {
  const auto& [lie, workers] = GetParam();
  Line<Out> line{config(workers), CountTo{kAll}, [tell = lie.tell](const Number& in, Context& context) {
                   if (in.value == kBad && context.attempt() == 1) {
                     const ReplyArea area{kInFlight};
                     Reply reply = area.honest_reply();
                     tell(reply);
                     send(area, reply);
                     wait_for_the_end();
                   }
                   return honest(in, context);
                 }};
  const auto outcomes = line.take_all();
  ASSERT_EQ(outcomes.size(), kAll);
  for (std::uint64_t number = 0; number < kAll; ++number) {
    expect_honest(outcomes[number], number, number == kBad ? 2 : 1);
  }
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

TEST_P(Nonsense, OfAWorkerThatIsGoneAlreadyIsRefusedToo) {
  const auto& [lie, workers] = GetParam();
  Line<Out> line{config(workers), CountTo{kAll}, [tell = lie.tell](const Number& in, Context& context) {
                   if (in.value == kBad) {
                     const ReplyArea area{kInFlight};
                     Reply reply = area.honest_reply();
                     tell(reply);
                     send(area, reply);
                     die();
                   }
                   return honest(in, context);
                 }};
  expect_only_bad_fails(line.take_all());
}

INSTANTIATE_TEST_SUITE_P(, Nonsense, testing::Combine(testing::ValuesIn(kLies), testing::Values(1, 2)),
                         [](const auto& case_info) {
                           return std::string{std::get<0>(case_info.param).name} + "_" +
                                  std::to_string(std::get<1>(case_info.param));
                         });

// ---- a word that says of another request that it is done ----------------------------------------------------

class NonsenseWord : public NonsenseTest, public testing::WithParamInterface<int> {};

TEST_P(NonsenseWord, IsNoReply) {
  Line<Out> line{config(2), CountTo{kAll}, [part = GetParam()](const Number& in, Context& context) {
                   if (in.value == kBad) {
                     const ReplyArea area{kInFlight};
                     const Reply reply = area.honest_reply();
                     RequestNames names{reply.incarnation, reply.block, reply.generation, reply.sequence};
                     if (part == 0) ++names.incarnation;
                     if (part == 1) ++names.block;
                     if (part == 2) --names.generation;
                     if (part == 3) --names.sequence;
                     const DoneWord word{names, 1};
                     const std::uint64_t next = area.commit();
                     std::memcpy(area.word(next), &word, sizeof word);
                     area.show(next + 1);
                     wait_for_the_end();
                   }
                   return honest(in, context);
                 }};
  expect_only_bad_fails(line.take_all());
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}
INSTANTIATE_TEST_SUITE_P(, NonsenseWord, testing::Range(0, 4));

// ---- fields that are hints or texts --------------------------------------------------------------------------

class NonsenseHints : public NonsenseTest {};

TEST_F(NonsenseHints, OfATextsLengthGiveNoMoreThanTheTextsPlace) {
  for (const std::uint32_t bytes : {0U, 255U, 256U, 257U, 4096U, 0x80000000U, kMost32}) {
    Line<Out> line{config(2), CountTo{kAll}, [bytes](const Number& in, Context& context) {
                     if (in.value == kBad) {
                       const ReplyArea area{kInFlight};
                       Reply reply = area.honest_reply();
                       reply.kind = ReplyKind::failed;
                       reply.text_bytes = bytes;
                       send(area, reply);
                       die();
                     }
                     return honest(in, context);
                   }};
    const auto outcomes = line.take_all();
    ASSERT_EQ(outcomes.size(), kAll);
    ASSERT_TRUE(outcomes[kBad].failure) << bytes;
    EXPECT_EQ(outcomes[kBad].failure->attempt, 1) << bytes;
    EXPECT_LE(outcomes[kBad].failure->reason.size(), std::min<std::size_t>(bytes, ChannelLayout::kTextBytes));
  }
}

TEST_F(NonsenseHints, OfATextCannotSteerATerminal) {
  Line<Out> line{config(2), CountTo{kAll}, [](const Number& in, Context& context) {
                   if (in.value == kBad) {
                     const ReplyArea area{kInFlight};
                     Reply reply = area.honest_reply();
                     reply.kind = ReplyKind::failed;
                     reply.text_bytes = 256;
                     for (std::byte* at = area.text(0); at < area.area() + area.bytes(); ++at)  // of all places
                       *at = static_cast<std::byte>(at - area.area());
                     send(area, reply);
                     die();
                   }
                   return honest(in, context);
                 }};
  const auto outcomes = line.take_all();
  ASSERT_EQ(outcomes.size(), kAll);
  ASSERT_TRUE(outcomes[kBad].failure);
  for (const char letter : outcomes[kBad].failure->reason) {
    EXPECT_TRUE(letter == '\n' || letter == '\t' ||
                (static_cast<unsigned char>(letter) >= 0x20 && letter != 0x7F))
        << static_cast<int>(letter);
  }
}

TEST_F(NonsenseHints, OfTheTimeDoNotStarveOrOverrunTheWorker) {
  for (const std::uint64_t busy_time : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 63, kMost64}) {
    Line<Out> line{config(2), CountTo{2000}, [busy_time](const Number& in, Context& context) {
                     if (in.value % 100 == 50 && context.attempt() == 1) {
                       const ReplyArea area{kInFlight};
                       Reply reply = area.honest_reply();
                       reply.busy_nanoseconds = busy_time;
                       reply.kind = ReplyKind::failed;
                       send(area, reply);
                       die();
                     }
                     return honest(in, context);
                   }};
    const auto outcomes = line.take_all();
    ASSERT_EQ(outcomes.size(), 2000U);
    for (std::uint64_t number = 0; number < 2000; ++number) {
      ASSERT_EQ(outcomes[number].sequence, number);
      ASSERT_EQ(outcomes[number].failure.has_value(), number % 100 == 50) << number;
    }
  }
}

// ---- the commit word -----------------------------------------------------------------------------------------

struct Commit {
  const char* name;
  std::uint64_t (*value)(std::uint64_t honest, std::uint32_t capacity);
};
void PrintTo(const Commit& commit, std::ostream* out) { *out << commit.name; }

const Commit kCommits[] = {
    {"Zero", [](std::uint64_t, std::uint32_t) { return std::uint64_t{0}; }},
    {"Most", [](std::uint64_t, std::uint32_t) { return kMost64; }},
    {"Half", [](std::uint64_t, std::uint32_t) { return std::uint64_t{1} << 63; }},
    {"AllNewButOne", [](std::uint64_t honest, std::uint32_t capacity) { return honest + capacity - 1; }},
    {"AllNew", [](std::uint64_t honest, std::uint32_t capacity) { return honest + capacity; }},
    {"OneMoreThanTheRing", [](std::uint64_t honest, std::uint32_t capacity) { return honest + capacity + 1; }},
    {"ALap", [](std::uint64_t honest, std::uint32_t capacity) { return honest + 2 * capacity; }},
    {"WrongHalf", [](std::uint64_t honest, std::uint32_t) { return honest << 32; }},
};

class NonsenseCommit : public TandemTest, public testing::WithParamInterface<Commit> {};

TEST_P(NonsenseCommit, WordIsRefused) {
  Line<Out> line{
      placed({"process", 2}, {"work"}, {{"in_flight", std::to_string(kInFlight)}, {"node.work.attempts", "2"}}),
      CountTo{kAll}, [value = GetParam().value](const Number& in, Context& context) {
        if (in.value == kBad) {
          const ReplyArea area{kInFlight};
          // Its earlier replies shall be read by then: what nobody read is lost with the word.
          if (!area.let_host_look()) _exit(1);
          area.show(value(area.commit(), area.capacity()));
          wait_for_the_end();
        }
        return honest(in, context);
      }};
  const auto outcomes = line.take_all();
  ASSERT_EQ(outcomes.size(), kAll);
  for (std::uint64_t number = 0; number < kAll; ++number) {
    ASSERT_EQ(outcomes[number].sequence, number);
    ASSERT_EQ(outcomes[number].value.has_value(), number != kBad) << number;
  }
  EXPECT_NE(outcomes[kBad].failure->reason.find("wrote nonsense"), std::string::npos)
      << outcomes[kBad].failure->reason;
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

INSTANTIATE_TEST_SUITE_P(, NonsenseCommit, testing::ValuesIn(kCommits),
                         [](const auto& case_info) { return std::string{case_info.param.name}; });

// With one message in flight the host has read each reply before the worker gets the next request.
TEST_F(NonsenseHints, OfACommitWordOneBackAreRefused) {
  Line<Out> line{placed({"process", 1}, {"work"}, {{"in_flight", "1"}, {"node.work.attempts", "2"}}),
                 CountTo{kAll}, [](const Number& in, Context& context) {
                   if (in.value == kBad) {
                     const ReplyArea area{1};
                     area.show(area.commit() - 1);
                     wait_for_the_end();
                   }
                   return honest(in, context);
                 }};
  expect_only_bad_fails(line.take_all());
}

TEST_F(NonsenseHints, OfAReplyToNoRequestAreRefused) {
  Line<Out> line{config(1), CountTo{kAll}, [](const Number& in, Context& context) {
                   if (in.value == kAll - 1) {  // the last one: the worker has no other request
                     const ReplyArea area{kInFlight};
                     const Reply reply = area.honest_reply();
                     const std::uint64_t next = area.commit();
                     std::memcpy(area.place(next), &reply, sizeof reply);
                     std::memcpy(area.place(next + 1), &reply, sizeof reply);
                     area.show(next + 2);
                     wait_for_the_end();
                   }
                   return honest(in, context);
                 }};
  const auto outcomes = line.take_all();
  ASSERT_EQ(outcomes.size(), kAll);
  // The first of the two is a true reply, as far as anybody can tell: its output is suspect, nothing else is.
  EXPECT_EQ(outcomes.back().sequence, kAll - 1);
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

// ---- nonsense before the first message -----------------------------------------------------------------------

struct LiesAtItsStart {
  void (*write)(const ReplyArea& area);
  std::atomic<int>* starts;
  int liars;
  void start() {
    if (starts->fetch_add(1) >= liars) return;
    write(ReplyArea{kInFlight});
    wait_for_the_end();
  }
  Out operator()(const Number& in, Context& context) { return honest(in, context); }
};

void write_a_reply_first(const ReplyArea& area) { area.show(1); }
void write_broken_commit(const ReplyArea& area) { area.show(kMost64); }

TEST_F(NonsenseHints, AtTheFirstStartAreMadeGood) {
  for (const auto write : {write_a_reply_first, write_broken_commit}) {
    Shared<std::atomic<int>> starts{0};
    Line<Out> line{config(2), CountTo{kAll}, LiesAtItsStart{write, starts.get(), 1}};
    const auto outcomes = line.take_all();
    ASSERT_EQ(outcomes.size(), kAll);
    for (std::uint64_t number = 0; number < kAll; ++number) expect_honest(outcomes[number], number, 1);
  }
}

TEST_F(NonsenseHints, AtEveryStartFailEachMessage) {
  for (const auto write : {write_a_reply_first, write_broken_commit}) {
    Shared<std::atomic<int>> starts{0};
    Line<Out> line{config(2), CountTo{kAll}, LiesAtItsStart{write, starts.get(), 1000}};
    const auto outcomes = line.take_all();
    ASSERT_EQ(outcomes.size(), kAll);
    for (const auto& outcome : outcomes) {
      ASSERT_TRUE(outcome.failure);
      EXPECT_NE(outcome.failure->reason.find("wrote nonsense"), std::string::npos) << outcome.failure->reason;
    }
  }
}

// ---- half-written tokens -------------------------------------------------------------------------------------

class HalfWrittenToken : public TandemTest, public testing::WithParamInterface<std::size_t> {
 protected:
  static void write_part(const ReplyArea& area, std::size_t bytes) {
    Reply reply = area.honest_reply();
    reply.kind = ReplyKind::failed;
    reply.text_bytes = 5;
    std::memcpy(area.place(area.commit()), &reply, bytes);
  }
  static Config config() {
    return placed({"process", 1}, {"work"}, {{"in_flight", std::to_string(kInFlight)}});
  }
};

TEST_P(HalfWrittenToken, IsNotSeen) {
  struct Looked {
    std::uint64_t value;
    bool host_looked;
  };
  Line<Looked> line{config(), CountTo{kAll}, [bytes = GetParam()](const Number& in) {
                      if (in.value != kBad) return Looked{in.value, true};
                      const ReplyArea area{kInFlight};
                      write_part(area, bytes);
                      return Looked{in.value, area.let_host_look()};
                    }};
  const auto outcomes = line.take_all();
  ASSERT_EQ(outcomes.size(), kAll);
  for (std::uint64_t number = 0; number < kAll; ++number) {
    ASSERT_TRUE(outcomes[number].value) << outcomes[number].failure->reason;
    ASSERT_EQ(outcomes[number].value->value, number);
    ASSERT_TRUE(outcomes[number].value->host_looked);
  }
}

TEST_P(HalfWrittenToken, OfADeadWorkerHasNotHappened) {
  Line<Out> line{config(), CountTo{kAll}, [bytes = GetParam()](const Number& in, Context& context) {
                   if (in.value == kBad && context.attempt() == 1) {
                     write_part(ReplyArea{kInFlight}, bytes);
                     die();
                   }
                   return honest(in, context);
                 }};
  const auto outcomes = line.take_all();
  ASSERT_EQ(outcomes.size(), kAll);
  for (std::uint64_t number = 0; number < kAll; ++number) {
    ASSERT_TRUE(outcomes[number].value) << outcomes[number].failure->reason;
    ASSERT_EQ(outcomes[number].value->attempt, number == kBad ? 2 : 1);
  }
}

INSTANTIATE_TEST_SUITE_P(, HalfWrittenToken, testing::Values(1, 4, 8, 31, 32, 63, 64));

class CommittedReply : public NonsenseTest {
 protected:
  // lost: the last digit of those that a worker died in; -1: of none. Whoever died right after its reply had a 3.
  static void expect_all(Line<Out>& line, int lost) {
    const auto outcomes = line.take_all();
    ASSERT_EQ(outcomes.size(), kAll);
    for (std::uint64_t number = 0; number < kAll; ++number) {
      const int digit = static_cast<int>(number % 10);
      // The next one may have been begun, as far as the host can tell: it loses an attempt.
      const bool next_to_a_death = digit == 4 && outcomes[number].value && outcomes[number].value->attempt == 2;
      expect_honest(outcomes[number], number, next_to_a_death || digit == lost ? 2 : 1);
    }
  }
};

TEST_F(CommittedReply, CountsThoughItsWriterDiesAtOnce) {
  Line<Out> line{config(1), CountTo{kAll}, [](const Number& in, Out& out, Context& context) {
                   out = honest(in, context);
                   if (in.value % 10 != 3) return;
                   const ReplyArea area{kInFlight};
                   send(area, area.honest_reply());
                   die();
                 }};
  expect_all(line, -1);
}

// And without the commit word it has not happened.
TEST_F(CommittedReply, CountsThoughItIsAWord) {
  Line<Out> line{config(1), CountTo{kAll}, [](const Number& in, Out& out, Context& context) {
                   out = honest(in, context);
                   const bool dies = in.value % 10 == 3 || (in.value % 10 == 7 && context.attempt() == 1);
                   if (!dies) return;
                   const ReplyArea area{kInFlight};
                   const std::uint64_t next = area.commit();
                   const DoneWord word = word_of(area.honest_reply());
                   std::memcpy(area.word(next), &word, sizeof word);
                   if (in.value % 10 == 3) area.show(next + 1);
                   die();
                 }};
  expect_all(line, 7);
}

// One byte of an honest word: the time is a hint, and the rest is what it is about.
TEST_F(CommittedReply, OfWhichAByteIsAnotherIsRefusedOrObeyed) {
  for (std::size_t at = 0; at < sizeof(DoneWord); ++at) {
    Line<Out> line{config(2), CountTo{kAll}, [at](const Number& in, Out& out, Context& context) {
                     out = honest(in, context);
                     if (in.value != kBad || context.attempt() > 1) return;
                     const ReplyArea area{kInFlight};
                     const std::uint64_t next = area.commit();
                     DoneWord word = word_of(area.honest_reply());
                     reinterpret_cast<std::byte*>(&word)[at] ^= std::byte{0x55};
                     std::memcpy(area.word(next), &word, sizeof word);
                     area.show(next + 1);
                     die();
                   }};
    const auto outcomes = line.take_all();
    ASSERT_EQ(outcomes.size(), kAll);
    ASSERT_TRUE(outcomes[kBad].value) << outcomes[kBad].failure->reason;
    EXPECT_EQ(outcomes[kBad].value->attempt, at < 4 ? 1 : 2) << at;
  }
}

// ---- random nonsense -----------------------------------------------------------------------------------------

enum class Afterwards { returns, dies, waits };

// What a message's attempt does; the same in the worker and in the test.
struct Plan {
  bool scribbles;
  Afterwards afterwards;
};
Plan plan_of(std::uint64_t seed, std::uint64_t number, int attempt) {
  std::mt19937_64 random{seed + number * 8 + static_cast<std::uint64_t>(attempt)};
  random.discard(3);
  return {random() % 3 == 0, Afterwards{static_cast<int>(random() % 3)}};
}

class RandomNonsense : public TandemTest {
 protected:
  // Scribbles by `scribble`. A message ends as an error only if it scribbled at both of its attempts: not because
  // another scribbled over its reply before the host had read that.
  template <class Scribble>
  static void run(std::uint64_t seed, Scribble scribble) {
    constexpr std::uint64_t kRounds = 400;
    Line<Out> line{placed({"process", 2}, {"work"},
                          {{"in_flight", std::to_string(kInFlight)}, {"node.work.attempts", "2"}}),
                   CountTo{kRounds}, [seed, scribble](const Number& in, Out& out, Context& context) {
                     out = honest(in, context);
                     const Plan plan = plan_of(seed, in.value, context.attempt());
                     if (!plan.scribbles) return;
                     std::mt19937_64 random{seed ^ (in.value * 2654435761U)};
                     scribble(ReplyArea{kInFlight}, random);
                     if (plan.afterwards == Afterwards::dies) die();
                     if (plan.afterwards == Afterwards::waits) wait_for_the_end();
                   }};
    const auto outcomes = line.take_all();
    ASSERT_EQ(outcomes.size(), kRounds);
    std::uint64_t errors = 0;
    for (std::uint64_t number = 0; number < kRounds; ++number) {
      ASSERT_EQ(outcomes[number].sequence, number);
      if (!outcomes[number].value) {
        ++errors;
        ASSERT_TRUE(plan_of(seed, number, 1).scribbles && plan_of(seed, number, 2).scribbles) << number;
        continue;
      }
      ASSERT_EQ(outcomes[number].value->value, number);
      ASSERT_EQ(outcomes[number].value->square, number * number);
    }
    EXPECT_GT(errors, 0U);
    EXPECT_EQ(line.runtime.lent_blocks(), 0U);
  }
};

TEST_F(RandomNonsense, OverTheWholeReplyAreaIsSurvived) {
  run(random_generator()(), [](const ReplyArea& area, std::mt19937_64& random) {
    for (std::size_t at = 0; at < area.bytes(); at += sizeof(std::uint64_t)) {
      const std::uint64_t bytes = random();
      std::memcpy(area.area() + at, &bytes, sizeof bytes);
    }
  });
}

TEST_F(RandomNonsense, InAFewBytesOfTheReplyAreaIsSurvived) {
  run(random_generator()(), [](const ReplyArea& area, std::mt19937_64& random) {
    for (std::uint64_t times = 1 + random() % 64; times > 0; --times) {
      area.area()[kCacheLine + random() % (area.bytes() - kCacheLine)] = static_cast<std::byte>(random());
    }
    area.commit() = random();  // so that the host notices, and a worker that waits comes to its end
  });
}

TEST_F(RandomNonsense, OverTheRingWithARightCommitWordIsSurvived) {
  run(random_generator()(), [](const ReplyArea& area, std::mt19937_64& random) {
    const std::uint64_t next = area.commit();
    for (std::size_t at = 0; at < area.capacity() * sizeof(Reply); at += sizeof(std::uint64_t)) {
      const std::uint64_t bytes = random();
      std::memcpy(area.place(0) + at, &bytes, sizeof bytes);
    }
    for (std::uint64_t number = 0; number < area.capacity(); ++number) {
      const std::uint64_t bytes = random();
      std::memcpy(area.word(number), &bytes, sizeof bytes);
    }
    area.show(next + 1 + random() % area.capacity());
  });
}

// One byte of a message's first reply; the same in the worker and in the test.
struct Strike {
  bool falls;
  std::size_t at;
  std::byte value;
  bool makes(std::size_t place, unsigned byte) const {
    return falls && at == place && value == std::byte(byte);
  }
};
Strike strike_of(std::uint64_t seed, std::uint64_t number) {
  std::mt19937_64 random{seed + number};
  Strike strike{random() % 2 == 1, random() % sizeof(Reply), static_cast<std::byte>(random())};
  // Words that an honest body may say too, and the host obeys: the end of the run is none of this test's.
  if (strike.at == offsetof(Reply, stop)) strike.value |= std::byte{2};
  return strike;
}

class NonsenseInOneByte : public RandomNonsense {
 protected:
  static void run(std::uint64_t seed) {
    constexpr std::uint64_t kRounds = 400;
    Line<Out> line{placed({"process", 2}, {"work"},
                          {{"in_flight", std::to_string(kInFlight)}, {"node.work.attempts", "100"}}),
                   CountTo{kRounds}, [seed](const Number& in, Out& out, Context& context) {
                     out = honest(in, context);
                     const Strike strike = strike_of(seed, in.value);
                     if (!strike.falls || context.attempt() > 1) return;
                     const ReplyArea area{kInFlight};
                     Reply reply = area.honest_reply();
                     reinterpret_cast<std::byte*>(&reply)[strike.at] = strike.value;
                     send(area, reply);
                     die();
                   }};
    std::uint64_t number = 0;
    const auto outcomes = line.take_all();
    for (const auto& outcome : outcomes) {
      // A message that its body skips is not delivered, and no other is missing.
      while (number < outcome.sequence) expect_skipped(seed, number++);
      ASSERT_EQ(outcome.sequence, number);
      if (outcome.failure) {
        ASSERT_TRUE(strike_of(seed, number).makes(offsetof(Reply, kind), 4)) << "only `done` becomes `failed`";
        ASSERT_EQ(outcome.failure->reason, "");
      } else {
        ASSERT_EQ(outcome.value->value, number);
        ASSERT_EQ(outcome.value->square, number * number);
      }
      ++number;
    }
    while (number < kRounds) expect_skipped(seed, number++);
    EXPECT_EQ(line.runtime.lent_blocks(), 0U);
  }

 private:
  static void expect_skipped(std::uint64_t seed, std::uint64_t number) {
    ASSERT_TRUE(strike_of(seed, number).makes(offsetof(Reply, skip), 1)) << number << " is missing";
  }
};

TEST_F(NonsenseInOneByte, OfAnHonestReplyIsSurvived) { run(random_generator()()); }

TEST_F(NonsenseInOneByte, ThatSkipsTheMessageIsObeyed) {
  std::uint64_t seed = 0;
  const auto skips = [&seed] {
    for (std::uint64_t number = 0; number < 400; ++number) {
      if (strike_of(seed, number).makes(offsetof(Reply, skip), 1)) return true;
    }
    return false;
  };
  while (!skips()) seed += 400;
  run(seed);
}

TEST_F(NonsenseInOneByte, ThatEndsTheRunIsObeyed) {
  Line<Out> line{placed({"process", 2}, {"work"}, {{"in_flight", std::to_string(kInFlight)}}), CountForEver{},
                 [](const Number& in, Out& out, Context& context) {
                   out = honest(in, context);
                   if (in.value != kBad || context.attempt() > 1) return;
                   const ReplyArea area{kInFlight};
                   Reply reply = area.honest_reply();
                   reply.stop = 1;
                   send(area, reply);
                   die();
                 }};
  const auto outcomes = line.take_all();
  EXPECT_LE(outcomes.size(), kBad + 2 * kInFlight);
  for (std::uint64_t number = 0; number < outcomes.size(); ++number)
    ASSERT_EQ(outcomes[number].sequence, number);
  line.runtime.stop();
  EXPECT_EQ(line.runtime.live_messages(), 0U);
}

}  // namespace
}  // namespace tandem::test
