// Steps that a loop of the program's own makes in place: what comes of them, and what happens when there is no room.
#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

/// feeder "steps" -> producer "work" (twice the number) -> sequencer -> stream
struct Pushed {
  explicit Pushed(const Config& config) : runtime{config} {
    flow::make_edge(steps, work);
    flow::make_edge(work, order);
    flow::make_edge(order, stream);
  }

  bool push(std::uint64_t value) {
    auto step = steps.loan();
    step->value = value;
    return steps.push(std::move(step));
  }
  std::vector<std::uint64_t> take_all() {
    std::vector<std::uint64_t> all;
    for (const auto& item : stream) {
      EXPECT_EQ(item.sequence(), all.size());
      all.push_back(item->value);
    }
    return all;
  }

  Runtime runtime;
  flow::graph graph;
  feeder_node<Number> steps{graph, runtime, "steps"};
  producer_node<Number, Number> work{graph, runtime, "work",
                                     [](const Number& in) { return Number{in.value * 2}; }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
};

class Feeder : public PlacedTest {};
TANDEM_FOR_ALL_PLACES(Feeder);

TEST_P(Feeder, StepsComeOutInTheOrderInWhichTheyWerePushed) {
  Pushed line{placed(GetParam(), {"work"}, {{"in_flight", "4"}})};
  std::thread loop{[&line] {
    for (std::uint64_t value = 0; value < 500; ++value) EXPECT_TRUE(line.push(value));
    line.steps.finish();
  }};
  const std::vector<std::uint64_t> all = line.take_all();
  loop.join();
  ASSERT_EQ(all.size(), 500U);
  for (std::uint64_t number = 0; number < 500; ++number) EXPECT_EQ(all[number], number * 2);
  EXPECT_EQ(line.steps.entered(), 500U);
  EXPECT_EQ(line.steps.dropped(), 0U);
}

TEST_P(Feeder, OneThreadMayPushAndConsume) {
  Pushed line{placed(GetParam(), {"work"}, {{"in_flight", "4"}})};
  std::uint64_t next = 0;
  for (std::uint64_t value = 0; value < 500; ++value) {
    EXPECT_TRUE(line.push(value));
    if (value >= 3) {
      const auto item = line.stream.next();
      ASSERT_TRUE(item);
      EXPECT_EQ((*item)->value, 2 * next++);
    }
  }
  line.steps.finish();
  for (const auto& item : line.stream) EXPECT_EQ(item->value, 2 * next++);
  EXPECT_EQ(next, 500U);
}

TEST_P(Feeder, ArraysAreReadWhereTheLoopWroteThem) {
  constexpr std::size_t kRows = 60;
  constexpr std::size_t kColumns = 70;
  Runtime runtime{placed(GetParam(), {"sums"}, {{"in_flight", "3"}})};
  flow::graph graph;
  feeder_node<Arrays> steps{graph, runtime, "steps", {array<double>("temperature", {kRows, kColumns})}};
  producer_node<Arrays, Number> sums{
      graph, runtime, "sums", [](const Arrays& in) {
        return Number{static_cast<std::uint64_t>(in.matrix<double>("temperature").sum())};
      }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(steps, sums);
  flow::make_edge(sums, order);
  flow::make_edge(order, stream);

  for (std::uint64_t step = 0; step < 20; ++step) {
    auto frame = steps.loan();
    frame->matrix<double>("temperature").setConstant(static_cast<double>(step));
    steps.push(std::move(frame));
    const auto sum = stream.next();
    ASSERT_TRUE(sum);
    EXPECT_EQ((*sum)->value, step * kRows * kColumns);
  }
  EXPECT_EQ(runtime.in_flight(), 3U);
}

TEST_P(Feeder, DropsTheNewestWhenThereIsNoRoom) {
  Pushed line{placed(GetParam(), {"work"}, {{"in_flight", "2"}, {"node.steps.full", "drop_newest"}})};
  for (std::uint64_t value = 0; value < 10; ++value) EXPECT_EQ(line.push(value), value < 2) << value;
  EXPECT_EQ(line.steps.dropped(), 8U);
  EXPECT_EQ((*line.stream.next())->value, 0U);
  EXPECT_EQ((*line.stream.next())->value, 2U);  // both are given back, so there is room again
  EXPECT_TRUE(line.push(10));
  line.steps.finish();
  EXPECT_EQ((*line.stream.next())->value, 20U);
  EXPECT_FALSE(line.stream.next());
  EXPECT_EQ(line.steps.entered(), 3U);
}

TEST_P(Feeder, DropsTheOldestThatWaitsWhenThereIsNoRoom) {
  Pushed line{placed(GetParam(), {"work"}, {{"in_flight", "2"}, {"node.steps.full", "drop_oldest"}})};
  for (std::uint64_t value = 0; value < 10; ++value) EXPECT_TRUE(line.push(value)) << value;
  EXPECT_EQ(line.steps.dropped(), 7U);  // 0 and 1 are in the graph, and 9 waits
  line.steps.finish();
  EXPECT_THAT(line.take_all(), ElementsAre(0U, 2U, 18U));
  EXPECT_EQ(line.steps.entered(), 3U);
}

TEST_P(Feeder, EveryStepThatEntersComesOutAndAllOthersAreCounted) {
  for (const char* const full : {"block", "drop_newest", "drop_oldest"}) {
    SCOPED_TRACE(full);
    constexpr std::uint64_t kThreads = 4;
    constexpr std::uint64_t kEach = 500;
    Pushed line{placed(GetParam(), {"work"}, {{"in_flight", "6"}, {"node.steps.full", full}})};
    line.runtime.start();
    std::vector<std::thread> loops;
    std::atomic<std::uint64_t> running{kThreads};
    for (std::uint64_t thread = 0; thread < kThreads; ++thread) {
      loops.emplace_back([&line, &running, thread] {
        for (std::uint64_t step = 0; step < kEach; ++step) line.push(thread * kEach + step);
        if (--running == 0) line.steps.finish();
      });
    }
    const std::vector<std::uint64_t> all = line.take_all();
    for (std::thread& loop : loops) loop.join();
    EXPECT_EQ(all.size(), line.steps.entered());
    EXPECT_EQ(all.size() + line.steps.dropped(), kThreads * kEach);
    line.runtime.stop();  // whoever dropped the last handle may still be about to count it
    EXPECT_EQ(line.runtime.live_messages(), 0U);
  }
}

class FeederEnds : public TandemTest {};

TEST_F(FeederEnds, ALoanThatIsNotPushedLeavesNoGap) {
  Pushed line{config_of({{"in_flight", "4"}})};
  {
    auto first = line.steps.loan();
    auto second = line.steps.loan();
    first->value = 1;
    second->value = 2;
    line.steps.push(std::move(second));
    const auto third = line.steps.loan();
    line.steps.push(std::move(first));
  }
  line.steps.finish();
  EXPECT_THAT(line.take_all(), ElementsAre(4U, 2U));
}

TEST_F(FeederEnds, WhatIsLentAtTheFinishMayStillCome) {
  Pushed line{config_of({})};
  auto last = line.steps.loan();
  line.steps.finish();
  EXPECT_FALSE(line.stream.ended());
  EXPECT_EQ(thrown_text<Error>([&] { std::ignore = line.steps.loan(); }),
            "steps: finish() was called; no step can follow");
  last->value = 7;
  line.steps.push(std::move(last));
  EXPECT_THAT(line.take_all(), ElementsAre(14U));
  EXPECT_TRUE(line.stream.ended());
}

TEST_F(FeederEnds, AGraphWithoutAStreamIsWaitedFor) {
  Runtime runtime{config_of({})};
  flow::graph graph;
  feeder_node<Number> steps{graph, runtime, "steps"};
  std::atomic<std::uint64_t> sum{0};
  flow::function_node<Item<Number>> add{graph, flow::unlimited,
                                        [&sum](const Item<Number>& item) { sum += item->value; }};
  flow::make_edge(steps, add);
  for (std::uint64_t value = 1; value <= 100; ++value) {
    auto step = steps.loan();
    step->value = value;
    steps.push(std::move(step));
  }
  steps.finish();
  graph.wait_for_all();
  EXPECT_EQ(sum, 5050U);
}

TEST_F(FeederEnds, ALoanWaitsForRoom) {
  Pushed line{config_of({{"in_flight", "2"}})};
  line.push(0);
  line.push(1);
  auto first = line.stream.next();
  const auto second = line.stream.next();
  const auto reserve = line.steps.loan();  // in_flight are out, and this thread is the one to give them back
  EXPECT_FALSE(line.steps.try_loan());
  EXPECT_FALSE(line.steps.loan_for(20ms));
  std::thread giver{[&first] { first.reset(); }};
  const auto loan = line.steps.loan();
  giver.join();
  EXPECT_FALSE(line.steps.try_loan());
}

// As a simulation does it: all that has come is consumed after each push, and what comes while the next loan waits is
// nobody's but this thread's.
TEST_F(FeederEnds, ALoopThatConsumesAfterEachPushNeverWaitsForItself) {
  for (const char* const in_flight : {"1", "2", "5"}) {
    SCOPED_TRACE(in_flight);
    Pushed line{placed({"process", 2}, {"work"}, {{"in_flight", in_flight}, {"hold_timeout", "1 h"}})};
    std::uint64_t next = 0;
    for (std::uint64_t value = 0; value < 300; ++value) {
      EXPECT_TRUE(line.push(value));
      while (const auto item = line.stream.try_next()) EXPECT_EQ((*item)->value, 2 * next++);
    }
    line.steps.finish();
    for (const auto& item : line.stream) EXPECT_EQ(item->value, 2 * next++);
    EXPECT_EQ(next, 300U);
  }
}

TEST_F(FeederEnds, AThreadThatBorrowsEverythingIsTold) {
  Pushed line{config_of({{"in_flight", "2"}, {"hold_timeout", "100 ms"}})};
  const auto first = line.steps.loan();
  const auto second = line.steps.loan();
  const auto third = line.steps.loan();
  EXPECT_THAT(thrown_text<Error>([&] { std::ignore = line.steps.loan(); }),
              HasSubstr("in flight are held outside"));
}

TEST_F(FeederEnds, ALoopThatNeverConsumesIsTold) {
  Pushed line{config_of({{"in_flight", "2"}, {"hold_timeout", "100 ms"}})};
  for (std::uint64_t value = 0; value < 3; ++value) line.push(value);
  EXPECT_THAT(thrown_text<Error>([&] { std::ignore = line.steps.loan(); }),
              AllOf(HasSubstr("steps: "), HasSubstr("held outside the graph"),
                    HasSubstr("raise in_flight (2)")));
}

TEST_F(FeederEnds, TheEndOfTheRunEndsTheWait) {
  Pushed line{config_of({{"in_flight", "1"}})};
  line.push(0);
  const auto held = line.stream.next();
  const auto reserve = line.steps.loan();
  std::thread stopper{[&line] { line.runtime.stop(); }};
  EXPECT_EQ(thrown_text<Error>([&] { std::ignore = line.steps.loan(); }),
            "steps: the run was stopped; no step can follow");
  stopper.join();
}

TEST_F(FeederEnds, ALoanOutlivesTheRun) {
  feeder_node<Number>::Loan kept;
  {
    Pushed line{config_of({})};
    kept = line.steps.loan();
    auto late = line.steps.loan();
    line.runtime.stop();
    EXPECT_FALSE(line.steps.push(std::move(late)));
    EXPECT_EQ(line.steps.dropped(), 0U);
  }
  kept->value = 3;
  EXPECT_EQ(kept->value, 3U);
}

TEST_F(FeederEnds, ALoanOfAnotherNodeIsRefused) {
  Pushed line{config_of({})};
  Pushed other{config_of({})};
  auto step = line.steps.loan();
  std::ignore = other.steps.loan();
  EXPECT_EQ(thrown_text<Error>([&] { other.steps.push(std::move(step)); }),
            "steps: push() was given another node's loan");
  auto pushed = line.steps.loan();
  line.steps.push(std::move(pushed));
  EXPECT_EQ(thrown_text<Error>([&] { line.steps.push(std::move(pushed)); }),
            "steps: push() was given a loan that holds nothing: it was pushed, or moved from");
  EXPECT_EQ(thrown_text<Error>([&] { pushed->value = 1; }),
            "this loan holds nothing: it was pushed, or moved from");
}

TEST_F(FeederEnds, AnUnknownPolicyIsRefused) {
  EXPECT_THAT(thrown_text<ConfigError>([] {
                config_of({{"node.steps.full", "wait"}});
              }),
              AllOf(HasSubstr("node.steps.full = \"wait\""),
                    HasSubstr("\"block\", \"drop_newest\" or \"drop_oldest\"")));
}

TEST_F(FeederEnds, BuffersThatDoNotFitAreRefusedWithNumbers) {
  Runtime runtime{config_of({{"memory", "1 MiB"}, {"in_flight", "1"}, {"node.steps.full", "drop_oldest"}})};
  flow::graph graph;
  feeder_node<Arrays> steps{graph, runtime, "steps", {array<std::uint8_t>("field", {500'000})}};
  EXPECT_THAT(thrown_text<MemoryError>([&] { std::ignore = steps.loan(); }),
              AllOf(HasSubstr("node 'steps'"), HasSubstr("memory = 1048576 bytes")));
}

}  // namespace
}  // namespace tandem::test
