// A worker process that dies: its message is tried again, up to `attempts`, then it becomes an error that says
// how; all others are delivered once, in order.
// labels: no_tsan
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <ostream>
#include <string>
#include <thread>
#include <tuple>

#include <gmock/gmock.h>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

constexpr std::uint64_t kAll = 80;
constexpr std::uint64_t kDeadly = 33;

struct Death {
  const char* name;
  void (*die)();
  const char* reason;
};
void PrintTo(const Death& death, std::ostream* out) { *out << death.name; }

// What a crash leaves on standard error and on the disk is no part of these tests.
void die_by(int signal) {
  ::signal(signal, SIG_DFL);
  raise(signal);
}

const Death kDeaths[] = {
    {"UnderscoreExit", [] { _exit(3); }, "exited with status 3"},
    {"Exit", [] { std::exit(3); }, "exited with status 3"},
    {"ExitZero", [] { std::exit(0); }, "exited with status 0"},
    {"Abort", [] { die_by(SIGABRT); }, "killed by signal 6 (SIGABRT)"},
    {"Segfault", [] { die_by(SIGSEGV); }, "killed by signal 11 (SIGSEGV)"},
    {"Kill", [] { kill(getpid(), SIGKILL); }, "killed by signal 9 (SIGKILL)"},
    {"Sigterm", [] { die_by(SIGTERM); }, "killed by signal 15 (SIGTERM)"},
    {"Terminate", [] { std::terminate(); }, "killed by signal 6 (SIGABRT)"},
};

class WorkerDeath : public TandemTest, public testing::WithParamInterface<std::tuple<Death, Place>> {
 protected:
  const Death& death() const { return std::get<0>(GetParam()); }
  Config config(const Settings& settings = {}) const {
    return placed(std::get<1>(GetParam()), {"work"}, settings);
  }
};

TEST_P(WorkerDeath, OnceIsFollowedByASecondAttempt) {
  struct Out {
    std::uint64_t value;
    int attempt;
  };
  Line<Out> line{config(), CountTo{kAll}, [die = death().die](const Number& in, Context& context) {
                   if (in.value == kDeadly && context.attempt() == 1) die();
                   return Out{in.value, context.attempt()};
                 }};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item->value, next);
    ASSERT_EQ(item->attempt, next == kDeadly ? 2 : 1);
    ASSERT_EQ(item.attempt(), item->attempt);
    ++next;
  }
  EXPECT_EQ(next, kAll);
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

TEST_P(WorkerDeath, EachTimeIsAnErrorAfterAllAttempts) {
  Shared<std::atomic<int>> deaths{0};
  Line<Number> line{config({{"node.work.attempts", "4"}}), CountTo{kAll},
                    [die = death().die, deaths = deaths.get()](const Number& in) {
                      if (in.value == kDeadly) {
                        ++*deaths;
                        die();
                      }
                      return in;
                    }};
  const auto outcomes = line.take_all();

  ASSERT_EQ(outcomes.size(), kAll);
  for (std::uint64_t next = 0; next < kAll; ++next) {
    ASSERT_EQ(outcomes[next].sequence, next);
    ASSERT_EQ(outcomes[next].value.has_value(), next != kDeadly);
  }
  const Failure& failure = *outcomes[kDeadly].failure;
  EXPECT_EQ(failure.node, "work");
  EXPECT_EQ(failure.attempt, 4);
  EXPECT_EQ(failure.reason, death().reason);
  EXPECT_EQ(deaths->load(), 4);
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

TEST_P(WorkerDeath, OfTheOnlyAttemptIsAnErrorAtOnce) {
  Line<Number> line{config({{"node.work.attempts", "1"}}), CountTo{kAll},
                    [die = death().die](const Number& in) {
                      if (in.value == kDeadly) die();
                      return in;
                    }};
  const auto outcomes = line.take_all();
  ASSERT_EQ(outcomes.size(), kAll);
  ASSERT_TRUE(outcomes[kDeadly].failure);
  EXPECT_EQ(outcomes[kDeadly].failure->attempt, 1);
  EXPECT_EQ(outcomes[kDeadly].failure->reason, death().reason);
}

INSTANTIATE_TEST_SUITE_P(, WorkerDeath,
                         testing::Combine(testing::ValuesIn(kDeaths),
                                          testing::Values(Place{"process", 1}, Place{"process", 2},
                                                          Place{"process", 8}, Place{"spawn", 2})),
                         [](const auto& case_info) {
                           const Place& place = std::get<1>(case_info.param);
                           return std::string{std::get<0>(case_info.param).name} + "_" + place.placement + "_" +
                                  std::to_string(place.workers);
                         });

class WorkerDeaths : public PlacedTest {};

TEST_P(WorkerDeaths, AtEveryMessageDeliverAllInOrder) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{100}, [](const Number& in, Context& context) {
                      if (context.attempt() == 1) _exit(1);
                      return in;
                    }};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) ASSERT_EQ(item->value, next++);
  EXPECT_EQ(next, 100U);
}

TEST_P(WorkerDeaths, AreLoggedWithNodeWorkerMessageAndAttempt) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{10}, [](const Number& in, Context& context) {
                      if (in.value == 4 && context.attempt() == 1) _exit(3);
                      return in;
                    }};
  for (const auto& item : line.stream) ASSERT_TRUE(item.ok());

  EXPECT_THAT(
      wait_log_line("message 4"),
      testing::MatchesRegex("node 'work', worker [0-9] \\(pid [0-9]+\\): exited with status 3 on message 4, "
                            "attempt 1 of 3; trying again"));
}

TEST_P(WorkerDeaths, WhileStartingOnceAreMadeGood) {
  struct DiesAtFirst {
    std::atomic<int>* starts;
    void start() {
      if (starts->fetch_add(1) == 0) _exit(5);
    }
    Number operator()(const Number& in) { return in; }
  };
  Shared<std::atomic<int>> starts{0};
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{50}, DiesAtFirst{starts.get()}};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) ASSERT_EQ(item->value, next++);
  EXPECT_EQ(next, 50U);
}

TEST_P(WorkerDeaths, AtEveryStartFailEachMessage) {
  struct NeverStarts {
    void start() { _exit(5); }
    Number operator()(const Number& in) { return in; }
  };
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{50}, NeverStarts{}};
  const auto outcomes = line.take_all();
  ASSERT_EQ(outcomes.size(), 50U);
  for (const auto& outcome : outcomes) {
    ASSERT_TRUE(outcome.failure);
    EXPECT_EQ(outcome.failure->reason, "start: exited with status 5");
  }
}

TEST_P(WorkerDeaths, OfALaterProducerDoTheEarlierOnesWorkNoSecondTime) {
  Shared<std::atomic<int>> calls{0};
  Runtime runtime{placed(GetParam(), {"first", "second"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{60}};
  producer_node<Number, Arrays> first{graph,
                                      runtime,
                                      "first",
                                      {array<std::uint64_t>("numbers", {1000})},
                                      [calls = calls.get()](const Number& in, Arrays& out) {
                                        ++*calls;
                                        for (auto& one : out.span<std::uint64_t>("numbers")) one = in.value;
                                      }};
  producer_node<Arrays, Number> second{graph, runtime, "second", [](const Arrays& in, Context& context) {
                                         if (context.sequence() % 10 == 0 && context.attempt() < 3) _exit(1);
                                         return Number{in.span<std::uint64_t>("numbers")[999]};
                                       }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  make_edge(numbers, first);
  make_edge(first, second);
  make_edge(second, order);
  make_edge(order, stream);

  std::uint64_t next = 0;
  for (const auto& item : stream) ASSERT_EQ(item->value, next++);
  EXPECT_EQ(next, 60U);
  EXPECT_EQ(calls->load(), 60);
  EXPECT_EQ(runtime.lent_blocks(), 0U);
}

TEST_P(WorkerDeaths, ByTheDeadlineNameIt) {
  Line<Number> line{
      placed(GetParam(), {"work"}, {{"node.work.deadline", "40 ms"}, {"node.work.attempts", "2"}}), CountTo{20},
      [](const Number& in) {
        while (in.value == 7) busy(1000);
        return in;
      }};
  const auto outcomes = line.take_all();
  ASSERT_EQ(outcomes.size(), 20U);
  ASSERT_TRUE(outcomes[7].failure);
  EXPECT_EQ(outcomes[7].failure->attempt, 2);
  EXPECT_THAT(outcomes[7].failure->reason,
              testing::StartsWith("ran longer than its deadline of 40 ms and was killed"));
  EXPECT_TRUE(outcomes[8].value);
}

// A body whose start() leaves something behind that ends the process while it has nothing to do.
TEST_P(WorkerDeaths, WithoutAMessageAreNotMendedForEver) {
  struct DiesIdle {
    void start() {
      std::thread{[] {
        busy(300'000);
        _exit(3);
      }}.detach();
    }
    Number operator()(const Number& in) { return in; }
  };
  Gate given_up;
  std::thread watcher{[&given_up] {
    wait_log_line("is left out");
    given_up.open();
  }};
  Line<Number> line{placed(GetParam(), {"work"}),
                    [&given_up, next = std::uint64_t{0}]() mutable -> std::optional<Number> {
                      given_up.wait();
                      if (next == 3) return std::nullopt;
                      return Number{next++};
                    },
                    DiesIdle{}};
  const auto outcomes = line.take_all();
  watcher.join();
  EXPECT_EQ(outcomes.size(), 3U);
}

TANDEM_FOR_PROCESSES(WorkerDeaths);

}  // namespace
}  // namespace tandem::test
