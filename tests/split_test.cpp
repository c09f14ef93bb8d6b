// Items that are split into their parts: which parts come, in which order, and what each knows.
// labels: no_tsan
#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "support/parts.hpp"
#include "support/shared.hpp"

namespace tandem::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class Split : public SplitTest {};
TANDEM_FOR_ALL_SPLITS(Split);

TEST_P(Split, MakesAMessageOfEachRowAndNoneOfAnItemWithoutRows) {
  PartsLine line{config(), CountTo{200}, 4, MakeRows{none_to_four}, ReadRow{}};
  expect_all(take_rows(line.stream, none_to_four), 200, none_to_four);
  EXPECT_TRUE(line.stream.ended());
  expect_nothing_left(line.runtime);
}

TEST_P(Split, MakesManyMorePartsThanThereAreCredits) {
  const RowCount count = [](std::uint64_t message) -> std::size_t { return message % 2 == 0 ? 100 : 1; };
  PartsLine line{config({{"in_flight", "3"}}), CountTo{6}, 100, MakeRows{count}, ReadRow{}};
  expect_all(take_rows(line.stream, count), 6, count);
  expect_nothing_left(line.runtime);
}

TEST_P(Split, WorksWithOneCredit) {
  PartsLine line{config({{"in_flight", "1"}}), CountTo{30}, 4, MakeRows{none_to_four}, ReadRow{}};
  expect_all(take_rows(line.stream, none_to_four), 30, none_to_four);
  expect_nothing_left(line.runtime);
}

TEST_P(Split, OfNothingAtAllEnds) {
  PartsLine line{config(), CountTo{50}, 4, MakeRows{[](std::uint64_t) -> std::size_t { return 0; }}, ReadRow{}};
  EXPECT_FALSE(line.stream.next());
  EXPECT_TRUE(line.stream.ended());
  expect_nothing_left(line.runtime);
}

TEST_P(Split, MakesNoPartOfASkippedItem) {
  const auto make = [](const Number& in, Arrays& out, Context& context) {
    fill_rows(in, 2, out);
    if (in.value % 3 != 0) context.skip();
  };
  PartsLine line{config(), CountTo{31}, 2, make, ReadRow{}};
  const RowCount count = [](std::uint64_t message) -> std::size_t { return message % 3 == 0 ? 2 : 0; };
  expect_all(take_rows(line.stream, count), 31, count);
}

TEST_P(Split, MakesAMessageOfEachRowThatAnArrayHasGrownTo) {
  Runtime runtime{config()};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{60}};
  producer_node<Number, Arrays> make{
      graph,
      runtime,
      "make",
      {array<std::uint64_t>("words", {0, kRowWords}).grows(), array<std::uint64_t>("tags", {0}).grows(),
       array<std::uint64_t>("all", {3})},
      [](const Number& in, Arrays& out) {
        const std::size_t rows = none_to_four(in.value);
        out.grow("words", rows);
        out.grow("tags", rows);
        fill_rows(in, rows, out);
      }};
  split_node<Arrays> parts{graph, runtime, "parts", std::vector<std::string>{"words", "tags"}};
  producer_node<Arrays, Row> read{graph, runtime, "read", ReadRow{}};
  sequencer_node<Row> order{graph, runtime};
  stream_node<Row> stream{graph, runtime};
  flow::make_edge(numbers, make);
  flow::make_edge(make, parts);
  flow::make_edge(parts, read);
  flow::make_edge(read, order);
  flow::make_edge(order, stream);
  expect_all(take_rows(stream, none_to_four), 60, none_to_four);
  expect_nothing_left(runtime);
  EXPECT_TRUE(runtime.arrays().empty());
}

TEST_P(Split, LeavesItsPlaceToAPartThatIsSkipped) {
  const auto read = [](const Arrays& in, Context& context) {
    const Row row = row_of(in);
    if (row.row == 1) context.skip();
    return row;
  };
  PartsLine line{config(), CountTo{30}, 4, MakeRows{none_to_four}, read};
  std::vector<Row> rows;
  for (const auto& item : line.stream) rows.push_back(*item);
  if (!ordered()) std::sort(rows.begin(), rows.end());
  std::vector<Row> wanted = all_rows(30, none_to_four);
  std::erase_if(wanted, [](const Row& row) { return row.row == 1; });
  EXPECT_EQ(rows, wanted);
}

// What a stream gives, errors included: "message.row", or the error.
std::vector<std::string> take_told(stream_node<Row>& stream) {
  std::vector<std::string> told;
  for (;;) {
    try {
      const auto item = stream.next();
      if (!item) return told;
      told.push_back(std::to_string((*item)->message) + "." + std::to_string((*item)->row));
    } catch (const ProducerError& error) {
      told.push_back(error.node() + " " + std::to_string(error.sequence()) + ": " + error.reason());
    }
  }
}

TEST_P(Split, PassesAnItemsErrorOnInItsPlace) {
  const auto make = [](const Number& in, Arrays& out) {
    fill_rows(in, 2, out);
    if (in.value == 1) throw std::runtime_error("no rows today");
  };
  PartsLine line{config(), CountTo{3}, 2, make, ReadRow{}};
  std::vector<std::string> told = take_told(line.stream);
  if (!ordered()) std::sort(told.begin(), told.end());
  if (ordered()) {
    EXPECT_THAT(told, ElementsAre("0.0", "0.1", "make 1: no rows today", "2.0", "2.1"));
  } else {
    EXPECT_THAT(told, ElementsAre("0.0", "0.1", "2.0", "2.1", "make 1: no rows today"));
  }
}

TEST_P(Split, TellsAPartsErrorByThePartsNumber) {
  const auto read = [](const Arrays& in) {
    const Row row = row_of(in);
    if (row.message == 1 && row.row == 1) throw std::runtime_error("cannot read it");
    return row;
  };
  PartsLine line{config({{"in_flight", "1"}}), CountTo{3}, 2,
                 MakeRows{[](std::uint64_t) -> std::size_t { return 2; }}, read};
  EXPECT_THAT(take_told(line.stream), ElementsAre("0.0", "0.1", "1.0", "read 3: cannot read it", "2.0", "2.1"));
}

TEST_P(Split, RefusesArraysOfDifferentLengthsAndGoesOn) {
  const auto make = [](const Number& in, Arrays& out) {
    fill_rows(in, 2, out);
    if (in.value == 1) out.set_extent("tags", 1);
  };
  PartsLine line{config({{"in_flight", "1"}}), CountTo{3}, 2, make, ReadRow{}};
  EXPECT_THAT(
      take_told(line.stream),
      ElementsAre("0.0", "0.1",
                  "parts 1: cannot split the item: array 'words' has 2 rows in this item, and array 'tags' 1; "
                  "give all of them as many with set_extent(), or name the arrays that are to be split",
                  "2.0", "2.1"));
}

struct Rounds {
  std::uint64_t rounds;
  std::uint64_t each;
  std::uint64_t next = 0;
  bool begin_epoch(std::uint64_t epoch) {
    next = 0;
    return epoch < rounds;
  }
  std::optional<Number> operator()() {
    if (next == each) return std::nullopt;
    return Number{next++};
  }
};

TEST_P(Split, EndsRoundsBehindTheirParts) {
  PartsLine line{config({{"in_flight", "5"}}), Rounds{4, 11}, 4, MakeRows{none_to_four}, ReadRow{}};
  const std::vector<Row> wanted = all_rows(11, none_to_four);
  for (std::uint64_t round = 0; round < 4; ++round) {
    SCOPED_TRACE(round);
    std::vector<Row> rows;
    std::set<std::uint64_t> places;
    for (const auto& item : line.stream) {
      EXPECT_EQ(item.epoch(), round);
      rows.push_back(*item);
      places.insert(item.index());
    }
    if (!ordered()) std::sort(rows.begin(), rows.end());
    EXPECT_EQ(rows, wanted);
    EXPECT_EQ(places.size(), wanted.size());
    EXPECT_TRUE(places.contains(wanted.size() - 1));
  }
  EXPECT_FALSE(line.stream.next());
  EXPECT_TRUE(line.stream.ended());
}

// By a plain node: the next round's first item tells of it, too.
TEST_P(Split, EndsARoundWhoseMarkWasDropped) {
  Runtime runtime{config({}, {"make"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", Rounds{3, 5}};
  using SomeNumbers = Several<Number, 2>;
  producer_node<Number, SomeNumbers> make{graph, runtime, "make", [](const Number& in, SomeNumbers& out) {
                                            out.push_back(in);
                                            out.push_back(in);
                                          }};
  flow::function_node<Item<SomeNumbers>, Item<SomeNumbers>> filter{
      graph, flow::serial,
      [](const Item<SomeNumbers>& item) { return item.ends_epoch() ? Item<SomeNumbers>{} : item; }};
  split_node<SomeNumbers> parts{graph, runtime, "parts"};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, make);
  flow::make_edge(make, filter);
  flow::make_edge(filter, parts);
  flow::make_edge(parts, stream);
  for (std::uint64_t round = 0; round < 3; ++round) {
    std::uint64_t count = 0;
    for (const auto& item : stream) {
      EXPECT_EQ(item.epoch(), round);
      EXPECT_EQ(item.index(), count);
      ++count;
    }
    EXPECT_EQ(count, 10U);
  }
  EXPECT_TRUE(stream.ended());
}

TEST_P(Split, EndsRoundsWithoutAnyPart) {
  PartsLine line{config(), Rounds{3, 4}, 4, MakeRows{[](std::uint64_t) -> std::size_t { return 0; }},
                 ReadRow{}};
  for (int round = 0; round < 3; ++round) {
    EXPECT_FALSE(line.stream.next());
    EXPECT_EQ(line.stream.epoch(), std::uint64_t(round) + 1);
  }
  EXPECT_FALSE(line.stream.next());
  EXPECT_TRUE(line.stream.ended());
}

TEST_P(Split, TriesAPartAgainWhoseWorkerDied) {
  if (!place().is_process()) GTEST_SKIP() << "a thread cannot be killed";
  const auto read = [](const Arrays& in, Context& context) {
    const Row row = row_of(in);
    if (row.row == 2 && context.attempt() == 1) _exit(1);
    return row;
  };
  PartsLine line{config(), CountTo{20}, 4, MakeRows{none_to_four}, read};
  std::vector<Row> rows;
  int twice = 0;
  for (const auto& item : line.stream) {
    rows.push_back(*item);
    if (item->row == 2 && item.attempt() == 2) ++twice;
  }
  if (!ordered()) std::sort(rows.begin(), rows.end());
  EXPECT_EQ(rows, all_rows(20, none_to_four));
  EXPECT_EQ(twice, 8);  // of four in five messages, those with three rows or four
  expect_nothing_left(line.runtime);
}

// ---- more than one --------------------------------------------------------------------------------------------

struct Words {
  std::uint64_t words[9];  // more than fits into a token
};
using SomeRows = Several<Row, 3>;
using SomeWords = Several<Words, 3>;

// Each part makes as many values as the rest of its row by four says, in a second split.
TEST_P(Split, MayFollowAnother) {
  Runtime runtime{config({{"in_flight", "4"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{60}};
  producer_node<Number, Arrays> make{graph, runtime, "make", row_arrays(4), MakeRows{none_to_four}};
  split_node<Arrays> parts{graph, runtime, "parts", {"words", "tags"}};
  producer_node<Arrays, SomeRows> read{graph, runtime, "read", [](const Arrays& in, SomeRows& out) {
                                         const Row row = row_of(in);
                                         for (std::uint64_t one = 0; one < row.row; ++one)
                                           out.push_back({row.message, 10 * row.row + one});
                                       }};
  split_node<SomeRows> again{graph, runtime, "again"};
  sequencer_node<Row> order{graph, runtime};
  stream_node<Row> stream{graph, runtime};
  flow::make_edge(numbers, make);
  flow::make_edge(make, parts);
  flow::make_edge(parts, read);
  flow::make_edge(read, again);
  flow::make_edge(again, order);
  flow::make_edge(order, stream);
  std::vector<Row> rows;
  for (const auto& item : stream) {
    rows.push_back(*item);
    EXPECT_EQ(item.part(), item->row % 10);
    EXPECT_EQ(item.parts(), item->row / 10);
    EXPECT_EQ(item.message<Number>().value, item->message);
  }
  std::vector<Row> wanted;
  for (const Row& row : all_rows(60, none_to_four)) {
    for (std::uint64_t one = 0; one < row.row; ++one) wanted.push_back({row.message, 10 * row.row + one});
  }
  if (!ordered()) std::sort(rows.begin(), rows.end());
  EXPECT_EQ(rows, wanted);
  expect_nothing_left(runtime);
}

TEST_P(Split, MayStandBesideAnother) {
  Shared<std::atomic<std::uint64_t>> tags{0U};
  Shared<std::atomic<std::uint64_t>> words{0U};
  Runtime runtime{config({{"in_flight", "4"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{100}};
  producer_node<Number, Arrays> make{graph, runtime, "make", row_arrays(4), MakeRows{none_to_four}};
  split_node<Arrays> both{graph, runtime, "both", {"words", "tags"}};
  split_node<Arrays> one{graph, runtime, "one", {"words"}};
  producer_node<Arrays, void> read{graph, runtime, "read",
                                   [sum = tags.get()](const Arrays& in) { *sum += row_of(in).row + 1; }};
  producer_node<Arrays, void> count{graph, runtime, "count", [sum = words.get()](const Arrays& in) {
                                      *sum += in.span<std::uint64_t>("tags").size();  // whole in each part
                                    }};
  flow::make_edge(numbers, make);
  flow::make_edge(make, both);
  flow::make_edge(make, one);
  flow::make_edge(both, read);
  flow::make_edge(one, count);
  numbers.activate();
  graph.wait_for_all();
  EXPECT_EQ(*tags, 20U * (1 + 3 + 6 + 10));
  EXPECT_EQ(*words, 20U * (1 + 4 + 9 + 16));
  expect_nothing_left(runtime);
}

TEST_P(Split, LetsBranchesBehindItJoinByNumber) {
  Runtime runtime{config({{"in_flight", "6"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{60}};
  producer_node<Number, Arrays> make{graph, runtime, "make", row_arrays(4), MakeRows{none_to_four}};
  split_node<Arrays> parts{graph, runtime, "parts", {"words", "tags"}};
  producer_node<Arrays, Row> read{graph, runtime, "read", ReadRow{}};
  producer_node<Arrays, Number> sum{
      graph, runtime, "sum", [](const Arrays& in) { return Number{in.span<std::uint64_t>("words")[0]}; }};
  using Both = std::tuple<Item<Row>, Item<Number>>;
  flow::join_node<Both, flow::key_matching<std::uint64_t>> join{
      graph, [](const Item<Row>& item) { return item.sequence(); },
      [](const Item<Number>& item) { return item.sequence(); }};
  std::set<Row> seen;
  std::uint64_t wrong = 0;
  flow::function_node<Both> check{graph, flow::serial, [&](const Both& both) {
                                    const auto& [row, number] = both;
                                    seen.insert(*row);
                                    wrong += number->value != row->message * 1000 + row->row ? 1 : 0;
                                    return flow::continue_msg{};
                                  }};
  flow::make_edge(numbers, make);
  flow::make_edge(make, parts);
  flow::make_edge(parts, read);
  flow::make_edge(parts, sum);
  flow::make_edge(read, flow::input_port<0>(join));
  flow::make_edge(sum, flow::input_port<1>(join));
  flow::make_edge(join, check);
  numbers.activate();
  graph.wait_for_all();
  EXPECT_EQ(seen.size(), all_rows(60, none_to_four).size());
  EXPECT_EQ(wrong, 0U);
  expect_nothing_left(runtime);
}

// ---- structs ---------------------------------------------------------------------------------------------------

TEST_P(Split, TakesStructsApart) {
  Runtime runtime{config({{"in_flight", "4"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{80}};
  producer_node<Number, SomeWords> make{graph, runtime, "make", [](const Number& in, SomeWords& out) {
                                          for (std::uint64_t one = 0; one < in.value % 4; ++one) {
                                            Words words{};
                                            for (std::uint64_t& word : words.words) word = in.value * 10 + one;
                                            out.push_back(words);
                                          }
                                        }};
  split_node<SomeWords> parts{graph, runtime, "parts"};
  producer_node<Words, Row> read{graph, runtime, "read", [](const Words& in) {
                                   for (const std::uint64_t word : in.words) {
                                     if (word != in.words[0]) throw Error("torn");
                                   }
                                   return Row{in.words[0] / 10, in.words[0] % 10};
                                 }};
  sequencer_node<Row> order{graph, runtime};
  stream_node<Row> stream{graph, runtime};
  flow::make_edge(numbers, make);
  flow::make_edge(make, parts);
  flow::make_edge(parts, read);
  flow::make_edge(read, order);
  flow::make_edge(order, stream);
  const RowCount count = [](std::uint64_t message) -> std::size_t { return message % 4; };
  expect_all(take_rows(stream, count), 80, count);
  expect_nothing_left(runtime);
}

// In the commander's own memory, which no worker process sees.
template <class T>
struct CommandSeveral {
  std::uint64_t next = 0;
  std::optional<Several<T, 3>> operator()() {
    if (next == 40) return std::nullopt;
    Several<T, 3> all;
    for (std::uint64_t one = 0; one < next % 4; ++one) {
      T value{};
      reinterpret_cast<std::uint64_t*>(&value)[0] = next * 10 + one;
      all.push_back(value);
    }
    ++next;
    return all;
  }
};

template <class T>
std::vector<std::uint64_t> read_commanded(const Config& config) {
  Runtime runtime{config};
  flow::graph graph;
  commander_node<Several<T, 3>> numbers{graph, runtime, "numbers", CommandSeveral<T>{}};
  split_node<Several<T, 3>> parts{graph, runtime, "parts"};
  producer_node<T, Number> read{graph, runtime, "read", [](const T& in) {
                                  return Number{reinterpret_cast<const std::uint64_t*>(&in)[0]};
                                }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, parts);
  flow::make_edge(parts, read);
  flow::make_edge(read, stream);
  std::vector<std::uint64_t> values;
  for (const auto& item : stream) values.push_back(item->value);
  std::sort(values.begin(), values.end());
  return values;
}

TEST_P(Split, TakesACommandersMessagesApart) {
  std::vector<std::uint64_t> wanted;
  for (std::uint64_t message = 0; message < 40; ++message) {
    for (std::uint64_t one = 0; one < message % 4; ++one) wanted.push_back(message * 10 + one);
  }
  EXPECT_EQ(read_commanded<Number>(config({}, {"read"})), wanted);  // in the token
  if (place().is_spawned()) return;                                 // whose workers belong to the first Runtime
  EXPECT_EQ(read_commanded<Words>(config({}, {"read"})), wanted);   // in the block
}

TEST_P(Split, TakesSeveralOfSeveralApart) {
  using Pair = Several<Number, 2>;
  using Pairs = Several<Pair, 3>;
  Runtime runtime{config()};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{30}};
  producer_node<Number, Pairs> make{graph, runtime, "make", [](const Number& in, Pairs& out) {
                                      for (std::uint64_t one = 0; one < 3; ++one) {
                                        Pair pair;
                                        pair.push_back({in.value * 100 + one * 10});
                                        if (one > 0) pair.push_back({in.value * 100 + one * 10 + 1});
                                        out.push_back(pair);
                                      }
                                    }};
  split_node<Pairs> outer{graph, runtime, "outer"};
  split_node<Pair> inner{graph, runtime, "inner"};
  producer_node<Number, Number> read{graph, runtime, "read", [](const Number& in) { return in; }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, make);
  flow::make_edge(make, outer);
  flow::make_edge(outer, inner);
  flow::make_edge(inner, read);
  flow::make_edge(read, stream);
  std::vector<std::uint64_t> values;
  for (const auto& item : stream) values.push_back(item->value);
  std::sort(values.begin(), values.end());
  std::vector<std::uint64_t> wanted;
  for (std::uint64_t message = 0; message < 30; ++message) {
    for (const std::uint64_t one : {0U, 10U, 11U, 20U, 21U}) wanted.push_back(message * 100 + one);
  }
  EXPECT_EQ(values, wanted);
}

TEST_P(Split, TakesAFeedersStepsApart) {
  Runtime runtime{config({{"in_flight", "4"}}, {"read"})};
  flow::graph graph;
  feeder_node<Arrays> steps{graph, runtime, "steps", row_arrays(4)};
  split_node<Arrays> parts{graph, runtime, "parts", {"words", "tags"}};
  producer_node<Arrays, Row> read{graph, runtime, "read", ReadRow{}};
  sequencer_node<Row> order{graph, runtime};
  stream_node<Row> stream{graph, runtime};
  flow::make_edge(steps, parts);
  flow::make_edge(parts, read);
  flow::make_edge(read, order);
  flow::make_edge(order, stream);
  std::vector<Row> rows;
  const auto take = [&] {
    while (const auto item = stream.try_next()) rows.push_back(**item);
  };
  for (std::uint64_t step = 0; step < 50; ++step) {
    std::optional<feeder_node<Arrays>::Loan> loan = steps.try_loan();
    for (; !loan; loan = steps.loan_for(std::chrono::milliseconds{1})) take();
    fill_rows({step}, none_to_four(step), **loan);
    steps.push(std::move(*loan));
  }
  steps.finish();
  for (const auto& item : stream) rows.push_back(*item);
  if (!ordered()) std::sort(rows.begin(), rows.end());
  EXPECT_EQ(rows, all_rows(50, none_to_four));
  expect_nothing_left(runtime);
}

}  // namespace
}  // namespace tandem::test
