// commander -> reader -> order -> stream
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>

#include <tandem/tandem.hpp>

namespace {

struct Number {
  std::uint64_t value;
};

struct Square {
  std::uint64_t number, square;
};

struct Counter {
  std::uint64_t last = 0, next = 0;
  std::optional<Number> operator()() {
    if (next == last) return std::nullopt;
    return Number{next++};
  }
};

class Pipeline : public testing::TestWithParam<std::tuple<const char*, int>> {};

TEST_P(Pipeline, DeliversAllInOrder) {
  tandem::Config config;
  config.set("node.squares.placement", std::get<0>(GetParam()), "test");
  config.set("node.squares.workers", std::to_string(std::get<1>(GetParam())), "test");
  tandem::Runtime runtime{config};
  oneapi::tbb::flow::graph graph;
  tandem::commander_node<Number> numbers{graph, runtime, "numbers", Counter{10000}};
  tandem::producer_node<Number, Square> squares{graph, runtime, "squares", [](const Number& in) {
                                                  return Square{in.value, in.value * in.value};
                                                }};
  tandem::sequencer_node<Square> order{graph, runtime};
  tandem::stream_node<Square> stream{graph, runtime};
  make_edge(numbers, squares);
  make_edge(squares, order);
  make_edge(order, stream);
  std::uint64_t next = 0;
  for (const auto& item : stream) {
    ASSERT_EQ(item->number, next);
    ASSERT_EQ(item->square, next * next);
    ASSERT_EQ(item.sequence(), next);
    ++next;
  }
  EXPECT_EQ(next, 10000U);
}

INSTANTIATE_TEST_SUITE_P(All, Pipeline,
                         testing::Combine(testing::Values("thread", "process"), testing::Values(1, 2, 8)));

}  // namespace
