// Arrays of which a producer fills less than it declared.
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using testing::HasSubstr;

constexpr std::size_t kMost = 50;
constexpr std::size_t kWidth = 3;

std::vector<ArraySpec> points() {
  return {array<double>("points", {kMost, kWidth}).up_to(), array<std::int32_t>("labels", {kMost}).up_to(),
          array<std::uint64_t>("number", {})};
}

struct Fills {
  void operator()(const Number& in, Arrays& out) const {
    const std::size_t count = in.value % (kMost + 1);
    if (in.value % 5 != 0) {  // else whole
      out.set_extent("points", count);
      out.set_extent("labels", count);
    }
    out.matrix<double>("points").setConstant(static_cast<double>(in.value));
    out.vector<std::int32_t>("labels").setConstant(static_cast<std::int32_t>(in.value));
    out.scalar<std::uint64_t>("number") = in.value;
  }
};
std::size_t wanted(std::uint64_t number) { return number % 5 == 0 ? kMost : number % (kMost + 1); }

void expect_filled(const Arrays& arrays, std::uint64_t number) {
  EXPECT_EQ(arrays.scalar<std::uint64_t>("number"), number);
  EXPECT_EQ(arrays.shape("points"), (Shape{wanted(number), kWidth}));
  EXPECT_EQ(arrays.spec("points").shape, (Shape{kMost, kWidth}));
  EXPECT_EQ(static_cast<std::size_t>(arrays.matrix<double>("points").rows()), wanted(number));
  EXPECT_EQ(arrays.span<std::int32_t>("labels").size(), wanted(number));
  for (const double value : arrays.span<double>("points")) ASSERT_EQ(value, static_cast<double>(number));
}

class Partial : public PlacedTest {};
TANDEM_FOR_ALL_PLACES_AND_SPAWNED(Partial);

TEST_P(Partial, HaveTheExtentThatTheirProducerSet) {
  Line<Arrays> line{placed(GetParam(), {"work"}, {{"in_flight", "4"}}), CountTo{200}, points(), Fills{}};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) expect_filled(*item, next++);
  EXPECT_EQ(next, 200U);
}

TEST_P(Partial, AreReadByALaterProducerAsTheyAre) {
  Runtime runtime{placed(GetParam(), {"fill", "sum"}, {{"in_flight", "4"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{200}};
  producer_node<Number, Arrays> fill{graph, runtime, "fill", points(), Fills{}};
  producer_node<Arrays, Number> sum{
      graph, runtime, "sum", [](const Arrays& in) {
        return Number{static_cast<std::uint64_t>(in.tensor<double, 2>("points").size())};
      }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, fill);
  flow::make_edge(fill, sum);
  flow::make_edge(sum, order);
  flow::make_edge(order, stream);
  std::uint64_t next = 0;
  for (const auto& item : stream) EXPECT_EQ(item->value, wanted(next++) * kWidth);
  EXPECT_EQ(next, 200U);
}

TEST_P(Partial, CannotBeLargerThanDeclared) {
  Line<Arrays> line{placed(GetParam(), {"work"}), CountTo{1}, points(),
                    [](const Number&, Arrays& out) { out.set_extent("labels", kMost + 1); }};
  EXPECT_THAT(
      thrown_text<ProducerError>([&] { line.stream.next(); }),
      HasSubstr("array 'labels' was declared for 50 at most along its first dimension, and is to have 51"));
}

// A body that writes over its block, extents and all, gets an item that is wrong and no view that leaves the block.
TEST_P(Partial, WithNonsenseForAnExtentStayInTheirBlock) {
  Line<Arrays> line{placed(GetParam(), {"work"}), CountTo{1}, points(),
                    [](const Number&, Arrays& out) { std::memset(out.base(), 0xFF, out.layout()->bytes()); }};
  const auto item = line.stream.next();
  EXPECT_EQ((*item)->shape("points"), (Shape{kMost, kWidth}));
  EXPECT_EQ((*item)->span<std::int32_t>("labels").size(), kMost);
}

TEST_P(Partial, OfAFeederAreAsTheLoopSaid) {
  Runtime runtime{placed(GetParam(), {"sum"})};
  flow::graph graph;
  feeder_node<Arrays> steps{graph, runtime, "steps", points()};
  producer_node<Arrays, Number> sum{graph, runtime, "sum",
                                    [](const Arrays& in) { return Number{in.span<double>("points").size()}; }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(steps, sum);
  flow::make_edge(sum, stream);
  for (const std::size_t count : {kMost, std::size_t{7}, std::size_t{0}}) {
    auto step = steps.loan();
    EXPECT_EQ(step->shape("points")[0], kMost);
    step->set_extent("points", count);
    steps.push(std::move(step));
    EXPECT_EQ((*stream.next())->value, count * kWidth);
  }
}

class PartialSpecs : public TandemTest {};

TEST_F(PartialSpecs, NeedADimension) {
  EXPECT_EQ(thrown_text<Error>([] { const ArraysLayout layout{{array<int>("number", {}).up_to()}}; }),
            "array 'number' has no dimension, so none that could be smaller; do without up_to()");
}

TEST_F(PartialSpecs, OthersCannotBeFilledInPart) {
  Line<Arrays> line{config_of({}), CountTo{1}, points(),
                    [](const Number&, Arrays& out) { out.set_extent("number", 0); }};
  EXPECT_THAT(
      thrown_text<ProducerError>([&] { line.stream.next(); }),
      HasSubstr("array 'number' always has its declared shape (); declare it with up_to() to fill less"));
}

}  // namespace
}  // namespace tandem::test
