// An Executor beside a graph of the same Runtime: neither waits for the other, and each has its own end.
// labels: no_tsan
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include <tandem/executor.hpp>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;

std::uint64_t square_of(std::uint64_t number) { return number * number; }

// A graph "work" and an Executor "calls".
class ExecutorBesideAGraph : public PlacedTest {
 protected:
  static Config config() { return placed(GetParam(), {"work", "calls"}, {{"in_flight", "8"}}); }
};
TANDEM_FOR_ALL_PLACES_AND_SPAWNED(ExecutorBesideAGraph);

TEST_P(ExecutorBesideAGraph, IsCalledForEachItem) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{200}};
  producer_node<Number, Number> work{graph, runtime, "work",
                                     [](const Number& in) { return Number{in.value + 1}; }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  make_edge(numbers, work);
  make_edge(work, order);
  make_edge(order, stream);
  std::uint64_t next = 1;
  for (const auto& item : stream) {
    ASSERT_EQ(item->value, next);
    ASSERT_EQ(calls.submit(square_of, item->value).get(), next * next);
    ++next;
  }
  EXPECT_EQ(next, 201U);
  EXPECT_EQ(calls.submit(square_of, 9U).get(), 81U);  // the graph's end is not the run's
  graph.wait_for_all();
}

TEST_P(ExecutorBesideAGraph, IsNotHeldUpByItemsThatAreKept) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountForEver{}};
  producer_node<Number, Number> work{graph, runtime, "work", [](const Number& in) { return in; }};
  stream_node<Number> stream{graph, runtime};
  make_edge(numbers, work);
  make_edge(work, stream);
  std::vector<Item<Number>> kept;
  for (int i = 0; i < 8; ++i) kept.push_back(*stream.next());
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_EQ(calls.submit(square_of, i).get(), i * i);
  kept.clear();
}

TEST_P(ExecutorBesideAGraph, HoldsUpNoStream) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{500}};
  producer_node<Number, Number> work{graph, runtime, "work", [](const Number& in) { return in; }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  make_edge(numbers, work);
  make_edge(work, order);
  make_edge(order, stream);
  const auto until_stopped = [](Context& context) {
    while (!context.stopping()) std::this_thread::sleep_for(1ms);
  };
  std::vector<Future<void>> busy;
  for (int i = 0; i < 20; ++i) busy.push_back(calls.submit(until_stopped));  // more than there are credits
  std::uint64_t next = 0;
  for (const auto& item : stream) ASSERT_EQ(item->value, next++);
  EXPECT_EQ(next, 500U);
  runtime.stop();
  for (auto& one : busy) EXPECT_THROW(one.get(), Error);
}

}  // namespace
}  // namespace tandem::test
