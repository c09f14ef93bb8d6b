// The consumer's end: next(), try_next(), next_for(), ended(), and errors in an item's place.
#include <algorithm>
#include <chrono>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;

Number same(const Number& in) { return in; }

// A body that waits at message 1 until it is let through.
auto wait_at_one(Gate* gate) {
  return [gate](const Number& in) {
    if (in.value == 1) gate->wait();
    return in;
  };
}

class Stream : public PlacedTest {};

TEST_P(Stream, TryNextIsEmptyWhileNothingIsThereAndNotEnded) {
  Shared<Gate> gate;
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{2}, wait_at_one(gate.get())};
  EXPECT_EQ((*line.stream.next())->value, 0U);

  EXPECT_FALSE(line.stream.try_next());
  EXPECT_FALSE(line.stream.ended());

  gate->open();
  EXPECT_EQ((*line.stream.next())->value, 1U);
}

TEST_P(Stream, WaitsForABodyLongerThanForAConsumerThatHoldsEverything) {
  Shared<Gate> gate;
  Line<Number> line{placed(GetParam(), {"work"}, {{"in_flight", "2"}, {"hold_timeout", "50 ms"}}), CountTo{4},
                    wait_at_one(gate.get())};
  EXPECT_EQ((*line.stream.next())->value, 0U);
  auto next = std::async(std::launch::async, [&line] { return line.stream.next(); });
  EXPECT_EQ(next.wait_for(500ms), std::future_status::timeout);
  gate->open();
  EXPECT_EQ((*next.get())->value, 1U);
  EXPECT_EQ(line.take_all().size(), 2U);
}

TEST_P(Stream, TryNextStartsTheRuntimeAndGetsAllInTheEnd) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{200}, same};
  std::uint64_t next = 0;
  while (!line.stream.ended()) {
    const auto item = line.stream.try_next();
    if (!item) continue;
    ASSERT_EQ((*item)->value, next++);
  }
  EXPECT_EQ(next, 200U);
}

TEST_P(Stream, NextForReturnsEmptyWhenTheTimeIsOver) {
  Shared<Gate> gate;
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{2}, wait_at_one(gate.get())};
  EXPECT_EQ((*line.stream.next())->value, 0U);
  const auto begin = std::chrono::steady_clock::now();

  EXPECT_FALSE(line.stream.next_for(30ms));

  EXPECT_GE(std::chrono::steady_clock::now() - begin, 30ms);
  EXPECT_FALSE(line.stream.ended());
  gate->open();
}

TEST_P(Stream, NextForReturnsTheItemThatComesInTime) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{100}, same};
  std::uint64_t next = 0;
  while (const auto item = line.stream.next_for(20s)) ASSERT_EQ((*item)->value, next++);
  EXPECT_EQ(next, 100U);
  EXPECT_TRUE(line.stream.ended());
}

TEST_P(Stream, NextForOfNoTimeDoesNotWait) {
  Shared<Gate> gate;
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{2}, wait_at_one(gate.get())};
  EXPECT_EQ((*line.stream.next())->value, 0U);

  EXPECT_FALSE(line.stream.next_for(0ns));
  EXPECT_FALSE(line.stream.next_for(-5s));

  gate->open();
}

TEST_P(Stream, NextForOfAllTimeWaits) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{1}, same};
  EXPECT_TRUE(line.stream.next_for(std::chrono::nanoseconds::max()));
}

TEST_P(Stream, EndedIsTrueOnlyOnceTheLastItemWasTaken) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{3}, same};
  EXPECT_FALSE(line.stream.ended());
  line.runtime.start();
  for (int item = 0; item < 3; ++item) {
    EXPECT_FALSE(line.stream.ended());
    line.stream.next();
  }
  EXPECT_FALSE(line.stream.next());
  EXPECT_TRUE(line.stream.ended());
}

TEST_P(Stream, NextAfterTheEndStaysEmpty) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{1}, same};
  EXPECT_TRUE(line.stream.next());
  for (int call = 0; call < 3; ++call) {
    EXPECT_FALSE(line.stream.next());
    EXPECT_FALSE(line.stream.try_next());
    EXPECT_FALSE(line.stream.next_for(1ms));
  }
}

TEST_P(Stream, GivesEachItemToOneOfSeveralConsumers) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{2000}, same};
  std::vector<std::vector<std::uint64_t>> taken(3);
  std::vector<std::thread> consumers;
  for (auto& mine : taken) {
    consumers.emplace_back([&] {
      while (const auto item = line.stream.next()) mine.push_back((*item)->value);
    });
  }
  for (std::thread& consumer : consumers) consumer.join();

  std::vector<bool> seen(2000, false);
  for (const auto& mine : taken) {
    EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
    for (const std::uint64_t number : mine) {
      ASSERT_FALSE(seen[number]);
      seen[number] = true;
    }
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), 2000);
}

TEST_P(Stream, LoopGoesOnAfterABreak) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{100}, same};
  for (const auto& item : line.stream) {
    if (item->value == 9) break;
  }
  std::uint64_t next = 10;
  for (const auto& item : line.stream) ASSERT_EQ(item->value, next++);
  EXPECT_EQ(next, 100U);
}

TANDEM_FOR_ALL_PLACES_AND_SPAWNED(Stream);

class StreamOfMessages : public TandemTest {};

TEST_F(StreamOfMessages, NeedsNoProducer) {
  Runtime runtime{Config{}};
  flow::graph graph;
  commander_node<std::string> words{graph, runtime, "words",
                                    [left = 3]() mutable -> std::optional<std::string> {
                                      if (left == 0) return std::nullopt;
                                      return std::string(static_cast<std::size_t>(left--), 'x');
                                    }};
  stream_node<std::string> stream{graph, runtime};
  make_edge(words, stream);

  std::vector<std::string> all;
  for (const auto& item : stream) all.push_back(*item);

  EXPECT_EQ(all, (std::vector<std::string>{"xxx", "xx", "x"}));
}

TEST_F(StreamOfMessages, OfSeveralCommandersKeepsTheOrderOfEach) {
  Runtime runtime{Config{}};
  flow::graph graph;
  commander_node<Number> low{graph, runtime, "low", CountTo{500}};
  commander_node<Number> high{graph, runtime, "high", CountTo{1500, 1000}};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  make_edge(low, order);
  make_edge(high, order);
  make_edge(order, stream);

  std::uint64_t next_low = 0;
  std::uint64_t next_high = 1000;
  for (const auto& item : stream) {
    auto& next = item->value < 1000 ? next_low : next_high;
    ASSERT_EQ(item->value, next++);
  }

  EXPECT_EQ(next_low, 500U);
  EXPECT_EQ(next_high, 1500U);
}

}  // namespace
}  // namespace tandem::test
