// Split nodes: what a consumer that holds parts sees, how a graph of them ends, and what is refused.
// labels: no_tsan
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>

#include <tandem/ending.hpp>

#include "support/parts.hpp"
#include "support/shared.hpp"

namespace tandem::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::size_t two(std::uint64_t) { return 2; }
std::size_t hundred(std::uint64_t) { return 100; }

class SplitHeld : public SplitTest {};
TANDEM_FOR_ALL_SPLITS(SplitHeld);

// All credits of the parts, while items wait in the node, and others at their maker.
TEST_P(SplitHeld, PartsAreAnErrorWhenAllAreAndNoHang) {
  PartsLine line{config({{"in_flight", "4"}, {"hold_timeout", "50 ms"}}), CountTo{20}, 100, MakeRows{hundred},
                 ReadRow{}};
  std::vector<Item<Row>> held;
  for (int i = 0; i < 4; ++i) held.push_back(*line.stream.next());
  EXPECT_THAT(thrown_text<Error>([&] { line.stream.next(); }),
              AllOf(HasSubstr("items in flight are held outside the graph"), HasSubstr("raise in_flight (4)")));
  held.clear();
  std::uint64_t rest = 0;
  for (const auto& item : line.stream) rest += item.ok() ? 1 : 0;
  EXPECT_EQ(rest, 20U * 100 - 4);
  expect_nothing_left(line.runtime);
}

// All credits of the commander: one part of each of its items.
TEST_P(SplitHeld, ItemsAreAnErrorWhenAllAreAndNoHang) {
  PartsLine line{config({{"in_flight", "4"}, {"hold_timeout", "50 ms"}}), CountTo{20}, 2, MakeRows{two},
                 ReadRow{}};
  std::vector<Item<Row>> held;
  for (int i = 0; i < 8 && held.size() < 4; ++i) {
    auto item = line.stream.next();
    if ((*item)->row == 1) held.push_back(std::move(*item));
  }
  EXPECT_THROW(line.stream.next(), Error);
  held.pop_back();
  EXPECT_TRUE(line.stream.next());
}

TEST_P(SplitHeld, PartsDoNotHideTheEnd) {
  PartsLine line{config({{"in_flight", "8"}}), CountTo{3}, 2, MakeRows{two}, ReadRow{}};
  std::vector<Item<Row>> held;
  while (auto item = line.stream.next()) held.push_back(std::move(*item));
  EXPECT_EQ(held.size(), 6U);
  EXPECT_TRUE(line.stream.ended());
}

TEST_P(SplitHeld, PartsKeepTheirItemWhenAllElseIsGone) {
  std::vector<Item<Arrays>> held;
  {
    Runtime runtime{config({{"in_flight", "4"}}, {"make"})};
    flow::graph graph;
    commander_node<Number> numbers{graph, runtime, "numbers", CountTo{5}};
    producer_node<Number, Arrays> make{graph, runtime, "make", row_arrays(2), MakeRows{two}};
    split_node<Arrays> parts{graph, runtime, "parts", {"words", "tags"}};
    stream_node<Arrays> stream{graph, runtime};
    flow::make_edge(numbers, make);
    flow::make_edge(make, parts);
    flow::make_edge(parts, stream);
    for (int i = 0; i < 3; ++i) held.push_back(*stream.next());
  }
  for (const Item<Arrays>& item : held) {
    EXPECT_EQ(row_of(*item), (Row{item.message<Number>().value, item.part()}));
  }
}

TEST_P(SplitHeld, PartsViewTheirItemsMemory) {
  Runtime runtime{config({{"in_flight", "100"}}, {"make"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{1}};
  producer_node<Number, Arrays> make{graph, runtime, "make", row_arrays(100), MakeRows{hundred}};
  split_node<Arrays> parts{graph, runtime, "parts", {"words", "tags"}};
  stream_node<Arrays> stream{graph, runtime};
  flow::make_edge(numbers, make);
  flow::make_edge(make, parts);
  flow::make_edge(parts, stream);
  std::vector<Item<Arrays>> held;
  while (auto item = stream.next()) held.push_back(std::move(*item));
  ASSERT_EQ(held.size(), 100U);
  for (std::size_t row = 0; row < held.size(); ++row) {
    EXPECT_EQ(held[row]->data("words"), held[0]->data("words") + row * kRowWords * 8);
    EXPECT_EQ(held[row]->data("tags"), held[0]->data("tags") + row * 8);
    EXPECT_EQ(held[row]->data("all"), held[0]->data("all"));
  }
}

// ---- the end ---------------------------------------------------------------------------------------------------

class SplitEnd : public SplitTest {};
TANDEM_FOR_ALL_SPLITS(SplitEnd);

TEST_P(SplitEnd, ComesWhenTheLoopIsLeftEarly) {
  PartsLine line{config({{"in_flight", "4"}}), CountForEver{}, 100, MakeRows{hundred}, ReadRow{}};
  std::uint64_t taken = 0;
  for (const auto& item : line.stream) {
    if (item.ok() && ++taken == 150) break;
  }
  EXPECT_EQ(taken, 150U);
}

TEST_P(SplitEnd, ComesByStopAtAnyMoment) {
  if (place().is_spawned()) GTEST_SKIP() << "whose workers belong to the first Runtime";
  std::mt19937_64 random = random_generator();
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t wait = random() % 200'000;
    PartsLine line{config({{"in_flight", "3"}}), CountForEver{}, 100, MakeRows{hundred}, ReadRow{}};
    std::thread stopper{[&] {
      busy(wait);
      line.runtime.stop();
    }};
    try {
      for (const auto& item : line.stream) EXPECT_TRUE(item.ok());
    } catch (const Error&) {}  // stopped before it could start
    stopper.join();
    expect_nothing_left(line.runtime);
  }
}

// Two after each other, and short: whoever is last brings the end.
TEST_P(SplitEnd, ComesWhoeverIsLast) {
  if (place().is_spawned()) GTEST_SKIP() << "whose workers belong to the first Runtime";
  std::mt19937_64 random = random_generator();
  for (int round = 0; round < 20; ++round) {
    const std::uint64_t messages = random() % 4;
    Runtime runtime{config({{"in_flight", std::to_string(1 + random() % 3)}})};
    flow::graph graph;
    commander_node<Number> numbers{graph, runtime, "numbers", CountTo{messages}};
    using Some = Several<Number, 3>;
    producer_node<Number, Some> make{graph, runtime, "make", [](const Number& in, Some& out) {
                                       for (std::uint64_t one = 0; one < in.value; ++one) out.push_back({one});
                                     }};
    // Made in the other order.
    split_node<Some> second{graph, runtime, "second"};
    split_node<Some> first{graph, runtime, "first"};
    producer_node<Number, Some> read{graph, runtime, "read", [](const Number& in, Some& out) {
                                       for (std::uint64_t one = 0; one < in.value; ++one) out.push_back({one});
                                     }};
    stream_node<Number> stream{graph, runtime};
    flow::make_edge(numbers, make);
    flow::make_edge(make, first);
    flow::make_edge(first, read);
    flow::make_edge(read, second);
    flow::make_edge(second, stream);
    std::uint64_t count = 0;
    for (const auto& item : stream) count += item.ok() ? 1 : 0;
    EXPECT_EQ(count, messages == 3 ? 1U : 0U);  // message 2 has parts 0 and 1, and that makes one
    expect_nothing_left(runtime);
  }
}

TEST_P(SplitEnd, IsKnownToTheGraph) {
  Shared<std::atomic<std::uint64_t>> rows{0U};
  Runtime runtime{config({{"in_flight", "3"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{20}};
  producer_node<Number, Arrays> make{graph, runtime, "make", row_arrays(100), MakeRows{hundred}};
  split_node<Arrays> parts{graph, runtime, "parts", {"words", "tags"}};
  producer_node<Arrays, void> read{graph, runtime, "read", [sum = rows.get()](const Arrays& in) {
                                     row_of(in);
                                     ++*sum;
                                   }};
  flow::make_edge(numbers, make);
  flow::make_edge(make, parts);
  flow::make_edge(parts, read);
  numbers.activate();
  graph.wait_for_all();
  EXPECT_EQ(*rows, 2000U);
  expect_nothing_left(runtime);
}

TEST_P(SplitEnd, ComesWithAnErrorWhenThePlainNodeBehindThrows) {
  Runtime runtime{config({{"in_flight", "3"}}, {"make"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountForEver{}};
  producer_node<Number, Arrays> make{graph, runtime, "make", row_arrays(100), MakeRows{hundred}};
  split_node<Arrays> parts{graph, runtime, "parts", {"words", "tags"}};
  flow::function_node<Item<Arrays>, Item<Arrays>> plain{graph, flow::serial, [](const Item<Arrays>& item) {
                                                          if (item.sequence() == 20)
                                                            throw std::runtime_error("no");
                                                          return item;
                                                        }};
  stream_node<Arrays> stream{graph, runtime};
  flow::make_edge(numbers, make);
  flow::make_edge(make, parts);
  flow::make_edge(parts, plain);
  flow::make_edge(plain, stream);
  EXPECT_THROW(
      for (const auto& item
           : stream) { EXPECT_TRUE(item.ok()); },
      Error);
  runtime.stop();
  EXPECT_THROW(graph.wait_for_all(), std::runtime_error);
}

TEST_P(SplitEnd, LeavesNothingWhateverGoesFirst) {
  if (place().is_spawned()) GTEST_SKIP() << "whose workers belong to the first Runtime";
  std::mt19937_64 random = random_generator();
  for (int round = 0; round < 6; ++round) {
    flow::graph graph;
    auto runtime = std::make_shared<Runtime>(config({{"in_flight", "3"}}, {"make"}));
    auto numbers = std::make_shared<commander_node<Number>>(graph, *runtime, "numbers", CountForEver{});
    auto make = std::make_shared<producer_node<Number, Arrays>>(graph, *runtime, "make", row_arrays(100),
                                                                MakeRows{hundred});
    auto parts = std::make_shared<split_node<Arrays>>(graph, *runtime, "parts",
                                                      std::vector<std::string>{"words", "tags"});
    auto stream = std::make_shared<stream_node<Arrays>>(graph, *runtime);
    flow::make_edge(*numbers, *make);
    flow::make_edge(*make, *parts);
    flow::make_edge(*parts, *stream);
    EXPECT_TRUE(stream->next());
    std::vector<std::shared_ptr<void>> all{runtime, numbers, make, parts, stream};
    runtime.reset(), numbers.reset(), make.reset(), parts.reset(), stream.reset();
    std::shuffle(all.begin(), all.end(), random);
    for (std::shared_ptr<void>& one : all) one.reset();
  }
}

// ---- what is refused, and what is not ------------------------------------------------------------------------

class SplitMisuse : public TandemTest {
 protected:
  // The error of a graph that splits these arrays so.
  static std::string refused(std::vector<ArraySpec> specs, const std::vector<std::string>& names) {
    Runtime runtime{config_of({})};
    flow::graph graph;
    commander_node<Number> numbers{graph, runtime, "numbers", CountTo{1}};
    producer_node<Number, Arrays> make{graph, runtime, "make", std::move(specs), [](const Number&, Arrays&) {}};
    const auto parts = names.empty() ? std::make_unique<split_node<Arrays>>(graph, runtime, "parts")
                                     : std::make_unique<split_node<Arrays>>(graph, runtime, "parts", names);
    stream_node<Arrays> stream{graph, runtime};
    flow::make_edge(numbers, make);
    flow::make_edge(make, *parts);
    flow::make_edge(*parts, stream);
    return thrown_text<ProducerError>([&] { stream.next(); });
  }
};

TEST_F(SplitMisuse, OfAnArrayWithoutDimensionIsToldWithItsName) {
  EXPECT_EQ(
      refused({array<int>("rows", {2, 3}), array<int>("total", {})}, {}),
      "node 'parts', message 0, attempt 1: cannot split the item: array 'total' has no dimension along which "
      "it could be split; name the arrays that are to be split without it");
}

TEST_F(SplitMisuse, OfArraysOfDifferentLengthsIsToldWithBoth) {
  EXPECT_EQ(refused({array<int>("rows", {2, 3}), array<int>("tags", {5})}, {}),
            "node 'parts', message 0, attempt 1: cannot split the item: arrays 'rows' (2, 3) and 'tags' (5) "
            "differ in "
            "their first extents; declare them equal, or name the arrays that are to be split");
}

TEST_F(SplitMisuse, OfANameThatNoArrayHasIsToldWithTheNearest) {
  EXPECT_THAT(refused({array<int>("rows", {2, 3})}, {"row"}),
              AllOf(HasSubstr("node 'parts'"), HasSubstr("no array is named 'row'"), HasSubstr("'rows'")));
}

TEST_F(SplitMisuse, OfPartsIsTold) {
  Runtime runtime{config_of({})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{1}};
  producer_node<Number, Arrays> make{graph, runtime, "make", row_arrays(2), MakeRows{two}};
  split_node<Arrays> parts{graph, runtime, "parts", {"words", "tags"}};
  split_node<Arrays> again{graph, runtime, "again", {"words"}};
  stream_node<Arrays> stream{graph, runtime};
  flow::make_edge(numbers, make);
  flow::make_edge(make, parts);
  flow::make_edge(parts, again);
  flow::make_edge(again, stream);
  EXPECT_THAT(thrown_text<ProducerError>([&] { stream.next(); }),
              AllOf(HasSubstr("node 'again'"), HasSubstr("put a producer between")));
}

TEST_F(SplitMisuse, OfNamesIsRefusedAtOnce) {
  Runtime runtime{config_of({})};
  flow::graph graph;
  using Names = std::vector<std::string>;
  const auto refusal = [&](const Names& names) {
    return thrown_text<Error>([&] { split_node<Arrays>{graph, runtime, "parts", names}; });
  };
  EXPECT_EQ(refusal({"rows", "rows"}), "node 'parts': array 'rows' is to be split twice; name it once");
  EXPECT_EQ(refusal({""}), "node 'parts': an array to split has no name");
  EXPECT_EQ(refusal({}), "node 'parts': no array is named to be split; leave the list out to split all");
}

TEST_F(SplitMisuse, OfAnEigenViewIsRefusedInEachPartWhoseRowsAreNotAligned) {
  Runtime runtime{config_of({})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{1}};
  producer_node<Number, Arrays> make{
      graph, runtime, "make", {array<float>("points", {3, 5})}, [](const Number&, Arrays& out) {
        float next = 0;
        for (float& value : out.span<float>("points")) value = next++;
      }};
  split_node<Arrays> parts{graph, runtime, "parts"};
  stream_node<Arrays> stream{graph, runtime};
  flow::make_edge(numbers, make);
  flow::make_edge(make, parts);
  flow::make_edge(parts, stream);
  std::uint64_t count = 0;
  for (const auto& item : stream) {
    EXPECT_EQ(
        thrown_text<TypeError>([&] { (void)item->vector<float>("points"); }),
        "array 'points': each part of it is 20 bytes long, so most begin at no multiple of 64, as matrix(), "
        "vector() and tensor() need it; use span(), or pad the parts to 64 bytes");
    EXPECT_EQ(item->span<float>("points")[4], static_cast<float>(5 * item.part() + 4));
    EXPECT_EQ(item->shape("points"), Shape{5});
    ++count;
  }
  EXPECT_EQ(count, 3U);
}

TEST(SeveralTest, HasRoomForSoManyAndNoMore) {
  Several<Number, 2> all;
  EXPECT_TRUE(all.empty());
  all.push_back({1});
  all.push_back({2});
  EXPECT_EQ(thrown_text<Error>([&] { all.push_back({3}); }),
            "a Several has room for 2, and one more was put into it; declare more");
  EXPECT_EQ(all.size(), 2U);
  EXPECT_EQ(all[1].value, 2U);
  all.clear();
  EXPECT_EQ(all.begin(), all.end());
}

// ---- Ending, by itself -----------------------------------------------------------------------------------------

struct Listener final : SourceListener {
  void message_left(Source&, std::uint64_t) noexcept override {}
  void source_drained(Source& source) noexcept override {
    if (source.id() > 0) early += inputs;
    ending.look();
  }
  void credit_free(Source&) noexcept override {}
  void source_quiet(Source&) noexcept override { ending.look(); }
  Ending ending;
  std::atomic<int> inputs{0};  // that are with split nodes
  std::atomic<int> early{0};
};

// One origin and three split nodes, each before and behind each other, and as many threads that hand inputs to
// whichever they like: the end must come, and not before all is done.
TEST(EndingTest, ComesOnceNothingMovesAndNotBefore) {
  std::random_device device;
  const std::uint64_t seed = device();
  SCOPED_TRACE(seed);
  for (std::uint64_t round = 0; round < 300; ++round) {
    constexpr std::uint32_t kCredits = 1000;
    Listener listener;
    std::deque<Source> sources;
    for (std::uint32_t id = 0; id < 4; ++id) {
      sources.emplace_back(id).open(listener, nullptr, std::make_unique<NoStore>(), kCredits, 0, 0);
      if (id == 0) listener.ending.add_origin(sources[id]);
      if (id > 0) listener.ending.add_split(sources[id]);
    }
    // Each split node's thread: an input is its number of further steps.
    struct Inbox {
      std::mutex mutex;
      std::deque<int> inputs;
    };
    std::vector<Inbox> inboxes(4);
    const auto hand_to = [&](std::size_t to, int steps) {
      ++listener.inputs;
      sources[to].begin_input();
      const std::lock_guard lock{inboxes[to].mutex};
      inboxes[to].inputs.push_back(steps);
    };
    std::vector<std::thread> threads;
    for (std::size_t self = 1; self < 4; ++self) {
      threads.emplace_back([&, self] {
        std::mt19937_64 random{seed + round * 4 + self};
        while (!sources[self].drained()) {
          int steps = -1;
          {
            const std::lock_guard lock{inboxes[self].mutex};
            if (!inboxes[self].inputs.empty()) {
              steps = inboxes[self].inputs.front();
              inboxes[self].inputs.pop_front();
            }
          }
          if (steps < 0) {
            std::this_thread::yield();
            continue;
          }
          for (std::uint64_t parts = steps > 0 ? random() % 3 : 0; parts > 0; --parts) {
            const Handle part{sources[self].try_acquire(), Part::graph};
            hand_to(1 + random() % 3, steps - 1);
          }
          --listener.inputs;
          sources[self].end_input();
        }
      });
    }
    for (int message = 0; message < 4; ++message) {
      const Handle root{sources[0].try_acquire(), Part::graph};
      hand_to(1 + static_cast<std::size_t>(message) % 3, 6);
    }
    sources[0].finish();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(listener.early, 0);
    for (const Inbox& inbox : inboxes) EXPECT_TRUE(inbox.inputs.empty());
  }
}

}  // namespace
}  // namespace tandem::test
