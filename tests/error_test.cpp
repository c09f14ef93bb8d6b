// A body, a start or a commander that throws: the error comes in the message's place, and the stream goes on.
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

constexpr std::uint64_t kAll = 60;

// Expects kAll outcomes in order, errors at every multiple of seven from seven on, values elsewhere.
template <class Outcomes>
void expect_errors_at_sevens(const Outcomes& outcomes, const std::string& reason, int workers) {
  ASSERT_EQ(outcomes.size(), kAll);
  for (std::uint64_t next = 0; next < kAll; ++next) {
    const auto& outcome = outcomes[next];
    ASSERT_EQ(outcome.sequence, next);
    if (next % 7 != 0 || next == 0) {
      ASSERT_TRUE(outcome.value) << next;
      ASSERT_EQ(outcome.value->value, next);
      continue;
    }
    ASSERT_TRUE(outcome.failure) << next;
    EXPECT_EQ(outcome.failure->node, "work");
    EXPECT_EQ(outcome.failure->sequence, next);
    EXPECT_EQ(outcome.failure->attempt, 1);
    EXPECT_GE(outcome.failure->worker, 0);
    EXPECT_LT(outcome.failure->worker, workers);
    EXPECT_EQ(outcome.failure->reason, reason);
  }
}

bool is_bad(const Number& in) { return in.value % 7 == 0 && in.value != 0; }

class Errors : public PlacedTest {};

TEST_P(Errors, OfABodyComeInPlaceAndTheStreamGoesOn) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{kAll}, [](const Number& in) {
                      if (is_bad(in)) throw std::runtime_error("no such patch");
                      return in;
                    }};
  expect_errors_at_sevens(line.take_all(), "no such patch", GetParam().workers);
  line.runtime.stop();
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

TEST_P(Errors, OfABodyThatThrowsAnIntNameItsType) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{kAll}, [](const Number& in) {
                      if (is_bad(in)) throw 42;
                      return in;
                    }};
  expect_errors_at_sevens(line.take_all(), "threw int, which is no std::exception", GetParam().workers);
}

TEST_P(Errors, DerivedFromBadAllocSayWhatTheyHaveToSay) {
  struct PoolIsFull : std::bad_alloc {
    const char* what() const noexcept override { return "the pool of handles is full"; }
  };
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{kAll}, [](const Number& in) {
                      if (is_bad(in)) throw PoolIsFull{};
                      return in;
                    }};
  expect_errors_at_sevens(line.take_all(), "the pool of handles is full", GetParam().workers);
}

TEST_P(Errors, SayWhereTheyCameFromInOneLine) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{1}, [](const Number& in) -> Number {
                      throw std::runtime_error("no patch " + std::to_string(in.value));
                    }};
  try {
    line.stream.next();
    FAIL() << "nothing was thrown";
  } catch (const ProducerError& error) {
    EXPECT_EQ(std::string{error.what()},
              "node 'work', message 0, worker " + std::to_string(error.worker()) + ", attempt 1: no patch 0");
  }
}

TEST_P(Errors, OfManyLinesAndBytesAreOneLineOfBoundedLengthEverywhere) {
  const std::string text = "first\nsecond\t" + std::string(1000, 'x');
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{1},
                    [text](const Number&) -> Number { throw std::runtime_error(text); }};
  const auto outcomes = line.take_all();
  ASSERT_EQ(outcomes.size(), 1U);
  const std::string whole = "first second " + std::string(1000, 'x');
  EXPECT_EQ(outcomes[0].failure->reason, whole.substr(0, tandem::kReasonBytes - 3) + "...");
}

TEST_P(Errors, OfEmptyTextAreErrors) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{3}, [](const Number& in) {
                      if (in.value == 1) throw std::runtime_error("");
                      return in;
                    }};
  const auto outcomes = line.take_all();
  ASSERT_EQ(outcomes.size(), 3U);
  ASSERT_TRUE(outcomes[1].failure);
  EXPECT_EQ(outcomes[1].failure->reason, "");
}

TEST_P(Errors, InALoopLeaveItAndAnotherLoopGoesOn) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{20}, [](const Number& in) {
                      if (in.value == 5) throw std::runtime_error("five");
                      return in;
                    }};
  std::vector<std::uint64_t> values;
  const auto loop = [&] {
    for (const auto& item : line.stream) values.push_back(item->value);
  };
  EXPECT_THROW(loop(), ProducerError);
  EXPECT_EQ(values.size(), 5U);

  loop();

  EXPECT_EQ(values.size(), 19U);
  EXPECT_EQ(values.back(), 19U);
}

struct NeverStarts {
  void start() { throw std::runtime_error("no licence"); }
  Number operator()(const Number& in) { return in; }
};

TEST_P(Errors, OfEveryStartFailEachMessage) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{kAll}, NeverStarts{}};
  const auto outcomes = line.take_all();
  ASSERT_EQ(outcomes.size(), kAll);
  for (std::uint64_t next = 0; next < kAll; ++next) {
    ASSERT_EQ(outcomes[next].sequence, next);
    ASSERT_TRUE(outcomes[next].failure);
    ASSERT_EQ(outcomes[next].failure->sequence, next);
    ASSERT_EQ(outcomes[next].failure->node, "work");
    ASSERT_EQ(outcomes[next].failure->reason, "start: no licence");
  }
}

struct StartsButWorkerOne {
  void start(Context& context) {
    if (context.worker() == 1) throw std::runtime_error("no seat");
  }
  Number operator()(const Number& in) { return in; }
};

TEST_P(Errors, OfOneStartLeaveTheWorkToTheOthers) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{kAll}, StartsButWorkerOne{}};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item->value, next++);
    ASSERT_NE(item.worker(), 1);
  }
  EXPECT_EQ(next, kAll);
}

TEST_P(Errors, OfACommanderEndTheStreamInTheNextMessagesPlace) {
  auto fail_at_five = [next = std::uint64_t{0}]() mutable -> std::optional<Number> {
    if (next == 5) throw std::runtime_error("end of tape");
    return Number{next++};
  };
  Line<Number> line{placed(GetParam(), {"work"}), fail_at_five, [](const Number& in) { return in; }};
  const auto outcomes = line.take_all();
  ASSERT_EQ(outcomes.size(), 6U);
  EXPECT_EQ(outcomes[4].value->value, 4U);
  ASSERT_TRUE(outcomes[5].failure);
  EXPECT_EQ(outcomes[5].failure->node, "numbers");
  EXPECT_EQ(outcomes[5].failure->sequence, 5U);
  EXPECT_EQ(outcomes[5].failure->worker, -1);
  EXPECT_EQ(outcomes[5].failure->reason, "end of tape");
}

TEST_P(Errors, OfACommandersStartAreTheOnlyItem) {
  struct NoTape {
    void start() { throw std::runtime_error("no tape"); }
    std::optional<Number> operator()() { return Number{1}; }
  };
  Line<Number> line{placed(GetParam(), {"work"}), NoTape{}, [](const Number& in) { return in; }};
  const auto outcomes = line.take_all();
  ASSERT_EQ(outcomes.size(), 1U);
  ASSERT_TRUE(outcomes[0].failure);
  EXPECT_EQ(outcomes[0].failure->node, "numbers");
  EXPECT_EQ(outcomes[0].failure->reason, "start: no tape");
}

// numbers -> first (throws at 3) -> second (throws at 6) -> order -> stream
TEST_P(Errors, PassLaterProducersUntouched) {
  Runtime runtime{placed(GetParam(), {"first", "second"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{10}};
  producer_node<Number, Number> first{graph, runtime, "first", [](const Number& in) {
                                        if (in.value == 3) throw std::runtime_error("three");
                                        return in;
                                      }};
  producer_node<Number, Number> second{graph, runtime, "second", [](const Number& in) {
                                         if (in.value == 6 || in.value == 3)
                                           throw std::runtime_error("not by me");
                                         return in;
                                       }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  make_edge(numbers, first);
  make_edge(first, second);
  make_edge(second, order);
  make_edge(order, stream);

  std::vector<std::string> told;
  for (;;) {
    try {
      const auto item = stream.next();
      if (!item) break;
      told.push_back(std::to_string((*item)->value));
    } catch (const ProducerError& error) { told.push_back(error.node() + ": " + error.reason()); }
  }
  EXPECT_EQ(told, (std::vector<std::string>{"0", "1", "2", "first: three", "4", "5", "second: not by me", "7",
                                            "8", "9"}));
  runtime.stop();
  EXPECT_EQ(runtime.lent_blocks(), 0U);
}

TANDEM_FOR_ALL_PLACES_AND_SPAWNED(Errors);

}  // namespace
}  // namespace tandem::test
