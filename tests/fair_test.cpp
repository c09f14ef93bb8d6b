// Fairness: a slow body holds up its own message and no other; a slow commander or branch gets its share beside a fast one.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/line.hpp"
#include "support/shared.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

constexpr std::uint64_t kAll = 2000;
constexpr std::uint64_t kSlow = 500;  // by then bodies are known to be short, and workers are given many ahead

// An error item is what comes of a slow message that nobody lets go: the others waited for it.
void wait_at(Gate& gate) {
  if (!gate.wait()) throw std::runtime_error("the others were held up");
}

#define FOR_SEVERAL_WORKERS(SUITE)                                                                      \
  INSTANTIATE_TEST_SUITE_P(, SUITE,                                                                     \
                           testing::Values(Place{"thread", 2}, Place{"thread", 8}, Place{"process", 2}, \
                                           Place{"process", 8}),                                        \
                           place_name)

// ---- one slow message ------------------------------------------------------------------------------------------

class SlowMessage : public PlacedTest {};
FOR_SEVERAL_WORKERS(SlowMessage);

TEST_P(SlowMessage, HoldsUpNoOther) {
  Shared<Gate> gate;
  Line<Number> line{placed(GetParam(), {"work"}, {{"deterministic", "false"}, {"in_flight", "32"}}),
                    CountTo{kAll}, [gate = gate.get()](const Number& in) {
                      if (in.value == kSlow) wait_at(*gate);
                      return in;
                    }};

  std::set<std::uint64_t> seen;
  while (seen.size() < kAll - 1) ASSERT_TRUE(seen.insert((*line.stream.next())->value).second);
  EXPECT_FALSE(seen.contains(kSlow));
  gate->open();
  EXPECT_EQ((*line.stream.next())->value, kSlow);

  EXPECT_FALSE(line.stream.next());
}

// All that there is may be with one worker, while everybody sleeps: short messages go to few.
TEST_P(SlowMessage, HoldsUpNoneThatCameBehindItWhileAllSlept) {
  Shared<Gate> gate;
  Line<Number> line{placed(GetParam(), {"work"}, {{"deterministic", "false"}, {"in_flight", "16"}}),
                    CountTo{516}, [gate = gate.get()](const Number& in) {
                      if (in.value == 500) wait_at(*gate);
                      return in;
                    }};
  std::vector<Item<Number>> kept;
  for (int taken = 0; taken < 500; ++taken) {
    auto item = line.stream.next();
    if (taken >= 484) kept.push_back(std::move(*item));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds{50});
  kept.clear();  // the commander hands 16 out now, and nobody looks at what becomes of them
  std::this_thread::sleep_for(std::chrono::milliseconds{50});

  for (int taken = 0; taken < 15; ++taken) EXPECT_NE((*line.stream.next())->value, 500U);
  gate->open();
  EXPECT_EQ((*line.stream.next())->value, 500U);
  EXPECT_FALSE(line.stream.next());
}

TEST_P(SlowMessage, LetsTheOthersFillTheWindowInOrder) {
  constexpr std::uint32_t kWindow = 32;
  Shared<Gate> gate;
  Shared<Gate> made;
  Line<Number> line{placed(GetParam(), {"work"}, {{"in_flight", std::to_string(kWindow)}}), CountTo{kAll},
                    [gate = gate.get(), made = made.get()](const Number& in) {
                      if (in.value == kSlow) wait_at(*gate);
                      made->open();
                      return in;
                    }};

  for (std::uint64_t number = 0; number < kSlow; ++number) ASSERT_EQ((*line.stream.next())->value, number);
  EXPECT_TRUE(made->wait(kSlow + kWindow - 1)) << made->count() << " bodies are done";
  gate->open();
  std::uint64_t next = kSlow;
  for (const auto& item : line.stream) ASSERT_EQ(item->value, next++);

  EXPECT_EQ(next, kAll);
  EXPECT_EQ(made->count(), kAll);  // none twice
}

TEST_P(SlowMessage, HoldsUpNoOtherThatIsLargeEither) {
  Shared<Gate> gate;
  Line<Arrays> line{placed(GetParam(), {"work"}, {{"deterministic", "false"}, {"in_flight", "16"}}),
                    CountTo{kAll},
                    {array<std::uint64_t>("values", {8192})},
                    [gate = gate.get()](const Number& in, Arrays& out) {
                      if (in.value == kSlow) wait_at(*gate);
                      out.vector<std::uint64_t>("values").setConstant(in.value);
                    }};

  std::set<std::uint64_t> seen;
  while (seen.size() < kAll - 1) {
    const auto item = line.stream.next();
    ASSERT_TRUE(seen.insert(item->sequence()).second);
    const auto values = (*item)->span<std::uint64_t>("values");
    ASSERT_EQ(values.front(), item->sequence());
    ASSERT_EQ(values.back(), item->sequence());
  }
  gate->open();
  EXPECT_EQ(line.stream.next()->sequence(), kSlow);
}

TEST_P(SlowMessage, HoldsUpNoneThatWasMadeBeforeIt) {
  // The slow one begins when all before it are made, and ends when all before it were delivered.
  Shared<Gate> gate;
  Shared<Gate> made;
  Line<Number> line{placed(GetParam(), {"work"}, {{"deterministic", "false"}}), CountTo{kSlow + 1},
                    [gate = gate.get(), made = made.get()](const Number& in) {
                      if (in.value == kSlow) {
                        made->wait(kSlow);
                        wait_at(*gate);
                      }
                      made->open();
                      return in;
                    }};

  std::set<std::uint64_t> seen;
  while (seen.size() < kSlow) ASSERT_TRUE(seen.insert((*line.stream.next())->value).second);
  gate->open();
  EXPECT_EQ((*line.stream.next())->value, kSlow);
}

class DyingSlowMessage : public PlacedTest {};
INSTANTIATE_TEST_SUITE_P(, DyingSlowMessage, testing::Values(Place{"process", 2}, Place{"process", 8}),
                         place_name);

TEST_P(DyingSlowMessage, IsTheOnlyOneThatIsMadeAgain) {
  Shared<Gate> gate;
  Shared<std::atomic<std::uint64_t>> bodies{0U};
  Line<Number> line{placed(GetParam(), {"work"}, {{"deterministic", "false"}, {"in_flight", "32"}}),
                    CountTo{kAll},
                    [gate = gate.get(), bodies = bodies.get()](const Number& in, Context& context) {
                      if (in.value == kSlow && context.attempt() == 1) {
                        wait_at(*gate);
                        std::_Exit(3);
                      }
                      ++*bodies;
                      return in;
                    }};

  std::set<std::uint64_t> seen;
  while (seen.size() < kAll - 1) {
    const auto item = line.stream.next();
    ASSERT_TRUE(seen.insert((*item)->value).second);
    EXPECT_EQ(item->attempt(), 1);
  }
  gate->open();
  const auto last = line.stream.next();

  ASSERT_TRUE(last);
  EXPECT_EQ((*last)->value, kSlow);
  EXPECT_EQ(last->attempt(), 2);
  EXPECT_FALSE(line.stream.next());
  EXPECT_EQ(*bodies, kAll);
}

// ---- one slow commander, one slow branch -------------------------------------------------------------------------

constexpr std::uint64_t kFirstSlow = 1'000'000'000;
bool is_slow(const Number& in) { return in.value >= kFirstSlow; }

// Each message when the test says so.
struct CountWhenTold {
  Gate* gate;
  std::uint64_t last;
  std::uint32_t next = 0;
  std::optional<Number> operator()() {
    if (next == last || !gate->wait(next + 1)) return std::nullopt;
    return Number{kFirstSlow + next++};
  }
};

class Fair : public PlacedTest {};
TANDEM_FOR_ALL_PLACES(Fair);

TEST_P(Fair, CommandersDoNotEatEachOthersCredits) {
  constexpr std::uint32_t kInFlight = 6;
  constexpr std::uint64_t kItems = 100;
  Gate gate;
  Runtime runtime{
      placed(GetParam(), {"work"}, {{"deterministic", "false"}, {"in_flight", std::to_string(kInFlight)}})};
  flow::graph graph;
  commander_node<Number> fast{graph, runtime, "fast", CountForEver{}};
  commander_node<Number> slow{graph, runtime, "slow", CountWhenTold{&gate, kItems}};
  producer_node<Number, Number> work{graph, runtime, "work", [](const Number& in) { return in; }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(fast, work);
  flow::make_edge(slow, work);
  flow::make_edge(work, stream);
  // The fast one has no credit left: all its items are here.
  std::vector<Item<Number>> held;
  while (held.size() < kInFlight) {
    held.push_back(*stream.next());
    ASSERT_FALSE(is_slow(*held.back()));
  }
  for (std::uint32_t number = 0; number < kItems; ++number) {
    gate.open();
    ASSERT_EQ((*stream.next())->value, kFirstSlow + number);
  }
  held.clear();
  EXPECT_FALSE(is_slow(**stream.next()));
}

TEST_P(Fair, SlowCommanderIsHeardBesideAFastOne) {
  constexpr std::uint64_t kItems = 100;
  Gate gate;
  Runtime runtime{placed(GetParam(), {"work"}, {{"deterministic", "false"}})};
  flow::graph graph;
  commander_node<Number> fast{graph, runtime, "fast", CountForEver{}};
  commander_node<Number> slow{graph, runtime, "slow", CountWhenTold{&gate, kItems}};
  producer_node<Number, Number> work{graph, runtime, "work", [](const Number& in) { return in; }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(fast, work);
  flow::make_edge(slow, work);
  flow::make_edge(work, stream);
  // The fast one never ends: a slow one that had to wait for it would wait for ever.
  std::set<std::uint64_t> heard;
  gate.open();
  while (heard.size() < kItems) {
    const auto item = stream.next();
    if (!is_slow(**item)) continue;
    heard.insert((*item)->value);
    gate.open();
  }
  EXPECT_EQ(*heard.rbegin(), kFirstSlow + kItems - 1);
}

TEST_P(Fair, SlowBranchIsDeliveredWhenItIsDone) {
  constexpr std::uint32_t kInFlight = 8;
  Shared<Gate> gate;
  Gate slow_gate;
  Runtime runtime{placed(GetParam(), {"quick", "lame"},
                         {{"deterministic", "false"}, {"in_flight", std::to_string(kInFlight)}})};
  flow::graph graph;
  commander_node<Number> fast{graph, runtime, "fast", CountForEver{}};
  commander_node<Number> slow{graph, runtime, "slow", CountWhenTold{&slow_gate, 1}};
  producer_node<Number, Number> quick{graph, runtime, "quick", [](const Number& in) { return in; }};
  producer_node<Number, Number> lame{graph, runtime, "lame", [gate = gate.get()](const Number& in) {
                                       wait_at(*gate);
                                       return in;
                                     }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(fast, quick);
  flow::make_edge(slow, lame);
  flow::make_edge(quick, stream);
  flow::make_edge(lame, stream);
  slow_gate.open();
  for (std::uint64_t number = 0; number < kAll; ++number) ASSERT_FALSE(is_slow(**stream.next()));
  // Whatever comes is kept from now on, so that the fast branch can bring no more than it has credits.
  gate->open();
  std::vector<Item<Number>> held;
  do { held.push_back(*stream.next()); } while (!is_slow(*held.back()));
  EXPECT_LE(held.size(), kInFlight + 1);
}

}  // namespace
}  // namespace tandem::test
