#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "line.hpp"
#include "tandem_test.hpp"

// Items of rows, split into their rows.

namespace tandem::test {

/// Which row of which message's item something was made from.
struct Row {
  std::uint64_t message;
  std::uint64_t row;
  bool operator==(const Row&) const = default;
  auto operator<=>(const Row&) const = default;
};

/// How many rows a message makes.
using RowCount = std::size_t (*)(std::uint64_t message);
inline std::size_t none_to_four(std::uint64_t message) { return message * 7 % 5; }

constexpr std::size_t kRowWords = 16;

/// What fill_rows() fills, for up to so many rows: rows of 128 bytes, rows of 8 bytes, and one that is no row.
inline std::vector<ArraySpec> row_arrays(std::size_t most) {
  return {array<std::uint64_t>("words", {most, kRowWords}).up_to(),
          array<std::uint64_t>("tags", {most}).up_to(), array<std::uint64_t>("all", {3})};
}
inline void fill_rows(const Number& in, std::size_t rows, Arrays& out) {
  out.set_extent("words", rows);
  out.set_extent("tags", rows);
  for (std::uint64_t& word : out.span<std::uint64_t>("all")) word = in.value;
  for (std::size_t row = 0; row < rows; ++row) {
    out.span<std::uint64_t>("tags")[row] = row;
    for (std::size_t word = 0; word < kRowWords; ++word)
      out.span<std::uint64_t>("words")[row * kRowWords + word] = in.value * 1000 + row;
  }
}
/// From a row, of which all must be as it was filled.
inline Row row_of(const Arrays& in) {
  const auto words = in.vector<std::uint64_t>("words");
  const Row row{in.span<std::uint64_t>("all")[2], in.scalar<std::uint64_t>("tags")};
  if (words.size() != static_cast<Eigen::Index>(kRowWords) || in.span<std::uint64_t>("all").size() != 3)
    throw Error("a row of another shape");
  for (const std::uint64_t word : in.span<std::uint64_t>("words")) {
    if (word != row.message * 1000 + row.row) throw Error("a row of other values");
  }
  return row;
}

struct MakeRows {
  RowCount count;
  void operator()(const Number& in, Arrays& out) const { fill_rows(in, count(in.value), out); }
};
struct ReadRow {
  Row operator()(const Arrays& in, Context& context) const {
    busy(context.sequence() % 7 == 0 ? 20'000 : 10);  // so that parts overtake each other
    return row_of(in);
  }
};

/// numbers -> make -> parts -> read -> order -> stream
template <class T = Row>
struct PartsLine {
  template <class Commander, class Make, class Read>
  PartsLine(const Config& config, Commander commander, std::size_t most, Make make_body, Read read_body)
      : runtime{config},
        numbers{graph, runtime, "numbers", std::move(commander)},
        make{graph, runtime, "make", row_arrays(most), std::move(make_body)},
        parts{graph, runtime, "parts", std::vector<std::string>{"words", "tags"}},
        read{graph, runtime, "read", std::move(read_body)} {
    flow::make_edge(numbers, make);
    flow::make_edge(make, parts);
    flow::make_edge(parts, read);
    flow::make_edge(read, order);
    flow::make_edge(order, stream);
  }

  Runtime runtime;
  flow::graph graph;
  commander_node<Number> numbers;
  producer_node<Number, Arrays> make;
  split_node<Arrays> parts;
  producer_node<Arrays, T> read;
  sequencer_node<T> order{graph, runtime};
  stream_node<T> stream{graph, runtime};
};

/// All that a stream gives until the end, or a round's end, and whether each part knows where it comes from.
struct Given {
  std::vector<Row> rows;
  std::vector<std::uint64_t> sequences;
  bool known = true;
};
inline Given take_rows(stream_node<Row>& stream, RowCount count) {
  Given given;
  for (const auto& item : stream) {
    given.rows.push_back(*item);
    given.sequences.push_back(item.sequence());
    given.known = given.known && item.part() == item->row && item.parts() == count(item->message) &&
                  item.message<Number>().value == item->message;
  }
  return given;
}

inline std::vector<Row> all_rows(std::uint64_t messages, RowCount count) {
  std::vector<Row> rows;
  for (std::uint64_t message = 0; message < messages; ++message) {
    for (std::uint64_t row = 0; row < count(message); ++row) rows.push_back({message, row});
  }
  return rows;
}

/// Where the nodes are, and whether order is restored.
class SplitTest : public TandemTest, public testing::WithParamInterface<std::tuple<Place, bool>> {
 protected:
  static Place place() { return std::get<0>(GetParam()); }
  static bool ordered() { return std::get<1>(GetParam()); }
  static Config config(Settings settings = {}, std::initializer_list<const char*> nodes = {"make", "read"}) {
    settings.emplace_back("deterministic", ordered() ? "true" : "false");
    return placed(place(), nodes, settings);
  }
  /// Each row once, and numbered densely; in order where that is restored.
  static void expect_all(Given given, std::uint64_t messages, RowCount count) {
    EXPECT_TRUE(given.known);
    if (!ordered()) {
      std::sort(given.rows.begin(), given.rows.end());
      std::sort(given.sequences.begin(), given.sequences.end());
    }
    EXPECT_EQ(given.rows, all_rows(messages, count));
    for (std::uint64_t number = 0; number < given.sequences.size(); ++number)
      EXPECT_EQ(given.sequences[number], number);
  }
  static void expect_nothing_left(Runtime& runtime) {
    runtime.stop();  // whoever gave the last one back may not have counted it yet
    EXPECT_EQ(runtime.live_messages(), 0U);
    EXPECT_EQ(runtime.lent_blocks(), 0U);
  }
};

inline void PrintTo(const Row& row, std::ostream* out) { *out << row.message << '.' << row.row; }

inline std::string split_name(const testing::TestParamInfo<std::tuple<Place, bool>>& info) {
  const Place& place = std::get<0>(info.param);
  return std::string{place.placement} + "_" + std::to_string(place.workers) +
         (std::get<1>(info.param) ? "_ordered" : "_unordered");
}

}  // namespace tandem::test

#define TANDEM_FOR_ALL_SPLITS(SUITE)                                                                          \
  INSTANTIATE_TEST_SUITE_P(, SUITE,                                                                           \
                           testing::Combine(testing::ValuesIn(::tandem::test::places({"thread", "process"})), \
                                            testing::Bool()),                                                 \
                           ::tandem::test::split_name);                                                       \
  INSTANTIATE_TEST_SUITE_P(Spawned, SUITE,                                                                    \
                           testing::Combine(testing::Values(::tandem::test::Place{"spawn", 2}),               \
                                            testing::Bool()),                                                 \
                           ::tandem::test::split_name)
