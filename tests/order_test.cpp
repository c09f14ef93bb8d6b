// commander -> producer -> sequencer -> stream: what comes out, and in which order, over all placements.
#include <algorithm>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

struct Square {
  std::uint64_t number, square;
};

// Works for a random time, mostly short and now and then long, so that messages pass each other.
Square square_at_random_pace(const Number& in, Context& context) {
  const std::uint64_t number = context.random()();
  busy(number % 16 == 0 ? 20'000 : number % 500);
  return {in.value, in.value * in.value};
}

std::vector<std::uint64_t> numbers_to(std::uint64_t count) {
  std::vector<std::uint64_t> numbers(count);
  for (std::uint64_t number = 0; number < count; ++number) numbers[number] = number;
  return numbers;
}

class Order : public PlacedTest {};

TEST_P(Order, IsTheCommandersWhenBodiesTakeRandomTimes) {
  Line<Square> line{placed(GetParam(), {"work"}), CountTo{3000}, square_at_random_pace};

  std::vector<std::uint64_t> sequences;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item->number, item.sequence());
    ASSERT_EQ(item->square, item->number * item->number);
    sequences.push_back(item.sequence());
  }

  EXPECT_EQ(sequences, numbers_to(3000));
}

TEST_P(Order, IsTheCommandersWithOneItemInFlight) {
  Line<Square> line{placed(GetParam(), {"work"}, {{"in_flight", "1"}}), CountTo{300}, square_at_random_pace};

  std::vector<std::uint64_t> sequences;
  for (const auto& item : line.stream) sequences.push_back(item->number);

  EXPECT_EQ(sequences, numbers_to(300));
}

TEST_P(Order, IsTheCommandersWithAThousandItemsInFlight) {
  Line<Square> line{placed(GetParam(), {"work"}, {{"in_flight", "1000"}}), CountTo{20'000},
                    [](const Number& in) {
                      return Square{in.value, in.value * in.value};
                    }};

  std::vector<std::uint64_t> sequences;
  for (const auto& item : line.stream) sequences.push_back(item->number);

  EXPECT_EQ(sequences, numbers_to(20'000));
}

TEST_P(Order, OfCompletionDeliversEachItemOnceWhenNotDeterministic) {
  Line<Square> line{placed(GetParam(), {"work"}, {{"deterministic", "false"}}), CountTo{3000},
                    square_at_random_pace};

  std::vector<std::uint64_t> sequences;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item->number, item.sequence());
    sequences.push_back(item.sequence());
  }

  std::sort(sequences.begin(), sequences.end());
  EXPECT_EQ(sequences, numbers_to(3000));
}

TEST_P(Order, EndsAtOnceWhenTheCommanderHasNoMessage) {
  Line<Square> line{placed(GetParam(), {"work"}), CountTo{0}, square_at_random_pace};

  EXPECT_FALSE(line.stream.next());
  EXPECT_TRUE(line.stream.ended());
}

TEST_P(Order, OfOneMessageIsThatMessage) {
  Line<Square> line{placed(GetParam(), {"work"}), CountTo{1}, square_at_random_pace};

  EXPECT_TRUE(line.stream.next());
  EXPECT_FALSE(line.stream.next());
}

TANDEM_FOR_ALL_PLACES_AND_SPAWNED(Order);

}  // namespace
}  // namespace tandem::test
