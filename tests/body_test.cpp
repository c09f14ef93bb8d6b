// What a body sees and makes: messages and outputs of all kinds, bodies of all shapes, the same random
// numbers wherever it runs.
#include <array>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

struct Draws {
  std::array<std::uint64_t, 3> numbers;
  double normal;
  int worker;
};

Draws draw(const Number&, Context& context) {
  Draws draws{{context.random()(), context.random()(), context.random()()}, 0, context.worker()};
  draws.normal = std::normal_distribution<double>{}(context.random());
  return draws;
}

class Body : public PlacedTest {};

TEST_P(Body, GetsTheSameRandomNumbersEverywhere) {
  Line<Draws> line{placed(GetParam(), {"work"}, {{"seed", "42"}}), CountTo{200}, draw};
  const std::uint64_t key = stream_key(42, "work");

  for (const auto& item : line.stream) {
    Random expected{key, item.sequence()};
    for (const std::uint64_t number : item->numbers) ASSERT_EQ(number, expected());
    ASSERT_EQ(item->normal, std::normal_distribution<double>{}(expected));
  }
}

TEST_P(Body, IsToldItsPlace) {
  struct Told {
    std::uint64_t sequence;
    int attempt, worker;
    char node[8];
  };
  Line<Told> line{placed(GetParam(), {"work"}), CountTo{300}, [](const Number&, Context& context) {
                    Told told{context.sequence(), context.attempt(), context.worker(), {}};
                    context.node().copy(told.node, sizeof told.node - 1);
                    return told;
                  }};

  for (const auto& item : line.stream) {
    ASSERT_EQ(item->sequence, item.sequence());
    ASSERT_EQ(item->attempt, 1);
    ASSERT_EQ(item.attempt(), 1);
    ASSERT_EQ(item->worker, item.worker());
    ASSERT_GE(item->worker, 0);
    ASSERT_LT(item->worker, GetParam().workers);
    ASSERT_STREQ(item->node, "work");
  }
}

TEST_P(Body, ReturnsItsOutputFromTheMessageAlone) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{100},
                    [](const Number& in) { return Number{in.value + 7}; }};
  for (const auto& item : line.stream) ASSERT_EQ(item->value, item.sequence() + 7);
}

TEST_P(Body, ReturnsItsOutputFromMessageAndContext) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{100},
                    [](const Number& in, Context& context) { return Number{in.value + context.sequence()}; }};
  for (const auto& item : line.stream) ASSERT_EQ(item->value, 2 * item.sequence());
}

TEST_P(Body, FillsItsOutputFromTheMessageAlone) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{100},
                    [](const Number& in, Number& out) { out.value = in.value + 7; }};
  for (const auto& item : line.stream) ASSERT_EQ(item->value, item.sequence() + 7);
}

TEST_P(Body, FillsItsOutputFromMessageAndContext) {
  Line<Number> line{
      placed(GetParam(), {"work"}), CountTo{100},
      [](const Number& in, Number& out, Context& context) { out.value = in.value + context.sequence(); }};
  for (const auto& item : line.stream) ASSERT_EQ(item->value, 2 * item.sequence());
}

// Counts what was done with this one instance; the state of one worker is nobody else's.
struct Stateful {
  bool started = false;
  std::uint64_t done = 0;
  struct Out {
    std::uint64_t done;
    int starts, worker;
  };
  int starts = 0;

  void start() { ++starts; }
  Out operator()(const Number&, Context& context) { return {++done, starts, context.worker()}; }
};

TEST_P(Body, IsOneInstancePerWorkerAndStartedOnce) {
  Line<Stateful::Out> line{placed(GetParam(), {"work"}), CountTo{500}, Stateful{}};

  std::vector<std::uint64_t> done_by(8, 0);
  std::uint64_t all = 0;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item->starts, 1);
    auto& done = done_by[static_cast<std::size_t>(item->worker)];
    done = std::max(done, item->done);
    ++all;
  }
  EXPECT_EQ(std::accumulate(done_by.begin(), done_by.end(), std::uint64_t{0}), all);
}

struct StartsWithContext {
  std::uint64_t first_random = 0;
  void start(Context& context) { first_random = context.random()(); }
  Number operator()(const Number&) const { return {first_random}; }
};

TEST_P(Body, StartsWithTheSameRandomNumbersInEveryWorker) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"seed", "7"}}), CountTo{200}, StartsWithContext{}};
  const std::uint64_t expected = Random{stream_key(7, "work"), 0, Random::Use::start}();
  for (const auto& item : line.stream) ASSERT_EQ(item->value, expected);
}

template <std::size_t Bytes>
struct Blob {
  std::array<unsigned char, Bytes> bytes;
  static Blob of(std::uint64_t number) {
    Blob blob;
    for (std::size_t i = 0; i < Bytes; ++i) blob.bytes[i] = static_cast<unsigned char>(number * 31 + i);
    return blob;
  }
  bool operator==(const Blob&) const = default;
};

template <std::size_t Bytes>
void expect_messages_arrive(const Place& place) {
  using Message = Blob<Bytes>;
  auto count = [next = std::uint64_t{0}]() mutable -> std::optional<Message> {
    if (next == 200) return std::nullopt;
    return Message::of(next++);
  };
  Line<Message, Message> line{placed(place, {"work"}), count, [](const Message& in) { return in; }};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) ASSERT_EQ(*item, Message::of(next++));
  EXPECT_EQ(next, 200U);
}

TEST_P(Body, GetsMessagesOfOneByte) { expect_messages_arrive<1>(GetParam()); }
TEST_P(Body, GetsMessagesOf24Bytes) { expect_messages_arrive<24>(GetParam()); }
TEST_P(Body, GetsMessagesOf25Bytes) { expect_messages_arrive<25>(GetParam()); }
TEST_P(Body, GetsMessagesOf1000Bytes) { expect_messages_arrive<1000>(GetParam()); }
TEST_P(Body, GetsMessagesOf100000Bytes) { expect_messages_arrive<100'000>(GetParam()); }

template <std::size_t Alignment, std::size_t Bytes>
void expect_aligned(const Place& place) {
  struct alignas(Alignment) Aligned {
    unsigned char bytes[Bytes];
  };
  auto count = [left = 50]() mutable -> std::optional<Aligned> {
    if (left-- == 0) return std::nullopt;
    return Aligned{};
  };
  // Volatile: the compiler may take the alignment for granted and drop the remainder.
  Line<Number, Aligned> line{placed(place, {"work"}), count, [](const Aligned& in) {
                               const volatile std::uintptr_t address = reinterpret_cast<std::uintptr_t>(&in);
                               return Number{address % Alignment};
                             }};
  for (const auto& item : line.stream) ASSERT_EQ(item->value, 0U) << "bytes off a multiple of " << Alignment;
}

TEST_P(Body, GetsSmallMessagesAlignedTo16Bytes) { expect_aligned<16, 16>(GetParam()); }
TEST_P(Body, GetsMessagesAlignedTo32Bytes) { expect_aligned<32, 32>(GetParam()); }
TEST_P(Body, GetsMessagesAlignedTo64Bytes) { expect_aligned<64, 64>(GetParam()); }

TEST_P(Body, FillsArraysOfSeveralTypes) {
  Line<Arrays> line{
      placed(GetParam(), {"work"}),
      CountTo{100},
      {array<std::uint8_t>("pixels", {3, 5, 2}), array<double>("sums", {4}), array<std::int64_t>("count", {})},
      [](const Number& in, Arrays& out) {
        for (auto& pixel : out.span<std::uint8_t>("pixels")) pixel = static_cast<std::uint8_t>(in.value);
        out.vector<double>("sums").setConstant(static_cast<double>(in.value) / 3);
        out.scalar<std::int64_t>("count") = -static_cast<std::int64_t>(in.value);
      }};

  std::uint64_t next = 0;
  for (const auto& item : line.stream) {
    const auto pixels = item->span<std::uint8_t>("pixels");
    ASSERT_EQ(pixels.size(), 30U);
    for (const std::uint8_t pixel : pixels) ASSERT_EQ(pixel, next);
    ASSERT_EQ(item->vector<double>("sums")(3), static_cast<double>(next) / 3);
    ASSERT_EQ(item->scalar<std::int64_t>("count"), -static_cast<std::int64_t>(next));
    ++next;
  }
  EXPECT_EQ(next, 100U);
}

TEST_P(Body, FillsArraysLargerThanAPage) {
  constexpr std::size_t kElements = 100'000;
  Line<Arrays> line{placed(GetParam(), {"work"}, {{"in_flight", "5"}}),
                    CountTo{60},
                    {array<std::uint64_t>("numbers", {kElements})},
                    [](const Number& in, Arrays& out) {
                      auto numbers = out.span<std::uint64_t>("numbers");
                      std::iota(numbers.begin(), numbers.end(), in.value);
                    }};

  for (const auto& item : line.stream) {
    const auto numbers = item->span<std::uint64_t>("numbers");
    for (std::size_t i = 0; i < numbers.size(); i += 97) ASSERT_EQ(numbers[i], item.sequence() + i);
    ASSERT_EQ(numbers.back(), item.sequence() + kElements - 1);
  }
}

TEST_P(Body, MakesNoArraysWhenNoneAreDeclared) {
  Line<Arrays> line{placed(GetParam(), {"work"}), CountTo{10}, std::vector<ArraySpec>{},
                    [](const Number&, Arrays&) {}};
  int items = 0;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item->size(), 0U);
    ++items;
  }
  EXPECT_EQ(items, 10);
}

TANDEM_FOR_ALL_PLACES(Body);

}  // namespace
}  // namespace tandem::test
