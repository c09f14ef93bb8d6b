// A value that the host changes while bodies read it.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

// Whole only if all words follow from the first.
struct Wide {
  std::uint64_t words[33];
  static Wide of(std::uint64_t number) {
    Wide wide;
    for (std::uint64_t index = 0; index < 33; ++index) wide.words[index] = number * (index + 1);
    return wide;
  }
  bool is_whole() const {
    for (std::uint64_t index = 0; index < 33; ++index) {
      if (words[index] != words[0] * (index + 1)) return false;
    }
    return true;
  }
};

class Parameters : public PlacedTest {};
TANDEM_FOR_ALL_PLACES_AND_SPAWNED(Parameters);

TEST_P(Parameters, ReachBodiesThatAreAtWork) {
  Runtime runtime{placed(GetParam(), {"work"}, {{"in_flight", "2"}})};
  flow::graph graph;
  Parameter<std::uint64_t> factor{runtime, 1};
  factor.set(2);
  commander_node<Number> numbers{graph, runtime, "numbers", CountForEver{}};
  producer_node<Number, Number> work{graph, runtime, "work",
                                     [factor](const Number& in) { return Number{in.value * factor.get()}; }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, work);
  flow::make_edge(work, stream);
  EXPECT_EQ((*stream.next())->value % 2, 0U);
  factor.set(7);
  // Not more than in_flight messages were begun before.
  for (int skipped = 0; skipped < 4; ++skipped) stream.next();
  for (int item = 0; item < 50; ++item) {
    const auto one = stream.next();
    EXPECT_EQ((*one)->value, 7 * one->message<Number>().value);
  }
  EXPECT_EQ(factor.get(), 7U);
}

TEST_P(Parameters, AreNeverSeenInPart) {
  Runtime runtime{placed(GetParam(), {"work"})};
  flow::graph graph;
  Parameter<Wide> wide{runtime, Wide::of(1)};
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{200}};
  producer_node<Number, Number> work{graph, runtime, "work", [wide](const Number&) {
                                       std::uint64_t broken = 0;
                                       for (int look = 0; look < 1000; ++look)
                                         broken += wide.get().is_whole() ? 0 : 1;
                                       return Number{broken};
                                     }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, work);
  flow::make_edge(work, stream);
  std::atomic<bool> done{false};
  std::thread writer{[&, wide]() mutable {
    for (std::uint64_t number = 2; !done; ++number) wide.set(Wide::of(number));
  }};
  std::uint64_t broken = 0;
  for (const auto& item : stream) broken += item->value;
  done = true;
  writer.join();
  EXPECT_EQ(broken, 0U);
}

TEST_P(Parameters, AreReadOnlyInBodies) {
  Runtime runtime{placed(GetParam(), {"work"})};
  flow::graph graph;
  Parameter<int> number{runtime, 1};
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{1}};
  producer_node<Number, Number> work{graph, runtime, "work", [number](const Number& in) mutable {
                                       number.set(2);
                                       return in;
                                     }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, work);
  flow::make_edge(work, stream);
  EXPECT_NE(thrown_text<ProducerError>([&] { stream.next(); }).find("can only read it"), std::string::npos);
  EXPECT_EQ(number.get(), 1);
}

class ParameterLife : public TandemTest {};

TEST_F(ParameterLife, KeepsItsValueBeyondTheRuntime) {
  struct Odd {
    char letters[5];
  };
  std::unique_ptr<Parameter<Odd>> kept;
  {
    Runtime runtime{config_of({})};
    kept = std::make_unique<Parameter<Odd>>(runtime, Odd{"abcd"});
    runtime.start();
    kept->set({"wxyz"});
  }
  EXPECT_EQ(std::string{kept->get().letters}, "wxyz");
}

// Large, so that a reader is often in the middle of it.
struct Large {
  std::uint64_t words[4096];
  static Large of(std::uint64_t word) {
    Large large;
    std::fill(std::begin(large.words), std::end(large.words), word);
    return large;
  }
  bool is(std::uint64_t word) const {
    return std::all_of(std::begin(words), std::end(words), [=](std::uint64_t one) { return one == word; });
  }
};

TEST_F(ParameterLife, IsReadInTheHostFromBeforeTheRunUntilAfterItsEnd) {
  for (int round = 0; round < 200; ++round) {
    std::atomic<bool> reads{false};
    std::atomic<bool> done{false};
    std::uint64_t wrong = 0;
    std::thread reader;
    {
      Runtime runtime{config_of({})};
      const Parameter<Large> large{runtime, Large::of(42)};
      reader = std::thread{[&, large] {
        for (; !done; reads = true) wrong += large.get().is(42) ? 0 : 1;
      }};
      while (!reads) std::this_thread::yield();
      runtime.start();
    }
    done = true;
    reader.join();
    ASSERT_EQ(wrong, 0U) << "round " << round;
  }
}

TEST_F(ParameterLife, KeepsAValueThatIsSetBesideTheEndOfTheRun) {
  for (int round = 0; round < 1000; ++round) {
    std::optional<Parameter<Large>> kept;
    std::atomic<bool> begun{false};
    std::thread writer;
    {
      Runtime runtime{config_of({})};
      kept.emplace(runtime, Large::of(1));
      runtime.start();
      writer = std::thread{[&begun, round, large = *kept]() mutable {
        const Large two = Large::of(2);
        begun = true;
        busy(static_cast<std::uint64_t>(round) * 20);
        large.set(two);
      }};
      while (!begun) std::this_thread::yield();
    }
    writer.join();
    ASSERT_TRUE(kept->get().is(2)) << "round " << round;
  }
}

TEST_F(ParameterLife, BeginsBeforeTheRun) {
  Runtime runtime{config_of({})};
  runtime.start();
  EXPECT_NE(thrown_text<Error>([&] {
              const Parameter<int> late{runtime, 1};
            }).find("has started already"),
            std::string::npos);
}

TEST_F(ParameterLife, IsSetByACommander) {
  Runtime runtime{config_of({})};
  flow::graph graph;
  Parameter<int> number{runtime, 1};
  commander_node<Number> numbers{graph, runtime, "numbers", [number, last = CountTo{3}]() mutable {
                                   number.set(number.get() * 2);
                                   return last();
                                 }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, stream);
  for (const auto& item : stream) EXPECT_TRUE(item.ok());
  EXPECT_EQ(number.get(), 16);
}

}  // namespace
}  // namespace tandem::test
