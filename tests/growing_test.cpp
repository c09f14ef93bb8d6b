// Arrays of which nobody knows beforehand how large they are: their producer asks for memory while it makes the item.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include <tandem/growing_arrays.hpp>

#include "support/line.hpp"
#include "support/reply_area.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using testing::HasSubstr;

constexpr std::size_t kWidth = 3;
constexpr std::uint64_t kAll = 120;

std::vector<ArraySpec> hits() {
  return {array<double>("hits", {0, kWidth}).grows(), array<std::uint64_t>("number", {}),
          array<std::int32_t>("names", {0}).grows(), array<float>("most", {10}).up_to()};
}

// None for some, less than a page for some, many pages for others.
std::size_t wanted(std::uint64_t number) { return number % 7 * (number % 11) * 20; }
double hit(std::uint64_t number, std::size_t i) { return static_cast<double>(number * 1000 + i); }

// Rows at once for even messages, one by one for others.
struct Finds {
  void operator()(const Number& in, Arrays& out) const {
    const std::size_t rows = wanted(in.value);
    out.scalar<std::uint64_t>("number") = in.value;
    out.set_extent("most", in.value % 11);
    if (rows == 0) return;
    out.grow("names", 2);
    out.vector<std::int32_t>("names").setConstant(static_cast<std::int32_t>(in.value));
    if (in.value % 2 == 0) {
      out.grow("hits", rows);
      auto all = out.span<double>("hits");
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = hit(in.value, i);
      return;
    }
    for (std::size_t row = 0; row < rows; ++row) {
      out.grow("hits", row + 1);
      for (std::size_t i = 0; i < kWidth; ++i)
        out.span<double>("hits")[row * kWidth + i] = hit(in.value, row * kWidth + i);
    }
  }
};

std::uint64_t sum_of(const Arrays& in) {
  std::uint64_t sum = in.scalar<std::uint64_t>("number");
  for (const double value : in.span<double>("hits")) sum = sum * 31 + static_cast<std::uint64_t>(value);
  return sum;
}

void expect_found(const Arrays& arrays, std::uint64_t number) {
  const std::size_t rows = wanted(number);
  ASSERT_EQ(arrays.scalar<std::uint64_t>("number"), number);
  ASSERT_EQ(arrays.shape("hits"), (Shape{rows, kWidth}));
  ASSERT_EQ(arrays.shape("most"), (Shape{number % 11}));
  const auto found = arrays.matrix<double>("hits");
  ASSERT_EQ(static_cast<std::size_t>(found.rows()), rows);
  for (std::size_t i = 0; i < rows * kWidth; ++i) ASSERT_EQ(found.data()[i], hit(number, i)) << i;
  ASSERT_EQ(arrays.span<std::int32_t>("names").size(), rows == 0 ? 0U : 2U);
  for (const std::int32_t name : arrays.vector<std::int32_t>("names"))
    ASSERT_EQ(name, static_cast<std::int32_t>(number));
}

class Growing : public PlacedTest {
 protected:
  // Once nobody has an item any more.
  static void expect_all_back(Runtime& runtime) {
    runtime.stop();
    EXPECT_EQ(runtime.live_messages(), 0U);
    EXPECT_EQ(runtime.lent_blocks(), 0U);
    EXPECT_EQ(runtime.arrays().size(), 0U);
    EXPECT_TRUE(runtime.audit().balanced()) << runtime.audit().text();
  }
};
TANDEM_FOR_ALL_PLACES_AND_SPAWNED(Growing);

TEST_P(Growing, HaveTheRowsThatTheirProducerAskedFor) {
  Line<Arrays> line{placed(GetParam(), {"work"}, {{"in_flight", "4"}}), CountTo{kAll}, hits(), Finds{}};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) {
    ASSERT_NO_FATAL_FAILURE(expect_found(*item, next));
    ++next;
  }
  EXPECT_EQ(next, kAll);
  expect_all_back(line.runtime);
}

TEST_P(Growing, AreReadByLaterProducersAsTheyAre) {
  Runtime runtime{placed(GetParam(), {"find", "keep", "sum"}, {{"in_flight", "4"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kAll}};
  producer_node<Number, Arrays> find{graph, runtime, "find", hits(), Finds{}};
  // Every other row goes on: an array that grows, made from one.
  producer_node<Arrays, Arrays> keep{graph, runtime, "keep", hits(), [](const Arrays& in, Arrays& out) {
                                       out.scalar<std::uint64_t>("number") = in.scalar<std::uint64_t>("number");
                                       const auto all = in.matrix<double>("hits");
                                       out.grow("hits", static_cast<std::size_t>(all.rows() + 1) / 2);
                                       auto kept = out.matrix<double>("hits");
                                       for (Eigen::Index row = 0; row < kept.rows(); ++row)
                                         kept.row(row) = all.row(2 * row);
                                     }};
  producer_node<Arrays, Number> sum{graph, runtime, "sum", [](const Arrays& in) { return Number{sum_of(in)}; }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, find);
  flow::make_edge(find, keep);
  flow::make_edge(keep, sum);
  flow::make_edge(sum, order);
  flow::make_edge(order, stream);
  std::uint64_t next = 0;
  for (const auto& item : stream) {
    std::uint64_t sum_wanted = next;
    for (std::size_t row = 0; row < wanted(next); row += 2) {
      for (std::size_t i = 0; i < kWidth; ++i)
        sum_wanted = sum_wanted * 31 + static_cast<std::uint64_t>(hit(next, row * kWidth + i));
    }
    ASSERT_EQ(item->value, sum_wanted) << next;
    ++next;
  }
  EXPECT_EQ(next, kAll);
  expect_all_back(runtime);
}

TEST_P(Growing, KeepTheirMemoryForAsLongAsTheItem) {
  Line<Arrays> line{placed(GetParam(), {"work"}, {{"in_flight", "6"}, {"arrays", "1 MiB"}}),
                    CountTo{60},
                    {array<std::uint64_t>("all", {0}).grows()},
                    [](const Number& in, Arrays& out) {
                      out.grow("all", 1);
                      out.grow("all", 10'000);
                      std::ranges::fill(out.span<std::uint64_t>("all"), in.value);
                    }};
  std::vector<Item<Arrays>> kept;
  while (auto item = line.stream.next()) {
    kept.push_back(std::move(*item));
    for (const auto& one : kept) {
      const auto all = (*one).span<std::uint64_t>("all");
      ASSERT_TRUE(std::ranges::all_of(all, [&](std::uint64_t value) { return value == one.sequence(); }));
    }
    if (kept.size() == 4) kept.erase(kept.begin(), kept.begin() + 3);
  }
  line.runtime.stop();
  ASSERT_EQ(line.runtime.live_messages(), kept.size());
  EXPECT_EQ(line.runtime.arrays().size(),
            kept.size());  // each in one piece, and what that one replaced is free
  for (const ArrayInfo& info : line.runtime.arrays()) EXPECT_EQ(info.shape, Shape{10'000});
  kept.clear();
  expect_all_back(line.runtime);
}

TEST_P(Growing, WithoutRoomAreAnErrorWithNumbersAndTheOthersGoOn) {
  constexpr std::uint64_t kBad = 5;
  Line<Arrays> line{placed(GetParam(), {"work"}, {{"in_flight", "2"}, {"arrays", "1 MiB"}}),
                    CountTo{12},
                    {array<std::uint64_t>("all", {0}).grows()},
                    [](const Number& in, Arrays& out) {
                      out.grow("all", 10);
                      if (in.value == kBad) out.grow("all", 1'000'000);
                    }};
  for (std::uint64_t next = 0; next < 12; ++next) {
    if (next == kBad) {
      const std::string text = thrown_text<ProducerError>([&] { line.stream.next(); });
      EXPECT_THAT(text, HasSubstr("array 'all' cannot grow to 1000000 rows"));
      EXPECT_THAT(text, HasSubstr("8000000 bytes (7.629 MiB)"));
      EXPECT_THAT(text, HasSubstr("1048576 bytes (1 MiB)"));
      EXPECT_THAT(text, HasSubstr("raise arrays"));
      continue;
    }
    const auto item = line.stream.next();
    ASSERT_EQ(item->sequence(), next);
    EXPECT_EQ((*item)->shape("all"), Shape{10});
  }
  EXPECT_FALSE(line.stream.next());
  expect_all_back(line.runtime);
}

TEST_P(Growing, ThatEndInAnErrorOrASkipHoldNothing) {
  Line<Arrays> line{placed(GetParam(), {"work"}, {{"in_flight", "4"}, {"node.work.on_error", "deliver"}}),
                    CountTo{30},
                    {array<std::uint64_t>("all", {0}).grows()},
                    [](const Number& in, Arrays& out, Context& context) {
                      out.grow("all", 1000);
                      if (in.value % 3 == 0) throw Error("no");
                      if (in.value % 3 == 1) context.skip();
                    }};
  std::vector<Item<Arrays>> kept;
  while (auto item = line.stream.next_for(std::chrono::minutes{1})) {
    if (item->ok()) {
      EXPECT_EQ((*item)->shape("all"), Shape{1000});
    } else {
      kept.push_back(std::move(*item));
      if (kept.size() == 3) kept.clear();
    }
  }
  ASSERT_TRUE(line.stream.ended());
  line.runtime.stop();
  EXPECT_EQ(line.runtime.arrays().size(), 0U);
  kept.clear();
  expect_all_back(line.runtime);
}

// The rows that were taken ahead are not the item's; what a body does not say has no rows.
TEST_P(Growing, HaveAsManyRowsAsWereSaidLast) {
  Line<Arrays> line{placed(GetParam(), {"work"}),
                    CountTo{4},
                    {array<int>("all", {0, 2}).grows()},
                    [](const Number& in, Arrays& out) {
                      if (in.value == 0) return;
                      out.grow("all", 5000);
                      out.span<int>("all")[0] = 7;
                      if (in.value == 1) out.set_extent("all", 3);
                      if (in.value == 2) out.grow("all", 2);
                      if (in.value == 3) out.set_extent("all", 5'000'000);
                    }};
  for (const std::size_t rows : {0U, 3U, 2U}) {
    const auto item = line.stream.next();
    EXPECT_EQ((*item)->shape("all"), (Shape{rows, 2}));
    EXPECT_EQ((*item)->span<int>("all").size(), rows * 2);
    if (rows > 0) { EXPECT_EQ((*item)->span<int>("all")[0], 7); }
  }
  EXPECT_THAT(thrown_text<ProducerError>([&] { line.stream.next(); }),
              HasSubstr("array 'all' has memory for 5"));
  expect_all_back(line.runtime);
}

TEST_P(Growing, OthersDoNot) {
  Line<Arrays> line{placed(GetParam(), {"work"}), CountTo{1}, hits(),
                    [](const Number&, Arrays& out) { out.grow("most", 20); }};
  EXPECT_THAT(thrown_text<ProducerError>([&] { line.stream.next(); }),
              HasSubstr("array 'most' has its declared shape (10); declare it with grows() to ask for more"));
}

class GrowingInProcesses : public Growing {};
TANDEM_FOR_PROCESSES(GrowingInProcesses);

TEST_P(GrowingInProcesses, OfAWorkerThatDiesAreFreeAgain) {
  Line<Arrays> line{placed(GetParam(), {"work"}, {{"in_flight", "2"}, {"arrays", "1 MiB"}}),
                    CountTo{40},
                    {array<std::uint64_t>("all", {0}).grows()},
                    [](const Number& in, Arrays& out, Context& context) {
                      out.grow("all", 10);
                      out.grow("all", 30'000);  // a few of these, and there is no room
                      if (in.value % 3 == 0 && context.attempt() == 1) _exit(1);
                      out.set_extent("all", 1);
                      out.span<std::uint64_t>("all")[0] = in.value;
                    }};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item->span<std::uint64_t>("all")[0], next);
    ++next;
  }
  EXPECT_EQ(next, 40U);
  expect_all_back(line.runtime);
}

// What a worker says of its item, and what becomes of it.
struct Told {
  std::uint64_t rows;
  std::uint64_t place_beyond;  // the place that it was given
};

// Writes the record and the reply itself, as somebody who means harm.
struct Tells {
  Told told;
  std::uint32_t in_flight;
  void operator()(const Number& in, Arrays& out, Context& context) const {
    out.grow("all", 512);
    if (in.value != 1) return;
    const auto place = static_cast<std::uint64_t>(out.data("all") - context.arrays());
    const std::uint64_t header[2] = {told.rows, place + told.place_beyond};
    std::memcpy(out.base(), header, sizeof header);
    const ReplyArea area{in_flight};
    const std::uint64_t next = area.commit();
    // The reply that asked for memory stands before, of the same message.
    ReplyToken reply = area.token(next - 1);
    reply.kind = ReplyKind::done;
    std::memcpy(area.place(next), &reply, sizeof reply);
    area.show(next + 1);
    ReplyArea::ring_host();
    for (;;) pause();
  }
};

class GrowingLies : public TandemTest {};
class GrowingRecord : public TandemTest, public testing::WithParamInterface<Told> {};
INSTANTIATE_TEST_SUITE_P(, GrowingRecord,
                         testing::Values(Told{513, 0}, Told{1, 4096}, Told{1, 64}, Told{1, ~std::uint64_t{0}},
                                         Told{~std::uint64_t{0}, 0}, Told{~std::uint64_t{0} / 8 + 2, 0},
                                         Told{1, std::uint64_t{1} << 40}));

TEST_P(GrowingRecord, ThatIsWrongIsAnErrorOfThatMessage) {
  constexpr std::uint32_t kInFlight = 2;
  Line<Arrays> line{placed({"process", 1}, {"work"}, {{"in_flight", std::to_string(kInFlight)}}),
                    CountTo{3},
                    {array<std::uint64_t>("all", {0}).grows()},
                    Tells{GetParam(), kInFlight}};
  EXPECT_EQ((*line.stream.next())->shape("all"), Shape{512});
  EXPECT_THAT(thrown_text<ProducerError>([&] { line.stream.next(); }),
              HasSubstr("the record of array 'all' was overwritten: it tells of " +
                        std::to_string(GetParam().rows) + " rows at byte"));
}

TEST_F(GrowingLies, OfMemoryThatIsGivenBackCostAnAttempt) {
  constexpr std::uint32_t kInFlight = 2;
  Line<Arrays> line{placed({"process", 1}, {"work"}, {{"in_flight", std::to_string(kInFlight)}}),
                    CountTo{1},
                    {array<std::uint64_t>("all", {0}).grows()},
                    [](const Number&, Arrays& out) {
                      out.grow("all", 512);
                      const ReplyArea area{kInFlight};
                      const std::uint64_t next = area.commit();
                      ReplyToken reply = area.token(next - 1);
                      reply.returned = 4711;
                      std::memcpy(area.place(next), &reply, sizeof reply);
                      area.show(next + 1);
                      ReplyArea::ring_host();
                      for (;;) pause();
                    }};
  EXPECT_THAT(thrown_text<ProducerError>([&] { line.stream.next(); }),
              HasSubstr("it gave back page 4710 of the shared arrays, which message 0 was not granted"));
}

class GrowingSpecs : public TandemTest {};

TEST_F(GrowingSpecs, AreRefusedThatCannotGrow) {
  const auto refusal = [](ArraySpec spec) {
    return thrown_text<Error>([&] { const ArraysLayout layout{{std::move(spec)}}; });
  };
  EXPECT_EQ(refusal(array<int>("hits", {}).grows()),
            "array 'hits' with shape () grows along its first dimension; write 0 for that");
  EXPECT_EQ(refusal(array<int>("hits", {5, 3}).grows()),
            "array 'hits' with shape (5, 3) grows along its first dimension; write 0 for that");
  EXPECT_EQ(refusal(array<int>("hits", {0, 0}).grows()),
            "array 'hits' with shape (0, 0) grows, but a row of it has no element; give it some");
  EXPECT_EQ(refusal(array<int>("hits", {0}).up_to().grows()),
            "array 'hits' grows, and is also declared with up_to(); choose one");
}

TEST_F(GrowingSpecs, AreRefusedByAFeeder) {
  Runtime runtime{config_of({})};
  flow::graph graph;
  EXPECT_THAT(thrown_text<Error>([&] {
                feeder_node<Arrays> steps{graph, runtime, "steps", hits()};
              }),
              HasSubstr("feeder 'steps': only a producer's arrays grow"));
}

// The maker of an item may write there while a later worker reads: it sees no rows, or wrong ones, and nothing else.
TEST_F(GrowingSpecs, ThatLieOutsideOfTheStoreAreReadAsEmpty) {
  constexpr std::uint64_t kMost = ~std::uint64_t{0};
  const ArraysLayout layout{{array<double>("hits", {0, 2}).grows(), array<int>("number", {})}};
  const auto rows_at = [&](std::uint64_t rows, std::uint64_t place) {
    std::vector<std::uint64_t> header{rows, 0, place, 0};
    bound_grown(layout, header, 4096);
    return header[0];
  };
  EXPECT_EQ(rows_at(256, 0), 256U);
  EXPECT_EQ(rows_at(252, 64), 252U);
  EXPECT_EQ(rows_at(257, 0), 0U);
  EXPECT_EQ(rows_at(253, 64), 0U);
  EXPECT_EQ(rows_at(1, 8), 0U);  // no array begins there
  EXPECT_EQ(rows_at(1, 4096), 0U);
  EXPECT_EQ(rows_at(1, kMost - 63), 0U);
  EXPECT_EQ(rows_at(kMost, 0), 0U);
  EXPECT_EQ(rows_at(kMost / 16 + 2, 0), 0U);
}

TEST_F(GrowingSpecs, TakeNoMemoryBeforehand) {
  EXPECT_EQ(ArraysLayout{{array<double>("hits", {0, 1000}).grows()}}.bytes(), ArraysLayout::kAlignment);
}

}  // namespace
}  // namespace tandem::test
