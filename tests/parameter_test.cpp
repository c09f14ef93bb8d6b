// A value that the host changes while bodies read it.
#include <atomic>
#include <cstdint>
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

TEST_F(ParameterLife, BeginsBeforeTheRun) {
  Runtime runtime{config_of({})};
  runtime.start();
  EXPECT_NE(thrown_text<Error>([&] {
              const Parameter<int> late{runtime, 1};
            }).find("has started already"),
            std::string::npos);
}

TEST_F(ParameterLife, IsReadOnlyInAWorker) {
  Runtime runtime{placed({"process", 1}, {"work"})};
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
}

}  // namespace
}  // namespace tandem::test
