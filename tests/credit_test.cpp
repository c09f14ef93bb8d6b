// Credits: how many messages there may be, and who is told when none is left.
#include <atomic>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

// Counts its calls in the test's own memory.
struct CountCalls {
  std::atomic<std::uint64_t>* calls;
  std::uint64_t last;
  std::optional<Number> operator()() {
    const std::uint64_t number = calls->load();
    if (number == last) return std::nullopt;
    ++*calls;
    return Number{number};
  }
};

Number same(const Number& in) { return in; }

class Credits : public PlacedTest {};

TEST_P(Credits, BoundTheMessagesInFlightWhileAConsumerHoldsSome) {
  constexpr std::uint64_t kBound = 12;
  std::atomic<std::uint64_t> calls{0};
  Line<Number> line{placed(GetParam(), {"work"}, {{"in_flight", "12"}}), CountCalls{&calls, 2000}, same};

  std::deque<Item<Number>> held;
  std::uint64_t given_back = 0;
  while (auto item = line.stream.next()) {
    ASSERT_LE(calls.load() - given_back, kBound);
    ASSERT_LE(line.runtime.live_messages(), kBound);
    held.push_back(std::move(*item));
    if (held.size() < 8) continue;
    ++given_back;  // before the credit is free, so that the count above is never too strict by this one
    held.pop_front();
  }
  EXPECT_EQ(calls.load(), 2000U);
}

TEST_P(Credits, LetTheConsumerHoldAllButOneForEver) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"in_flight", "8"}}), CountTo{500}, same};

  std::vector<Item<Number>> held;
  for (int i = 0; i < 7; ++i) held.push_back(*line.stream.next());
  std::uint64_t next = 7;
  for (const auto& item : line.stream) ASSERT_EQ(item->value, next++);

  EXPECT_EQ(next, 500U);
  for (std::uint64_t i = 0; i < 7; ++i) EXPECT_EQ(held[i]->value, i);
}

TEST_P(Credits, AllHeldIsAnErrorThatSaysSo) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"in_flight", "4"}, {"hold_timeout", "50 ms"}}), CountTo{10},
                    same};
  std::vector<Item<Number>> held;
  for (int i = 0; i < 4; ++i) held.push_back(*line.stream.next());

  EXPECT_EQ(thrown_text<Error>([&] { line.stream.next(); }),
            "stream: all 4 items in flight are held outside the graph, so no other can come; give some back "
            "before asking for the next, or raise in_flight (4)");
}

TEST_P(Credits, GivenBackAfterTheErrorLetTheStreamGoOn) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"in_flight", "4"}, {"hold_timeout", "50 ms"}}), CountTo{10},
                    same};
  std::vector<Item<Number>> held;
  for (int i = 0; i < 4; ++i) held.push_back(*line.stream.next());
  EXPECT_THROW(line.stream.next(), Error);

  held.clear();

  std::uint64_t next = 4;
  for (const auto& item : line.stream) ASSERT_EQ(item->value, next++);
  EXPECT_EQ(next, 10U);
}

TEST_P(Credits, HeldByAConsumerDoNotHideTheEnd) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"in_flight", "8"}}), CountTo{5}, same};
  std::vector<Item<Number>> held;
  for (int i = 0; i < 5; ++i) held.push_back(*line.stream.next());

  EXPECT_FALSE(line.stream.next());
  EXPECT_TRUE(line.stream.ended());
}

TEST_P(Credits, HeldToTheLastDoNotHideTheEnd) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"in_flight", "5"}, {"hold_timeout", "50 ms"}}), CountTo{5},
                    same};
  std::vector<Item<Number>> held;
  for (int i = 0; i < 5; ++i) held.push_back(*line.stream.next());

  // The commander cannot say that it has ended before it gets another credit: an error, and no hang.
  EXPECT_THROW(line.stream.next(), Error);
  held.pop_back();
  EXPECT_FALSE(line.stream.next());
}

TEST_P(Credits, AndBlocksAreAllBackAtTheEnd) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{1000}, same};
  for (const auto& item : line.stream) ASSERT_TRUE(item.ok());

  line.runtime.stop();  // the pump or a task may just be letting go of the last item
  EXPECT_EQ(line.runtime.live_messages(), 0U);
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

TEST_P(Credits, OfACopiedItemComeBackWithItsLastCopy) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"in_flight", "1"}, {"hold_timeout", "50 ms"}}), CountTo{2},
                    same};
  auto first = line.stream.next();
  auto copy = std::make_unique<Item<Number>>(*first);
  first.reset();
  EXPECT_THROW(line.stream.next(), Error);

  copy.reset();

  EXPECT_EQ((*line.stream.next())->value, 1U);
}

TANDEM_FOR_ALL_PLACES(Credits);

class FreeCredits : public TandemTest {};

// numbers -> collect (hands on 50 at once) -> stream
// The consumer keeps 14 of 64 items, so that every last credit is needed to fill the collection.
TEST_F(FreeCredits, ReachTheCommanderWhileAUserNodeCollectsItems) {
  Runtime runtime{config_of({{"in_flight", "64"}, {"hold_timeout", "100 ms"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{500}};
  using Collect = flow::multifunction_node<Item<Number>, std::tuple<Item<Number>>>;
  std::vector<Item<Number>> collected;
  Collect collect{graph, flow::serial, [&](const Item<Number>& item, Collect::output_ports_type& ports) {
                    collected.push_back(item);
                    if (collected.size() < 50) return;
                    for (const Item<Number>& one : collected) std::get<0>(ports).try_put(one);
                    collected.clear();
                  }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, collect);
  flow::make_edge(flow::output_port<0>(collect), stream);

  std::vector<Item<Number>> kept;
  std::uint64_t received = 0;
  while (received < 300) {
    auto item = stream.next_for(std::chrono::seconds{5});
    EXPECT_TRUE(item) << "after " << received << " items nothing comes, with " << 64 - runtime.live_messages()
                      << " credits free";
    if (!item) break;
    ++received;
    if (kept.size() < 14) kept.push_back(std::move(*item));
    item.reset();
    busy(100'000);  // a consumer that takes its time, so that the commander uses up what is given back
  }
  runtime.stop();
  graph.wait_for_all();
}

// numbers -> left, right: one consumer takes a little from both, then all that left can give.
TEST_F(FreeCredits, ReachTheCommanderWhileAnotherStreamIsNotRead) {
  Runtime runtime{config_of({{"in_flight", "64"}, {"hold_timeout", "100 ms"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{500}};
  stream_node<Number> left{graph, runtime};
  stream_node<Number> right{graph, runtime};
  flow::make_edge(numbers, left);
  flow::make_edge(numbers, right);
  runtime.start();
  while (runtime.live_messages() < 64) std::this_thread::yield();
  for (int i = 0; i < 10; ++i) {
    left.next();
    right.next();
  }

  std::uint64_t from_left = 10;
  while (from_left < 74) {
    const auto item = left.next_for(std::chrono::seconds{5});
    ASSERT_TRUE(item) << "item " << from_left << " does not come, with " << 64 - runtime.live_messages()
                      << " credits free";
    ++from_left;
  }
  EXPECT_EQ(thrown_text<Error>([&] { left.next(); }).substr(0, 17), "stream: all 64 it");
}

}  // namespace
}  // namespace tandem::test
