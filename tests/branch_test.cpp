// Branches: producers that end one, producers that skip, items that go several ways and come together again.
#include <atomic>
#include <cstdint>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "support/line.hpp"
#include "support/shared.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// ---- an edge that should not be ---------------------------------------------------------------------------------

class ForeignEdge : public TandemTest {};

TEST_F(ForeignEdge, LosesItsItemsAndNothingElse) {
  Runtime runtime{config_of({})};
  Runtime other_runtime{config_of({})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{20}};
  producer_node<Number, Number> work{graph, runtime, "work", [](const Number& in) { return in; }};
  producer_node<Number, Number> foreign{graph, other_runtime, "foreign", [](const Number& in) { return in; }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, foreign);
  flow::make_edge(numbers, work);
  flow::make_edge(work, stream);
  int count = 0;
  for (const auto& item : stream) count += item.ok() ? 1 : 0;
  EXPECT_EQ(count, 20);
  wait_log_line("an item of another Runtime was dropped");
}

// ---- producers without output --------------------------------------------------------------------------------

struct Sums {
  std::atomic<std::uint64_t>* sum;
  void operator()(const Number& in) const { *sum += in.value; }
};

class Sink : public PlacedTest {};
TANDEM_FOR_ALL_PLACES(Sink);

// The loader in one process, the processor in another, and nobody in the host who takes anything.
TEST_P(Sink, EndsABranchAndTheEndOfDataDrainsEverything) {
  constexpr std::uint64_t kItems = 300;
  Shared<std::atomic<std::uint64_t>> sum{0U};
  Runtime runtime{placed(GetParam(), {"load", "process"}, {{"in_flight", "4"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kItems}};
  producer_node<Number, Arrays> load{
      graph, runtime, "load", {array<std::uint64_t>("values", {1000})}, [](const Number& in, Arrays& out) {
        for (std::uint64_t& value : out.span<std::uint64_t>("values")) value = in.value;
      }};
  producer_node<Arrays, void> process{graph, runtime, "process", [sum = sum.get()](const Arrays& in) {
                                        for (const std::uint64_t value : in.span<std::uint64_t>("values"))
                                          *sum += value;
                                      }};
  flow::make_edge(numbers, load);
  flow::make_edge(load, process);
  numbers.activate();
  graph.wait_for_all();
  EXPECT_EQ(*sum, 1000 * kItems * (kItems - 1) / 2);
  runtime.stop();
  EXPECT_EQ(runtime.live_messages(), 0U);
}

TEST_P(Sink, TellsAStreamOfEachMessageInOrder) {
  Shared<std::atomic<std::uint64_t>> sum{0U};
  Runtime runtime{placed(GetParam(), {"sum"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{100}};
  producer_node<Number, void> sums{graph, runtime, "sum", Sums{sum.get()}};
  sequencer_node<Done> order{graph, runtime};
  stream_node<Done> done{graph, runtime};
  flow::make_edge(numbers, sums);
  flow::make_edge(sums, order);
  flow::make_edge(order, done);
  std::uint64_t next = 0;
  for (const auto& item : done) EXPECT_EQ(item.sequence(), next++);
  EXPECT_EQ(next, 100U);
  EXPECT_EQ(*sum, 4950U);
}

TEST_P(Sink, TellsItsErrorsInTheLogWhenNobodyElseDoes) {
  Runtime runtime{placed(GetParam(), {"sum"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{40}};
  producer_node<Number, void> sums{graph, runtime, "sum", [](const Number& in, Context&) {
                                     if (in.value % 2 == 1) throw std::runtime_error("cannot add odd numbers");
                                   }};
  flow::make_edge(numbers, sums);
  numbers.activate();
  graph.wait_for_all();
  const std::vector<std::string> log = log_lines();
  const auto told = [&log](const std::string& part) {
    return std::count_if(log.begin(), log.end(),
                         [&](const std::string& line) { return line.find(part) != line.npos; });
  };
  EXPECT_EQ(told("cannot add odd numbers"), 10);
  EXPECT_EQ(told("further errors are not told"), 1);
}

TEST_P(Sink, MayEndTheRun) {
  Runtime runtime{placed(GetParam(), {"sum"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountForEver{}};
  producer_node<Number, void> sums{graph, runtime, "sum", [&runtime](const Number& in) {
                                     if (in.value == 50) runtime.stop();
                                   }};
  flow::make_edge(numbers, sums);
  numbers.activate();
  graph.wait_for_all();
  runtime.stop();
  EXPECT_GT(runtime.in_flight(), 0U);
}

// ---- producers that skip ---------------------------------------------------------------------------------------

struct SkipsOdd {
  Number operator()(const Number& in, Context& context) const {
    if (in.value % 2 == 1) context.skip();
    return in;
  }
};

class Skip : public PlacedTest {};
TANDEM_FOR_ALL_PLACES(Skip);

TEST_P(Skip, LeavesTheOthersInOrderAndStopsNobody) {
  Runtime runtime{placed(GetParam(), {"filter", "after"}, {{"in_flight", "4"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{200}};
  producer_node<Number, Number> filter{graph, runtime, "filter", SkipsOdd{}};
  producer_node<Number, Number> after{graph, runtime, "after", [](const Number& in) {
                                        if (in.value % 2 == 1) throw std::runtime_error("was skipped");
                                        return Number{in.value + 1};
                                      }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, filter);
  flow::make_edge(filter, after);
  flow::make_edge(after, order);
  flow::make_edge(order, stream);
  std::uint64_t next = 0;
  for (const auto& item : stream) {
    EXPECT_EQ(item.sequence(), next);
    EXPECT_EQ(item->value, next + 1);
    next += 2;
  }
  EXPECT_EQ(next, 200U);
  EXPECT_EQ(stream.skipped(), 0U) << "those are errors";
  runtime.stop();
  EXPECT_EQ(runtime.live_messages(), 0U);
}

TEST_P(Skip, OfAllMessagesIsAnEmptyStream) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"in_flight", "2"}}), CountTo{100},
                    [](const Number& in, Context& context) {
                      context.skip();
                      return in;
                    }};
  EXPECT_FALSE(line.stream.next());
  EXPECT_TRUE(line.stream.ended());
}

TEST_P(Skip, IsSeenByPlainNodesAndDoesNotOutliveTheMessage) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{100}, SkipsOdd{}};
  std::atomic<int> skipped{0};
  std::atomic<int> ok{0};
  flow::function_node<Item<Number>> look{line.graph, flow::unlimited, [&](const Item<Number>& item) {
                                           if (item.skipped()) {
                                             ++skipped;
                                             EXPECT_FALSE(item.ok());
                                             EXPECT_EQ(item.error(), nullptr);
                                             EXPECT_THROW(std::ignore = item->value, Error);
                                           }
                                           if (item.ok()) ++ok;
                                         }};
  flow::make_edge(line.work, look);
  std::uint64_t count = 0;
  for (const auto& item : line.stream) count += item.ok() ? 1 : 0;
  EXPECT_EQ(count, 50U);
  line.graph.wait_for_all();
  EXPECT_EQ(skipped, 50);
  EXPECT_EQ(ok, 50);
}

// ---- branches that come together ---------------------------------------------------------------------------------

class Diamond : public PlacedTest {};
TANDEM_FOR_ALL_PLACES(Diamond);

TEST_P(Diamond, JoinsByNumberAndRestoresTheOrder) {
  constexpr std::uint64_t kItems = 200;
  Runtime runtime{placed(GetParam(), {"left", "right"}, {{"in_flight", "6"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kItems}};
  producer_node<Number, Number> left{graph, runtime, "left", [](const Number& in) {
                                       busy(in.value % 7 * 5000);
                                       return Number{in.value * 2};
                                     }};
  producer_node<Number, Number> right{graph, runtime, "right", [](const Number& in) {
                                        busy(in.value % 5 * 5000);
                                        return Number{in.value * 3};
                                      }};
  const auto number_of = [](const Item<Number>& item) { return item.sequence(); };
  using Pair = std::tuple<Item<Number>, Item<Number>>;
  flow::join_node<Pair, flow::key_matching<std::uint64_t>> join{graph, number_of, number_of};
  std::vector<std::uint64_t> sums;
  flow::sequencer_node<Pair> order{graph, [](const Pair& pair) { return std::get<0>(pair).sequence(); }};
  flow::function_node<Pair> collect{graph, flow::serial, [&sums](const Pair& pair) {
                                      sums.push_back(std::get<0>(pair)->value + std::get<1>(pair)->value);
                                    }};
  flow::make_edge(numbers, left);
  flow::make_edge(numbers, right);
  flow::make_edge(left, flow::input_port<0>(join));
  flow::make_edge(right, flow::input_port<1>(join));
  flow::make_edge(join, order);
  flow::make_edge(order, collect);
  numbers.activate();
  graph.wait_for_all();
  ASSERT_EQ(sums.size(), kItems);
  for (std::uint64_t number = 0; number < kItems; ++number) EXPECT_EQ(sums[number], 5 * number);
}

TEST_P(Diamond, JoinsThoughOneBranchSkipsOrFails) {
  Runtime runtime{placed(GetParam(), {"left", "right"}, {{"in_flight", "4"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{100}};
  producer_node<Number, Number> left{graph, runtime, "left", SkipsOdd{}};
  producer_node<Number, Number> right{graph, runtime, "right", [](const Number& in) {
                                        if (in.value % 10 == 0) throw std::runtime_error("no tens");
                                        return in;
                                      }};
  const auto number_of = [](const Item<Number>& item) { return item.sequence(); };
  using Pair = std::tuple<Item<Number>, Item<Number>>;
  flow::join_node<Pair, flow::key_matching<std::uint64_t>> join{graph, number_of, number_of};
  std::atomic<int> both{0};
  std::atomic<int> all{0};
  flow::function_node<Pair> count{graph, flow::unlimited, [&](const Pair& pair) {
                                    ++all;
                                    if (std::get<0>(pair).ok() && std::get<1>(pair).ok()) ++both;
                                  }};
  flow::make_edge(numbers, left);
  flow::make_edge(numbers, right);
  flow::make_edge(left, flow::input_port<0>(join));
  flow::make_edge(right, flow::input_port<1>(join));
  flow::make_edge(join, count);
  numbers.activate();
  graph.wait_for_all();
  EXPECT_EQ(all, 100);
  EXPECT_EQ(both, 40);
}

TEST_P(Diamond, TwoBranchesRejoinInOneStreamInOrder) {
  // Even numbers go one way, odd ones the other; each way skips the other's.
  Runtime runtime{placed(GetParam(), {"even", "odd"}, {{"in_flight", "6"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{100}};
  producer_node<Number, Number> even{graph, runtime, "even", [](const Number& in, Context& context) {
                                       if (in.value % 2 != 0) context.skip();
                                       return Number{in.value};
                                     }};
  producer_node<Number, Number> odd{graph, runtime, "odd", [](const Number& in, Context& context) {
                                      if (in.value % 2 != 1) context.skip();
                                      return Number{in.value};
                                    }};
  sequencer_node<Number> order{graph, runtime, 2};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, even);
  flow::make_edge(numbers, odd);
  flow::make_edge(even, order);
  flow::make_edge(odd, order);
  flow::make_edge(order, stream);
  std::vector<std::uint64_t> seen;
  for (const auto& item : stream) seen.push_back(item->value);
  EXPECT_EQ(seen.size(), 100U);
  EXPECT_EQ(std::set<std::uint64_t>(seen.begin(), seen.end()).size(), 100U);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

}  // namespace
}  // namespace tandem::test
