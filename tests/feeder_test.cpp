// Steps that a loop of the program's own makes in place: what comes of them, and what happens when there is no room.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "support/line.hpp"
#include "support/shared.hpp"
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

/// feeder "steps" -> stream
struct Direct {
  explicit Direct(const Config& config) : runtime{config} { flow::make_edge(steps, stream); }

  bool push(std::uint64_t value) {
    auto step = steps.loan();
    step->value = value;
    return steps.push(std::move(step));
  }

  Runtime runtime;
  flow::graph graph;
  feeder_node<Number> steps{graph, runtime, "steps"};
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

// A body, wherever it runs, may end the run; wait_for_all() returns once the loop has heard of it.
TEST_P(Feeder, ABodyThatStopsTheRunEndsTheGraphToo) {
  Runtime runtime{placed(GetParam(), {"work"})};
  flow::graph graph;
  feeder_node<Number> steps{graph, runtime, "steps"};
  producer_node<Number, void> work{graph, runtime, "work", [&runtime](const Number& in) {
                                     if (in.value == 5) runtime.stop();
                                   }};
  flow::make_edge(steps, work);
  runtime.start();
  auto loop = std::async(std::launch::async, [&steps] {
    return thrown_text<Error>([&] {
      for (std::uint64_t value = 0;; ++value) {
        auto step = steps.loan();
        step->value = value;
        steps.push(std::move(step));
      }
    });
  });
  graph.wait_for_all();
  EXPECT_EQ(loop.get(), "steps: the run was stopped; no step can follow");
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

// A loan that is out may still be pushed: that its step takes long is not the consumer's fault.
TEST_F(FeederEnds, AConsumerWaitsForAStepThatTakesLong) {
  struct Case {
    std::uint64_t held;
    std::string in_flight;
  };
  for (const auto& [held, in_flight] : {Case{0, "1"}, Case{3, "4"}}) {
    SCOPED_TRACE(std::to_string(held) + " of " + in_flight);
    Pushed line{config_of({{"in_flight", in_flight}, {"hold_timeout", "50 ms"}})};
    std::vector<Item<Number>> window;
    for (std::uint64_t value = 0; value < held; ++value) {
      line.push(value);
      window.push_back(*line.stream.next());
    }
    auto step = line.steps.loan();
    auto consumer = std::async(std::launch::async, [&line] { return line.stream.next(); });
    EXPECT_EQ(consumer.wait_for(500ms), std::future_status::timeout);
    step->value = 7;
    line.steps.push(std::move(step));
    const auto item = consumer.get();
    ASSERT_TRUE(item);
    EXPECT_EQ((*item)->value, 14U);
  }
}

// The step that waits outside the graph cannot enter before the consumer gives something back.
TEST_F(FeederEnds, AConsumerThatHoldsEverythingIsToldThoughAStepWaits) {
  Pushed line{config_of({{"in_flight", "1"}, {"hold_timeout", "100 ms"}, {"node.steps.full", "drop_oldest"}})};
  line.push(0);
  const auto held = line.stream.next();
  line.push(1);
  EXPECT_THAT(thrown_text<Error>([&] { line.stream.next(); }), HasSubstr("held outside the graph"));
}

TEST_F(FeederEnds, ARunThatWasStoppedBeforeItsStartSaysSo) {
  Pushed line{config_of({})};
  line.runtime.stop();
  EXPECT_EQ(thrown_text<Error>([&] { std::ignore = line.steps.loan(); }),
            "steps: the run was stopped; no step can follow");
  line.steps.finish();
  EXPECT_EQ(line.steps.dropped(), 0U);
  line.graph.wait_for_all();
}

TEST_F(FeederEnds, TheFinishEndsTheWaitsOfOthers) {
  Direct line{config_of({{"in_flight", "1"}, {"hold_timeout", "1 h"}})};
  std::vector<Item<Number>> held;
  for (int step = 0; step < 2; ++step) {
    line.push(0);
    held.push_back(*line.stream.next());
  }
  const auto borrow = [&line] { return thrown_text<Error>([&] { line.push(1); }); };
  auto first = std::async(std::launch::async, borrow);
  auto second = std::async(std::launch::async, borrow);
  EXPECT_EQ(first.wait_for(50ms), std::future_status::timeout);
  line.steps.finish();
  EXPECT_FALSE(line.stream.next());
  line.graph.wait_for_all();
  held.clear();  // a credit for each of them, too late
  EXPECT_EQ(first.get(), "steps: finish() was called; no step can follow");
  EXPECT_EQ(second.get(), "steps: finish() was called; no step can follow");
  EXPECT_EQ(line.steps.entered(), 2U);
}

/// feeder "steps" -> a plain node that throws at step 0
struct Cancelled {
  explicit Cancelled(const Config& config) : runtime{config} { flow::make_edge(steps, bad); }

  Runtime runtime;
  flow::graph graph;
  feeder_node<Number> steps{graph, runtime, "steps"};
  Gate pushed;
  flow::function_node<Item<Number>> bad{graph, flow::serial, [this](const Item<Number>& item) {
                                          pushed.wait();
                                          if (item->value == 0) throw std::runtime_error("no zero");
                                        }};
};

TEST_F(FeederEnds, AGraphThatIsCancelledIsWaitedForNoLonger) {
  for (const bool finished : {true, false}) {
    SCOPED_TRACE(finished);
    Cancelled line{config_of({{"in_flight", "4"}})};
    for (std::uint64_t value = 0; value < 3; ++value) {
      auto step = line.steps.loan();
      step->value = value;
      line.steps.push(std::move(step));
    }
    line.pushed.open();
    if (finished) line.steps.finish();
    EXPECT_EQ(thrown_text<std::runtime_error>([&] { line.graph.wait_for_all(); }), "no zero");
  }
}

TEST_F(FeederEnds, ALoopHearsThatTheGraphIsCancelled) {
  Cancelled line{config_of({{"in_flight", "1000000"}})};
  line.pushed.open();
  const std::string text = thrown_text<Error>([&] {
    for (std::uint64_t value = 0;; ++value) {
      auto step = line.steps.loan();
      step->value = value;
      line.steps.push(std::move(step));
    }
  });
  EXPECT_THAT(text, testing::AnyOf("steps: the graph was cancelled; no step can follow",
                                   "steps: the run was stopped; no step can follow"));
  EXPECT_EQ(thrown_text<std::runtime_error>([&] { line.graph.wait_for_all(); }), "no zero");
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
              AllOf(HasSubstr("node 'steps'"), HasSubstr("memory = 1048576 bytes"),
                    HasSubstr("beyond those in flight 2 times 503808 bytes")));
}

// ---- two threads ---------------------------------------------------------------------------------------------

class FeederThreads : public TandemTest {};

TEST_F(FeederThreads, ATryFindsWhatIsFreeWhileAnotherBorrows) {
  Direct line{config_of({{"in_flight", "16"}})};
  const auto count_misses = [&line] {
    int misses = 0;
    for (int look = 0; look < 50'000; ++look) misses += line.steps.try_loan() ? 0 : 1;
    return misses;
  };
  auto other = std::async(std::launch::async, count_misses);
  EXPECT_EQ(count_misses(), 0);
  EXPECT_EQ(other.get(), 0);
}

TEST_F(FeederThreads, NothingIsDroppedWhileThereIsRoomThoughAnotherBorrows) {
  Direct line{config_of({{"in_flight", "1"}, {"node.steps.full", "drop_newest"}})};
  line.runtime.start();
  std::atomic<bool> done{false};
  std::thread other{[&] {
    while (!done) std::ignore = line.steps.try_loan();
  }};
  std::uint64_t dropped = 0;
  for (int step = 0; step < 100'000; ++step) {  // the graph is empty when this pushes
    dropped += line.steps.push(line.steps.loan()) ? 0 : 1;
    std::ignore = line.stream.try_next();
  }
  done = true;
  other.join();
  EXPECT_EQ(dropped, 0U);
}

TEST_F(FeederThreads, AStepEntersAnEmptyGraphThoughAnotherBorrows) {
  Direct line{config_of({{"in_flight", "1"}, {"node.steps.full", "drop_oldest"}})};
  line.runtime.start();
  std::atomic<int> round{0};
  std::atomic<int> came{0};
  constexpr int kRounds = 30'000;
  std::thread other{[&] {  // keeps its loan until the step of the round has come
    for (int mine = 1; mine < kRounds; ++mine) {
      while (round < mine) std::this_thread::yield();
      const auto loan = line.steps.try_loan();
      while (came < mine) std::this_thread::yield();
    }
  }};
  int missing = 0;
  for (int mine = 1; mine < kRounds; ++mine) {
    auto loan = line.steps.loan();
    round = mine;
    busy(static_cast<std::uint64_t>(mine) % 200);
    line.steps.push(std::move(loan));
    if (missing == 0 && !line.stream.next_for(10s)) missing = mine;
    came = mine;
  }
  other.join();
  EXPECT_EQ(missing, 0) << "the round whose step stayed outside";
}

/// Does something at a moment that otherwise two threads would have to meet at.
struct Meddler final : Member {
  explicit Meddler(Runtime& runtime_in) : runtime{runtime_in} { runtime.core()->add_member(*this); }
  ~Meddler() {
    runtime.stop();
    runtime.core()->remove_member(*this);
  }
  void opened() override { call(at_start); }
  void credit_free(std::uint32_t) noexcept override { call(at_credit); }
  static void call(std::function<void()>& what) {
    if (const auto once = std::exchange(what, nullptr)) std::thread{once}.join();
  }
  Runtime& runtime;
  std::function<void()> at_start;
  std::function<void()> at_credit;
};

TEST_F(FeederThreads, AFinishBesideTheStartEndsTheGraph) {
  Runtime runtime{config_of({})};
  Meddler meddler{runtime};  // hears of the start before the feeder does
  flow::graph graph;
  feeder_node<Number> steps{graph, runtime, "steps"};
  meddler.at_start = [&steps] { steps.finish(); };
  runtime.start();
  graph.wait_for_all();
}

TEST_F(FeederThreads, AStepThatWaitsEntersBeforeALaterOneTakesItsPlace) {
  Runtime runtime{config_of({{"in_flight", "1"}, {"node.steps.full", "drop_oldest"}})};
  Meddler meddler{runtime};  // hears of the credit before the feeder does
  flow::graph graph;
  feeder_node<Number> steps{graph, runtime, "steps"};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(steps, stream);
  const auto push = [&steps](std::uint64_t value) {
    auto step = steps.loan();
    step->value = value;
    EXPECT_TRUE(steps.push(std::move(step)));
  };
  push(0);
  push(1);
  meddler.at_credit = [&push] { push(2); };
  for (std::uint64_t value = 0; value < 3; ++value) {
    const auto item = stream.next();
    ASSERT_TRUE(item);
    EXPECT_EQ((*item)->value, value);
  }
  EXPECT_EQ(steps.dropped(), 0U);
}

// The last handle of an item is dropped where an edge gives it up, and its credit brings the next one to that edge.
TEST_F(FeederThreads, AnEdgeThatGivesAnItemUpTakesTheNextThatComesOfIt) {
  Runtime runtime{config_of({{"in_flight", "2"}, {"node.steps.full", "drop_oldest"}})};
  flow::graph graph;
  feeder_node<Number> steps{graph, runtime, "steps"};
  Gate waits;
  flow::function_node<Item<Number>, flow::continue_msg, flow::lightweight> hold{
      graph, flow::unlimited, [&waits](const Item<Number>& item) noexcept {
        if (item->value == 1) waits.wait();
        return flow::continue_msg{};
      }};
  flow::write_once_node<Item<Number>> once{graph};  // keeps the first, and neither takes nor pulls another
  flow::make_edge(steps, hold);
  flow::make_edge(steps, once);
  for (std::uint64_t value = 0; value < 3; ++value) {
    auto step = steps.loan();
    step->value = value;
    steps.push(std::move(step));
  }
  EXPECT_EQ(steps.entered(), 2U);
  waits.open();
  const auto patience = std::chrono::steady_clock::now() + 20s;
  while (steps.entered() < 3 && std::chrono::steady_clock::now() < patience) std::this_thread::yield();
  EXPECT_EQ(steps.entered(), 3U);
  EXPECT_EQ(steps.dropped(), 0U);
  runtime.stop();
  graph.wait_for_all();
}

}  // namespace
}  // namespace tandem::test
