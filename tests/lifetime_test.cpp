// Who may outlive whom: nodes, runtimes, graphs and items, in every order that C++ allows.
#include <algorithm>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

Number same(const Number& in) { return in; }

void fill(const Number& in, Arrays& out) {
  for (auto& one : out.span<std::uint64_t>("numbers")) one = in.value;
}

class Lifetime : public PlacedTest {};

TEST_P(Lifetime, OfAnItemMayBeLongerThanOfGraphAndRuntime) {
  std::vector<Item<Number>> kept;
  {
    Line<Number> line{placed(GetParam(), {"work"}), CountTo{100}, same};
    for (const auto& item : line.stream) {
      if (item->value % 10 == 0) kept.push_back(item);
    }
  }
  for (std::size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(kept[i]->value, 10 * i);
}

TEST_P(Lifetime, OfArraysMayBeLongerThanOfGraphAndRuntime) {
  std::optional<Item<Arrays>> kept;
  {
    Line<Arrays> line{
        placed(GetParam(), {"work"}), CountForEver{}, {array<std::uint64_t>("numbers", {5000})}, fill};
    for (const auto& item : line.stream) {
      kept = item;
      if (item.sequence() == 50) break;
    }
  }
  for (const std::uint64_t number : (*kept)->span<std::uint64_t>("numbers")) ASSERT_EQ(number, 50U);
}

TEST_P(Lifetime, OfItemsMayEndInSeveralThreadsAfterTheRuntime) {
  for (int round = 0; round < 10; ++round) {
    std::vector<Item<Number>> kept;
    {
      Line<Number> line{placed(GetParam(), {"work"}, {{"in_flight", "32"}}), CountForEver{}, same};
      while (kept.size() < 20) kept.push_back(*line.stream.next());
    }
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 2; ++thread) {
      std::vector<Item<Number>> some{kept.begin() + thread * 10, kept.begin() + thread * 10 + 10};
      threads.emplace_back([some = std::move(some)]() mutable { some.clear(); });
    }
    kept.clear();
    for (std::thread& thread : threads) thread.join();
  }
}

// A message that knows how many of its kind there are.
struct Counted {
  static inline std::atomic<int> alive{0};
  std::uint64_t value;
  explicit Counted(std::uint64_t number) : value{number} { ++alive; }
  Counted(const Counted& other) : value{other.value} { ++alive; }
  Counted(Counted&& other) noexcept : value{other.value} { ++alive; }
  Counted& operator=(const Counted&) = default;
  ~Counted() { --alive; }
};

TEST_F(TandemTest, MessagesAreDestroyedOnceEach) {
  {
    Runtime runtime{config_of({{"in_flight", "8"}})};
    flow::graph graph;
    auto count = [next = std::uint64_t{0}]() mutable -> std::optional<Counted> {
      if (next == 500) return std::nullopt;
      return Counted{next++};
    };
    commander_node<Counted> numbers{graph, runtime, "numbers", count};
    stream_node<Counted> stream{graph, runtime};
    make_edge(numbers, stream);
    std::uint64_t next = 0;
    for (const auto& item : stream) {
      ASSERT_EQ(item->value, next++);
      ASSERT_LE(Counted::alive.load(), 8 + 2);  // and those on the commander's stack
    }
  }
  EXPECT_EQ(Counted::alive.load(), 0);
}

TEST_P(Lifetime, EndsWellWhenNeverStarted) {
  const Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, same};
}

TEST_P(Lifetime, EndsWellWhenStartedAndNothingIsConsumed) {
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, same};
  line.runtime.start();
  while (line.runtime.live_messages() < line.runtime.in_flight()) std::this_thread::yield();
}

TEST_P(Lifetime, EndsWellWhenNothingIsConnected) {
  Runtime runtime{placed(GetParam(), {"work"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{10}};
  producer_node<Number, Number> work{graph, runtime, "work", same};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};

  EXPECT_FALSE(stream.next());
}

TEST_P(Lifetime, MayEndInAnyOrderOfNodesAndRuntime) {
  std::mt19937_64 random = random_generator();
  for (int round = 0; round < 24; ++round) {
    auto graph = std::make_unique<flow::graph>();  // outlives its nodes, as oneTBB asks
    auto runtime = std::make_unique<Runtime>(placed(GetParam(), {"work"}));
    auto numbers = std::make_unique<commander_node<Number>>(*graph, *runtime, "numbers", CountForEver{});
    auto work = std::make_unique<producer_node<Number, Number>>(*graph, *runtime, "work", same);
    auto order = std::make_unique<sequencer_node<Number>>(*graph, *runtime);
    auto stream = std::make_unique<stream_node<Number>>(*graph, *runtime);
    make_edge(*numbers, *work);
    make_edge(*work, *order);
    make_edge(*order, *stream);
    std::vector<Item<Number>> kept;
    for (int item = 0; item < 5 * (round % 4); ++item) kept.push_back(*stream->next());

    std::vector<std::function<void()>> ends{[&] { runtime.reset(); }, [&] { numbers.reset(); },
                                            [&] { work.reset(); },    [&] { order.reset(); },
                                            [&] { stream.reset(); },  [&] { kept.clear(); }};
    std::shuffle(ends.begin(), ends.end(), random);
    for (const auto& end : ends) end();
  }
}

TEST_P(Lifetime, OfTheRuntimeMayEndBeforeItsNodes) {
  auto runtime = std::make_unique<Runtime>(placed(GetParam(), {"work"}));
  flow::graph graph;
  commander_node<Number> numbers{graph, *runtime, "numbers", CountForEver{}};
  producer_node<Number, Number> work{graph, *runtime, "work", same};
  stream_node<Number> stream{graph, *runtime};
  make_edge(numbers, work);
  make_edge(work, stream);
  EXPECT_TRUE(stream.next());

  runtime.reset();

  EXPECT_FALSE(stream.next());
}

// numbers -> work -> look (user's) -> order -> stream, left while items are everywhere
TEST_P(Lifetime, OfAUsersNodeInBetweenMayEndWithTheOthers) {
  for (int round = 0; round < 30; ++round) {
    Runtime runtime{placed(GetParam(), {"work"})};
    flow::graph graph;
    commander_node<Number> numbers{graph, runtime, "numbers", CountForEver{}};
    producer_node<Number, Number> work{graph, runtime, "work", same};
    flow::function_node<Item<Number>, Item<Number>> look{graph, flow::serial, [](const Item<Number>& item) {
                                                           busy(2000);
                                                           return item;
                                                         }};
    sequencer_node<Number> order{graph, runtime};
    stream_node<Number> stream{graph, runtime};
    make_edge(numbers, work);
    make_edge(work, look);
    make_edge(look, order);
    make_edge(order, stream);
    for (const auto& item : stream) {
      if (item->value >= 20) break;
    }
  }
}

TEST_P(Lifetime, OfTwoRuntimesMayOverlap) {
  Line<Number> one{placed(GetParam(), {"work"}), CountForEver{}, same};
  one.stream.next();
  {
    Line<Number> other{placed(GetParam(), {"work"}), CountTo{200},
                       [](const Number& in) { return Number{in.value + 5}; }};
    std::uint64_t next = 0;
    for (const auto& item : other.stream) {
      ASSERT_EQ(item->value, next++ + 5);
      ASSERT_EQ((*one.stream.next())->value, next);
    }
    EXPECT_EQ(next, 200U);
  }
  EXPECT_EQ((*one.stream.next())->value, 201U);
}

TEST_P(Lifetime, OfAHundredRuntimesOneAfterAnotherLeavesNothing) {
  for (int round = 0; round < 100; ++round) {
    Line<Number> line{placed(GetParam(), {"work"}), CountTo{20}, same};
    std::uint64_t next = 0;
    for (const auto& item : line.stream) ASSERT_EQ(item->value, next++);
    ASSERT_EQ(next, 20U);
  }
}

TANDEM_FOR_ALL_PLACES(Lifetime);

}  // namespace
}  // namespace tandem::test
