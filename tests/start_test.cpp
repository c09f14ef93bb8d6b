// What a run is refused for at its start: the text, the type, the same again at the next call, and nothing left.
// labels: no_tsan
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr std::size_t kPixels = 12'582'912;

void fill(const Number& in, Arrays& out) {
  out.span<std::uint8_t>("pixels")[0] = static_cast<std::uint8_t>(in.value);
}

class Start : public PlacedTest {
 protected:
  // A line whose arrays have that many bytes.
  static Line<Arrays> line_of(const Config& config, std::size_t bytes) {
    return {config, CountTo{10}, {array<std::uint8_t>("pixels", {bytes})}, fill};
  }
  // Whatever asks for an item or for the start gets the same error, however often.
  template <class Exception>
  static void expect_refused(Runtime& runtime, auto& stream, const testing::Matcher<std::string>& text) {
    const std::string first = thrown_text<Exception>([&] { stream.next(); });
    EXPECT_THAT(first, text);
    EXPECT_EQ(thrown_text<Exception>([&] { stream.next(); }), first);
    EXPECT_EQ(thrown_text<Exception>([&] { stream.try_next(); }), first);
    EXPECT_EQ(thrown_text<Exception>([&] { stream.next_for(1ms); }), first);
    EXPECT_EQ(thrown_text<Exception>([&] { stream.begin(); }), first);
    EXPECT_EQ(thrown_text<Exception>([&] { runtime.start(); }), first);
    EXPECT_TRUE(runtime.worker_pids().empty());
    EXPECT_EQ(runtime.lent_blocks(), 0U);
    EXPECT_EQ(runtime.live_messages(), 0U);
    runtime.stop();
    EXPECT_EQ(thrown_text<Exception>([&] { stream.next(); }), first);
  }
};

TEST_P(Start, IsRefusedForAnUnknownNode) {
  Line<Arrays> line = line_of(placed(GetParam(), {"work", "wrok"}), 100);
  expect_refused<ConfigError>(line.runtime, line.stream,
                              std::string{
                                  "node.wrok (test): no node has this name; did you mean 'work'? nodes: "
                                  "'work', 'numbers'"});
}

TEST_P(Start, IsRefusedWhenTheItemsInFlightNeedMoreThanTheMemory) {
  Line<Arrays> line =
      line_of(placed(GetParam(), {"work"}, {{"in_flight", "64"}, {"memory", "512 MiB"}}), kPixels);
  expect_refused<MemoryError>(
      line.runtime, line.stream,
      std::string{
          "node 'work': output 'pixels' needs 12582912 bytes for each of 64 items, 805306368 bytes (768 MiB) "
          "in all, but memory = 536870912 bytes (512 MiB); lower in_flight to 42 or raise memory"});
}

TEST_P(Start, IsGrantedWithTheNumberOfItemsThatTheErrorNames) {
  Line<Arrays> line =
      line_of(placed(GetParam(), {"work"}, {{"in_flight", "42"}, {"memory", "512 MiB"}}), kPixels);
  EXPECT_TRUE(line.stream.next());
  EXPECT_EQ(line.runtime.in_flight(), 42U);
}

TEST_P(Start, ChoosesFewerItemsWhenNoneWereAskedFor) {
  Line<Arrays> line = line_of(placed(GetParam(), {"work"}, {{"memory", "100 MiB"}}), kPixels);
  EXPECT_TRUE(line.stream.next());
  EXPECT_EQ(line.runtime.in_flight(), 8U);
}

TEST_P(Start, IsRefusedWhenOneOutputIsLargerThanTheMemory) {
  Line<Arrays> line = line_of(placed(GetParam(), {"work"}, {{"memory", "8 MiB"}}), kPixels);
  expect_refused<MemoryError>(
      line.runtime, line.stream,
      std::string{"node 'work': output 'pixels' needs 12582912 bytes for one item, but memory = 8388608 bytes "
                  "(8 MiB); make the output smaller or raise memory"});
}

TEST_P(Start, IsRefusedWhenOneOutputIsLargerThanTheMachine) {
  Line<Arrays> line = line_of(placed(GetParam(), {"work"}), std::size_t{1} << 46);
  expect_refused<MemoryError>(
      line.runtime, line.stream,
      AllOf(StartsWith(
                "node 'work': output 'pixels' needs 70368744177664 bytes for one item, but the machine has "),
            HasSubstr(" available; make the output smaller")));
}

TEST_P(Start, IsRefusedWhenAllNodesTogetherNeedMoreThanTheMemory) {
  Runtime runtime{placed(GetParam(), {"first", "second"}, {{"in_flight", "10"}, {"memory", "100 MiB"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{10}};
  producer_node<Number, Arrays> first{
      graph, runtime, "first", {array<std::uint8_t>("pixels", {10 << 20})}, fill};
  producer_node<Arrays, Arrays> second{
      graph, runtime, "second", {array<std::uint8_t>("edges", {5 << 20})}, [](const Arrays&, Arrays&) {}};
  stream_node<Arrays> stream{graph, runtime};
  flow::make_edge(numbers, first);
  flow::make_edge(first, second);
  flow::make_edge(second, stream);
  expect_refused<MemoryError>(
      runtime, stream,
      std::string{"node 'first': output 'pixels' needs 10485760 bytes for each of 10 items (all nodes together "
                  "15728640), 157286400 bytes (150 MiB) in all, but memory = 104857600 bytes (100 MiB); lower "
                  "in_flight to 6 or raise memory"});
}

// Sums and products of sizes that do not fit into 64 bits must not come out small.
TEST_P(Start, IsRefusedForSizesWhoseSumDoesNotFitIntoANumber) {
  constexpr std::size_t kHuge = std::size_t{1} << 62;
  for (const int commanders : {1, 2}) {
    for (const int producers : {1, 2, 3, 4, 5, 8}) {
      Runtime runtime{config_of({{"memory", "1 GiB"}})};
      flow::graph graph;
      std::vector<std::unique_ptr<commander_node<Number>>> sources;
      std::vector<std::unique_ptr<producer_node<Number, Arrays>>> nodes;
      stream_node<Arrays> stream{graph, runtime};
      for (int number = 0; number < commanders; ++number) {
        sources.push_back(std::make_unique<commander_node<Number>>(graph, runtime,
                                                                   "numbers" + std::to_string(number),
                                                                   CountTo{1}));
      }
      for (int number = 0; number < producers; ++number) {
        nodes.push_back(std::make_unique<producer_node<Number, Arrays>>(
            graph, runtime, "work" + std::to_string(number),
            std::vector<ArraySpec>{array<std::uint8_t>("pixels", {kHuge})}, fill));
      }
      EXPECT_THAT(thrown_text<MemoryError>([&] { runtime.start(); }), StartsWith("node 'work"))
          << commanders << " commanders, " << producers << " producers";
    }
  }
}

TEST_P(Start, IsRefusedForTwoProducersWithOneName) {
  Runtime runtime{placed(GetParam(), {"work"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{10}};
  producer_node<Number, Number> first{graph, runtime, "work", [](const Number& in) { return in; }};
  producer_node<Number, Number> second{graph, runtime, "work", [](const Number& in) { return in; }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, first);
  flow::make_edge(first, second);
  flow::make_edge(second, stream);
  expect_refused<ConfigError>(runtime, stream,
                              std::string{"two nodes are named 'work'; give each its own name"});
}

TEST_P(Start, IsRefusedForACommanderAndAProducerWithOneName) {
  Runtime runtime{placed(GetParam(), {"work"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "work", CountTo{10}};
  producer_node<Number, Number> work{graph, runtime, "work", [](const Number& in) { return in; }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, work);
  flow::make_edge(work, stream);
  expect_refused<ConfigError>(runtime, stream,
                              std::string{"two nodes are named 'work'; give each its own name"});
}

TEST_P(Start, IsTooLateForAnotherNode) {
  Line<Arrays> line = line_of(placed(GetParam(), {"work"}), 100);
  line.stream.next();
  EXPECT_EQ(
      thrown_text<Error>([&] { stream_node<Arrays> late(line.graph, line.runtime); }),
      "the runtime has started already; make all nodes before the first next(), activate() or start(), or use "
      "another Runtime");
  EXPECT_TRUE(line.stream.next());  // the run goes on
}

TEST_P(Start, OfARefusedRunLetsAnotherRuntimeRun) {
  for (int time = 0; time < 5; ++time) {
    Line<Arrays> refused = line_of(placed(GetParam(), {"work", "wrok"}), 100);
    EXPECT_THROW(refused.stream.next(), ConfigError);
    Line<Arrays> line = line_of(placed(GetParam(), {"work"}), 100);
    std::uint64_t count = 0;
    for (const auto& item : line.stream) count += item.ok() ? 1 : 0;
    EXPECT_EQ(count, 10U);
  }
}

// Runtime: "all functions may be called by any thread".
TEST_P(Start, MayBeWatchedByOtherThreads) {
  for (int time = 0; time < 20; ++time) {
    Line<Arrays> line = line_of(placed(GetParam(), {"work"}), 100);
    std::atomic<bool> ended{false};
    std::thread watcher{[&] {
      while (!ended) {
        for (const pid_t pid : line.runtime.worker_pids()) EXPECT_GT(pid, 0);
        EXPECT_LE(line.runtime.lent_blocks(), 1000U);
        EXPECT_LE(line.runtime.live_messages(), 1000U);
        EXPECT_LE(line.runtime.in_flight(), 1000U);
      }
    }};
    std::uint64_t count = 0;
    for (const auto& item : line.stream) count += item.ok() ? 1 : 0;
    ended = true;
    watcher.join();
    EXPECT_EQ(count, 10U);
  }
}

TANDEM_FOR_ALL_PLACES(Start);

}  // namespace
}  // namespace tandem::test
