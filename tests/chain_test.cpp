// Two producers after each other, each on threads or in processes, with a struct or Arrays between them.
// labels: no_tsan
#include <signal.h>

#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

constexpr std::uint64_t kAll = 500;
constexpr std::size_t kLength = 1000;

struct Wide {  // larger than what fits into a token
  std::uint64_t words[20];
};

struct Places {
  Place first;
  Place second;
};
void PrintTo(const Places& places, std::ostream* out) { *out << places.first << ", then " << places.second; }

class Chain : public TandemTest, public testing::WithParamInterface<Places> {
 protected:
  static Config config(const Settings& settings = {}) {
    Config config = config_of(settings);
    for (const auto& [name, place] :
         {std::pair{"first", GetParam().first}, std::pair{"second", GetParam().second}}) {
      config.set(std::string{"node."} + name + ".placement", place.placement, "test");
      config.set(std::string{"node."} + name + ".workers", std::to_string(place.workers), "test");
    }
    return config;
  }

  // numbers -> first -> second -> order -> stream
  template <class Between>
  void expect_tripled_plus_one(Runtime& runtime, flow::graph& graph, producer_node<Number, Between>& first,
                               producer_node<Between, Number>& second) {
    commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kAll}};
    sequencer_node<Number> order{graph, runtime};
    stream_node<Number> stream{graph, runtime};
    flow::make_edge(numbers, first);
    flow::make_edge(first, second);
    flow::make_edge(second, order);
    flow::make_edge(order, stream);
    std::uint64_t next = 0;
    for (const auto& item : stream) {
      ASSERT_EQ(item.sequence(), next);
      ASSERT_EQ(item->value, next * 3 + 1);
      ++next;
    }
    EXPECT_EQ(next, kAll);
    EXPECT_EQ(runtime.lent_blocks(), 0U);
    runtime.stop();  // whoever gave the last message back may not have counted it yet
    EXPECT_EQ(runtime.live_messages(), 0U);
  }
};

TEST_P(Chain, HandsOnASmallStruct) {
  Runtime runtime{config()};
  flow::graph graph;
  producer_node<Number, Number> first{graph, runtime, "first",
                                      [](const Number& in) { return Number{in.value * 3}; }};
  producer_node<Number, Number> second{graph, runtime, "second",
                                       [](const Number& in) { return Number{in.value + 1}; }};
  expect_tripled_plus_one<Number>(runtime, graph, first, second);
}

TEST_P(Chain, HandsOnALargeStruct) {
  Runtime runtime{config()};
  flow::graph graph;
  producer_node<Number, Wide> first{graph, runtime, "first", [](const Number& in, Wide& out) {
                                      for (std::uint64_t& word : out.words) word = in.value * 3;
                                    }};
  producer_node<Wide, Number> second{graph, runtime, "second", [](const Wide& in) {
                                       for (const std::uint64_t word : in.words) {
                                         if (word != in.words[0]) throw Error("torn");
                                       }
                                       return Number{in.words[0] + 1};
                                     }};
  expect_tripled_plus_one<Wide>(runtime, graph, first, second);
}

void fill_tripled(const Number& in, Arrays& out) {
  for (std::uint64_t& word : out.span<std::uint64_t>("words")) word = in.value * 3;
}
std::uint64_t whole(const Arrays& in) {
  const auto words = in.span<std::uint64_t>("words");
  for (const std::uint64_t word : words) {
    if (word != words[0]) throw Error("torn");
  }
  return words[0];
}

TEST_P(Chain, HandsOnArrays) {
  Runtime runtime{config()};
  flow::graph graph;
  producer_node<Number, Arrays> first{
      graph, runtime, "first", {array<std::uint64_t>("words", {kLength})}, fill_tripled};
  producer_node<Arrays, Number> second{graph, runtime, "second",
                                       [](const Arrays& in) { return Number{whole(in) + 1}; }};
  expect_tripled_plus_one<Arrays>(runtime, graph, first, second);
}

TEST_P(Chain, HandsOnArraysMadeFromArrays) {
  Runtime runtime{config()};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kAll}};
  producer_node<Number, Arrays> first{
      graph, runtime, "first", {array<std::uint64_t>("words", {kLength})}, fill_tripled};
  producer_node<Arrays, Arrays> second{
      graph, runtime, "second", {array<double>("halves", {10, 3})}, [](const Arrays& in, Arrays& out) {
        for (double& half : out.span<double>("halves")) { half = static_cast<double>(whole(in)) / 2; }
      }};
  sequencer_node<Arrays> order{graph, runtime};
  stream_node<Arrays> stream{graph, runtime};
  flow::make_edge(numbers, first);
  flow::make_edge(first, second);
  flow::make_edge(second, order);
  flow::make_edge(order, stream);

  std::uint64_t next = 0;
  for (const auto& item : stream) {
    const auto halves = item->matrix<double>("halves");
    ASSERT_EQ(halves(9, 2), static_cast<double>(next * 3) / 2);
    ASSERT_EQ(halves(0, 0), halves(9, 2));
    ++next;
  }
  EXPECT_EQ(next, kAll);
}

TEST_P(Chain, WorksWithOneItemInFlight) {
  Runtime runtime{config({{"in_flight", "1"}})};
  flow::graph graph;
  producer_node<Number, Arrays> first{
      graph, runtime, "first", {array<std::uint64_t>("words", {kLength})}, fill_tripled};
  producer_node<Arrays, Number> second{graph, runtime, "second",
                                       [](const Arrays& in) { return Number{whole(in) + 1}; }};
  expect_tripled_plus_one<Arrays>(runtime, graph, first, second);
}

// Where the first wrote, where the second read, and where the host sees it.
struct Seen {
  std::uint64_t number;
  std::uintptr_t written_at;
  std::uintptr_t read_at;
};

TEST_P(Chain, CopiesNoArrays) {
  constexpr std::uint64_t kItems = 40;
  Runtime runtime{config({{"in_flight", "64"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kItems}};
  producer_node<Number, Arrays> first{
      graph, runtime, "first", {array<std::uint64_t>("words", {kLength})}, [](const Number& in, Arrays& out) {
        const auto words = out.span<std::uint64_t>("words");
        words[0] = reinterpret_cast<std::uintptr_t>(words.data());
        words[1] = in.value;
      }};
  producer_node<Arrays, Seen> second{
      graph, runtime, "second", [](const Arrays& in) {
        const auto words = in.span<std::uint64_t>("words");
        return Seen{words[1], words[0], reinterpret_cast<std::uintptr_t>(words.data())};
      }};
  sequencer_node<Arrays> order_of_first{graph, runtime};
  sequencer_node<Seen> order_of_second{graph, runtime};
  stream_node<Arrays> tap{graph, runtime};
  stream_node<Seen> stream{graph, runtime};
  flow::make_edge(numbers, first);
  flow::make_edge(first, second);
  flow::make_edge(first, order_of_first);
  flow::make_edge(order_of_first, tap);
  flow::make_edge(second, order_of_second);
  flow::make_edge(order_of_second, stream);

  std::vector<std::uintptr_t> in_host;
  std::vector<Item<Arrays>> kept;  // no block is lent twice, so that addresses tell items apart
  for (const auto& item : tap) {
    in_host.push_back(reinterpret_cast<std::uintptr_t>(item->span<std::uint64_t>("words").data()));
    kept.push_back(item);
  }
  ASSERT_EQ(in_host.size(), kItems);
  std::uint64_t next = 0;
  for (const auto& item : stream) {
    ASSERT_EQ(item->number, next);
    ASSERT_EQ(item->written_at, in_host[next]);
    ASSERT_EQ(item->read_at, in_host[next]);
    ++next;
  }
  EXPECT_EQ(next, kItems);
}

TEST_P(Chain, OfStructsReadsThemWhereTheyWereMade) {
  struct Self {
    const Self* me;
    std::uint64_t words[9];
  };
  struct Same {
    bool same;
  };
  Runtime runtime{config()};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kAll}};
  producer_node<Number, Self> first{graph, runtime, "first", [](const Number&, Self& out) { out.me = &out; }};
  producer_node<Self, Same> second{graph, runtime, "second", [](const Self& in) { return Same{in.me == &in}; }};
  stream_node<Same> stream{graph, runtime};
  flow::make_edge(numbers, first);
  flow::make_edge(first, second);
  flow::make_edge(second, stream);

  std::uint64_t count = 0;
  for (const auto& item : stream) {
    ASSERT_TRUE(item->same);
    ++count;
  }
  EXPECT_EQ(count, kAll);
}

TEST_P(Chain, CannotHaveItsInputWrittenOverByALaterProcess) {
  if (!GetParam().second.is_process()) GTEST_SKIP() << "only processes have memory of their own";
  Runtime runtime{config({{"node.second.attempts", "2"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{20}};
  producer_node<Number, Arrays> first{
      graph, runtime, "first", {array<std::uint64_t>("words", {kLength})}, fill_tripled};
  producer_node<Arrays, Number> second{graph, runtime, "second", [](const Arrays& in, Context& context) {
                                         const auto words = in.span<std::uint64_t>("words");
                                         if (context.sequence() == 7) {
                                           signal(SIGSEGV, SIG_DFL);
                                           const_cast<std::uint64_t&>(words[0]) = 1;
                                         }
                                         return Number{whole(in) + 1};
                                       }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, first);
  flow::make_edge(first, second);
  flow::make_edge(second, order);
  flow::make_edge(order, stream);

  for (std::uint64_t next = 0; next < 20; ++next) {
    if (next != 7) {
      ASSERT_EQ((*stream.next())->value, next * 3 + 1);
      continue;
    }
    EXPECT_EQ(thrown_text<ProducerError>([&] { stream.next(); }).substr(0, 24), "node 'second', message 7");
  }
  EXPECT_FALSE(stream.next());
}

INSTANTIATE_TEST_SUITE_P(
    , Chain,
    testing::Values(Places{{"thread", 1}, {"thread", 1}}, Places{{"thread", 2}, {"process", 2}},
                    Places{{"process", 2}, {"thread", 2}}, Places{{"process", 1}, {"process", 1}},
                    Places{{"process", 2}, {"process", 2}}, Places{{"process", 8}, {"process", 1}},
                    Places{{"process", 1}, {"process", 8}}, Places{{"thread", 8}, {"process", 8}}),
    [](const auto& case_info) {
      return std::string{case_info.param.first.placement} + "_" +
             std::to_string(case_info.param.first.workers) + "_then_" + case_info.param.second.placement + "_" +
             std::to_string(case_info.param.second.workers);
    });

}  // namespace
}  // namespace tandem::test
