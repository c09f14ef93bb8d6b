// Large arrays, of which workers on threads are lent few at a time, and for which they wait a moment: consumers that keep all or some
// of them, fewer blocks than workers, two nodes in a row, ends in the middle of a wait.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <oneapi/tbb/global_control.h>

#include "support/large.hpp"
#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;

Config config_with(int workers, std::uint32_t in_flight, Settings more = {}) {
  more.emplace_back("in_flight", std::to_string(in_flight));
  return placed({"thread", workers}, {"maker"}, more);
}

/// "numbers" -> "first" -> "second" -> sequencer -> stream, large arrays from both; the consumer keeps one.
void expect_all_of_two_in_a_row(std::uint64_t count) {
  Runtime runtime{placed({"thread", 2}, {"first", "second"}, {{"in_flight", "6"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{count}};
  const ArraySpec spec = array<std::uint8_t>("bytes", {kLargeBytes});
  producer_node<Number, Arrays> first{graph, runtime, "first", {spec}, mark};
  producer_node<Arrays, Arrays> second{graph, runtime, "second", {spec}, [](const Arrays& in, Arrays& out) {
                                         const auto from = in.span<std::uint8_t>("bytes");
                                         const auto to = out.span<std::uint8_t>("bytes");
                                         for (std::size_t at = 0; at < from.size(); at += 4096)
                                           to[at] = from[at];
                                       }};
  sequencer_node<Arrays> order{graph, runtime};
  stream_node<Arrays> stream{graph, runtime};
  make_edge(numbers, first);
  make_edge(first, second);
  make_edge(second, order);
  make_edge(order, stream);
  std::uint64_t next = 0;
  std::optional<Item<Arrays>> before;
  while (auto item = stream.next()) {
    EXPECT_TRUE(is_marked(**item, next)) << next;
    ++next;
    before = std::move(*item);
  }
  EXPECT_EQ(next, count);
  before.reset();
  expect_right_books(runtime);
}

class CirculatingThreads : public TandemTest {};

TEST_F(CirculatingThreads, AConsumerThatKeepsNone) {
  Large large{config_with(2, 8), 200, mark};
  large.expect_all(200, 0);
}

TEST_F(CirculatingThreads, AConsumerThatKeepsAsManyAsItMay) {
  Large large{config_with(2, 8), 60, mark};
  large.expect_all(60, 7);
}

TEST_F(CirculatingThreads, AConsumerThatKeepsSome) {
  Large large{config_with(1, 6), 100, mark};
  large.expect_all(100, 2);
}

TEST_F(CirculatingThreads, FewerBlocksThanWorkers) {
  Large large{config_with(3, 1), 60, mark};
  large.expect_all(60, 0);
}

TEST_F(CirculatingThreads, ManyWorkers) {
  Large large{config_with(8, 24), 300, mark};
  large.expect_all(300, 5);
}

TEST_F(CirculatingThreads, ALoopThatIsLeftWhileWorkersWait) {
  for (int round = 0; round < 20; ++round) {
    Large large{config_with(2, 8), 1000, mark};
    std::vector<Item<Arrays>> kept;
    for (int item = 0; item < 1 + round % 4; ++item) kept.push_back(large.stream.next().value());
    if (round % 2 == 0) kept.clear();
    large.runtime.stop();
  }
}

TEST_F(CirculatingThreads, BodiesThatThrow) {
  Large large{config_with(2, 4, {{"node.maker.on_error", "skip"}, {"node.maker.max_errors", "100"}}), 100,
              [](const Number& number, Arrays& out) {
                if (number.value % 3 == 1) throw std::runtime_error{"not this one"};
                mark(number, out);
              }};
  std::uint64_t count = 0;
  for (const auto& item : large.stream) {
    EXPECT_TRUE(is_marked(*item, item.sequence()));
    ++count;
  }
  EXPECT_EQ(count, 67U);
  EXPECT_EQ(large.stream.skipped(), 33U);
  expect_right_books(large.runtime);
}

// The second holds the first's blocks while it waits for its own, which the consumer has.
TEST_F(CirculatingThreads, TwoNodesInARow) { expect_all_of_two_in_a_row(150); }

// The first must not sleep over the only thread while the second could give a block back.
TEST_F(CirculatingThreads, TwoNodesInARowThatShareOneThread) {
  const oneapi::tbb::global_control few{oneapi::tbb::global_control::max_allowed_parallelism, 1};
  expect_all_of_two_in_a_row(60);
}

// Its block is told of to a worker that waits for it, while the limit changes under both.
TEST_F(CirculatingThreads, ConsumersThatGiveBackLateAndInAnyOrder) {
  Large large{config_with(3, 12), 300, mark};
  auto random = random_generator();
  std::vector<Item<Arrays>> kept;
  std::uint64_t next = 0;
  while (auto item = large.stream.next()) {
    EXPECT_TRUE(is_marked(**item, next)) << next;
    ++next;
    kept.push_back(std::move(*item));
    const std::size_t most = (next / 50) % 3 * 5;
    while (kept.size() > most) {
      std::swap(kept[random() % kept.size()], kept.back());
      kept.pop_back();
    }
  }
  EXPECT_EQ(next, 300U);
  kept.clear();
  expect_right_books(large.runtime);
}

// It is the consumer's to give one back, and nobody else's.
TEST_F(CirculatingThreads, AConsumerThatKeepsAllIsToldSo) {
  Large large{config_with(2, 4, {{"hold_timeout", "300 ms"}}), 20, mark};
  std::vector<Item<Arrays>> kept;
  for (int item = 0; item < 4; ++item) kept.push_back(large.stream.next().value());
  EXPECT_THROW(static_cast<void>(large.stream.next()), Error);
  kept.clear();
  std::uint64_t next = 4;
  while (auto item = large.stream.next()) EXPECT_EQ(item->sequence(), next++);
  EXPECT_EQ(next, 20U);
}

}  // namespace
}  // namespace tandem::test
