// Rounds of a commander: one run, the same workers, and a stream that tells the end of each.
#include <atomic>
#include <cstdint>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>

#include "support/line.hpp"
#include "support/shared.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// `rounds` rounds of `each` messages, numbered from 0 in each.
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

struct Twice {
  Number operator()(const Number& in) const { return {in.value * 2}; }
};

void expect_rounds(stream_node<Number>& stream, std::uint64_t rounds, std::uint64_t each, bool ordered) {
  for (std::uint64_t round = 0; round < rounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    std::set<std::uint64_t> seen;
    for (const auto& item : stream) {
      EXPECT_EQ(item.epoch(), round);
      EXPECT_EQ(item->value, 2 * item.index());
      EXPECT_EQ(item.message<Number>().value, item.index());
      EXPECT_TRUE(!ordered || item.index() == seen.size()) << item.index();
      seen.insert(item.index());
    }
    EXPECT_EQ(seen.size(), each);
    EXPECT_EQ(stream.epoch(), round + 1);
  }
  EXPECT_FALSE(stream.next());
  EXPECT_TRUE(stream.ended());
}

class Epochs : public PlacedTest {};
TANDEM_FOR_ALL_PLACES_AND_SPAWNED(Epochs);

TEST_P(Epochs, EndOneByOneInOneRun) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"in_flight", "5"}}), Rounds{6, 20}, Twice{}};
  expect_rounds(line.stream, 6, 20, true);
}

TEST_P(Epochs, MayBeEmpty) {
  Line<Number> line{placed(GetParam(), {"work"}), Rounds{4, 0}, Twice{}};
  expect_rounds(line.stream, 4, 0, true);
}

TEST_P(Epochs, OfAnUnorderedRunDoNotMix) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"deterministic", "false"}, {"in_flight", "8"}}),
                    Rounds{6, 20}, Twice{}};
  expect_rounds(line.stream, 6, 20, false);
}

TEST_P(Epochs, KeepTheWorkersAndTheirState) {
  struct Counts {
    std::uint64_t messages = 0;
    Number operator()(const Number&) { return {++messages}; }
  };
  Line<Number> line{placed(GetParam(), {"work"}), Rounds{3, 100}, Counts{}};
  std::uint64_t most = 0;
  for (int round = 0; round < 3; ++round) {
    for (const auto& item : line.stream) most = std::max(most, item->value);
  }
  // 300 messages by as many bodies as there are workers.
  EXPECT_GE(most * static_cast<std::uint64_t>(GetParam().workers), 300U);
}

TEST_P(Epochs, ADeadWorkerDoesNotEndARound) {
  if (!GetParam().is_process()) GTEST_SKIP() << "a thread cannot be killed";
  struct Dies {
    Number operator()(const Number& in, Context& context) const {
      if (in.value == 7 && context.attempt() == 1) _exit(1);
      return {in.value * 2};
    }
  };
  Line<Number> line{placed(GetParam(), {"work"}), Rounds{5, 20}, Dies{}};
  expect_rounds(line.stream, 5, 20, true);
}

class EpochEnds : public TandemTest {};

// The consumer decides at the end of a round what the next one is, which works only if it hears of that end first.
TEST_F(EpochEnds, AreHeardOfBeforeTheNextRoundBegins) {
  struct Asks {
    std::atomic<std::uint64_t>* answer;
    std::uint64_t next = 0;
    bool begin_epoch(std::uint64_t epoch, Context& context) {
      for (std::uint64_t now = *answer; now < epoch && !context.stopping(); now = *answer) answer->wait(now);
      next = 0;
      return epoch < 5;
    }
    std::optional<Number> operator()() {
      if (next == 10) return std::nullopt;
      return Number{next++};
    }
  };
  std::atomic<std::uint64_t> answer{0};
  Line<Number> line{placed({"process", 2}, {"work"}), Asks{&answer}, Twice{}};
  for (std::uint64_t round = 0; round < 5; ++round) {
    std::uint64_t count = 0;
    for (const auto& item : line.stream) count += item.ok() ? 1 : 0;
    EXPECT_EQ(count, 10U);
    ++answer;
    answer.notify_all();
  }
  EXPECT_FALSE(line.stream.next());
}

TEST_F(EpochEnds, OverlapWithTheNextRoundsBeginning) {
  struct Tells {
    Gate* second;
    std::uint64_t next = 0;
    bool begin_epoch(std::uint64_t epoch) {
      if (epoch == 1) second->open();
      next = 0;
      return epoch < 2;
    }
    std::optional<Number> operator()() {
      if (next == 10) return std::nullopt;
      return Number{next++};
    }
  };
  Gate second;
  Line<Number> line{config_of({}), Tells{&second}, Twice{}};
  const auto first = line.stream.next();  // held: the first round is not over for the consumer
  ASSERT_TRUE(first);
  EXPECT_TRUE(second.wait()) << "the next round has begun all the same";
}

TEST_F(EpochEnds, AreToldByTheNextItemWhenAPlainNodeDropsTheMark) {
  Runtime runtime{config_of({})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", Rounds{3, 10}};
  using Pass = flow::multifunction_node<Item<Number>, std::tuple<Item<Number>>>;
  Pass pass{graph, flow::serial, [](const Item<Number>& item, Pass::output_ports_type& ports) {
              if (item.ok()) std::get<0>(ports).try_put(item);
            }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, pass);
  flow::make_edge(flow::output_port<0>(pass), stream);
  for (int round = 0; round < 3; ++round) {
    std::uint64_t count = 0;
    for (const auto& item : stream) count += item.ok() ? 1 : 0;
    EXPECT_EQ(count, 10U);
  }
  EXPECT_FALSE(stream.next());
}

TEST_F(EpochEnds, AnErrorInBeginEpochIsThrownInItsPlace) {
  struct Throws : Rounds {
    bool begin_epoch(std::uint64_t epoch) {
      if (epoch == 1) throw std::runtime_error("no second list of files");
      return Rounds::begin_epoch(epoch);
    }
  };
  Line<Number> line{config_of({}), Throws{{2, 3}}, Twice{}};
  std::uint64_t count = 0;
  for (const auto& item : line.stream) count += item.ok() ? 1 : 0;
  EXPECT_EQ(count, 3U);
  EXPECT_THAT(thrown_text<ProducerError>([&] { line.stream.next(); }),
              HasSubstr("begin_epoch: no second list of files"));
  EXPECT_FALSE(line.stream.next());
}

TEST_F(EpochEnds, AnErrorInBeginEpochIsTheFirstItemOfItsRound) {
  struct Throws : Rounds {
    bool begin_epoch(std::uint64_t epoch) {
      if (epoch == 1) throw std::runtime_error("no second list of files");
      return Rounds::begin_epoch(epoch);
    }
  };
  Line<Number> line{config_of({{"node.numbers.on_error", "deliver"}}), Throws{{2, 3}}, Twice{}};
  for (const auto& item : line.stream) EXPECT_TRUE(item.ok());
  const auto item = line.stream.next();
  ASSERT_TRUE(item);
  EXPECT_FALSE(item->ok());
  EXPECT_EQ(item->epoch(), 1U);
  EXPECT_EQ(item->index(), 0U);
}

// Its error item needs a credit, and none comes back from a graph that was cancelled.
TEST_F(EpochEnds, AnErrorInBeginEpochDoesNotHoldUpTheEndOfACancelledGraph) {
  struct Throws : Rounds {
    Gate* cancelled;
    bool begin_epoch(std::uint64_t epoch) {
      if (epoch == 1) {
        cancelled->wait();
        throw std::runtime_error("no second list of files");
      }
      return true;
    }
  };
  Gate cancelled;
  std::vector<Item<Number>> kept;
  {
    Runtime runtime{config_of({{"in_flight", "3"}})};
    flow::graph graph;
    commander_node<Number> numbers{graph, runtime, "numbers", Throws{{2, 2}, &cancelled}};
    sequencer_node<Number> order{graph, runtime};  // else the mark waits for the round's items
    flow::function_node<Item<Number>> bad{graph, flow::serial, [&](const Item<Number>& item) {
                                            kept.push_back(item);
                                            if (item.ends_epoch()) graph.cancel();
                                            if (item.ends_epoch()) cancelled.open();
                                          }};
    flow::make_edge(numbers, order);
    flow::make_edge(order, bad);
    numbers.activate();
    graph.wait_for_all();
    kept.clear();
  }
}

TEST_F(EpochEnds, ThatWaitForAPlainNodeInAnUnorderedRunAreTold) {
  std::vector<Item<Number>> kept;
  {
    Runtime runtime{config_of({{"deterministic", "false"}, {"hold_timeout", "100 ms"}})};
    flow::graph graph;
    commander_node<Number> numbers{graph, runtime, "numbers", Rounds{2, 5}};
    flow::function_node<Item<Number>> keep{graph, flow::serial,
                                           [&kept](const Item<Number>& item) { kept.push_back(item); }};
    flow::make_edge(numbers, keep);
    numbers.activate();
    EXPECT_THAT(wait_log_line("the end of round 0"),
                AllOf(HasSubstr("commander 'numbers': the end of round 0 waits for 5 of its items"),
                      HasSubstr("put a sequencer_node before it")));
    runtime.stop();
    graph.wait_for_all();
    kept.clear();
  }
}

TEST_F(EpochEnds, TheMessageIsAskedForByItsType) {
  Line<Number> line{config_of({}), CountTo{1}, Twice{}};
  const auto item = line.stream.next();
  EXPECT_EQ(item->message<Number>().value, 0U);
  EXPECT_THAT(thrown_text<TypeError>([&] { std::ignore = item->message<int>(); }),
              AllOf(HasSubstr("Number"), HasSubstr("asked for int")));
  EXPECT_EQ(thrown_text<Error>([] { std::ignore = Item<Number>{}.message<int>(); }),
            "this Item was not made from a commander's message");
}

}  // namespace
}  // namespace tandem::test
