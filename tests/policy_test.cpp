// What a stream does at the place of an item that carries an error: on_error and max_errors.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include <tandem/error_policy.hpp>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

using Told = std::vector<std::string>;

// Fails at every multiple, zero included.
auto fail_at(std::uint64_t multiple, const char* reason) {
  return [=](const Number& in) {
    if (in.value % multiple == 0) throw std::runtime_error(reason);
    return in;
  };
}
Number fail(const Number&) { throw std::runtime_error("no such patch"); }
Number same(const Number& in) { return in; }

// What next() gives until the end, in words.
Told all_of(stream_node<Number>& stream) {
  Told told;
  for (;;) {
    try {
      const auto item = stream.next();
      if (!item) return told;
      if (const Failure* const failure = item->error()) {
        told.push_back("item " + std::to_string(item->sequence()) + " of " + failure->node + ": " +
                       failure->reason);
      } else {
        told.push_back(std::to_string((*item)->value));
      }
    } catch (const ProducerError& error) {
      told.push_back("error " + std::to_string(error.sequence()) + " of " + error.node() + ": " +
                     error.reason());
    } catch (const TooManyErrors& error) {
      told.push_back("too many of " + error.node() + ": " + std::to_string(error.failed()) + ", at " +
                     std::to_string(error.failures().back().sequence));
    }
  }
}

Settings skipping(const std::string& max_errors, Settings more = {}) {
  more.emplace_back("node.work.on_error", "skip");
  more.emplace_back("node.work.max_errors", max_errors);
  return more;
}

std::size_t logged(const std::string& part) {
  const Told lines = log_lines();
  return static_cast<std::size_t>(std::count_if(lines.begin(), lines.end(), [&](const auto& line) {
    return line.find(part) != line.npos;
  }));
}

class Policy : public PlacedTest {};

TEST_P(Policy, SkipPassesItemsOverAndCountsThem) {
  Line<Number> line{placed(GetParam(), {"work"}, skipping("4")), CountTo{10}, fail_at(3, "three")};
  EXPECT_EQ(all_of(line.stream), (Told{"1", "2", "4", "5", "7", "8"}));
  EXPECT_EQ(line.stream.skipped(), 4U);
  EXPECT_TRUE(line.stream.ended());
  line.runtime.stop();
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
  EXPECT_EQ(line.runtime.live_messages(), 0U);
}

TEST_P(Policy, SkipLeavesALoopTheItemsThatAreThere) {
  Line<Number> line{placed(GetParam(), {"work"}, skipping("100")), CountTo{10}, fail_at(2, "even")};
  std::uint64_t next = 1;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item->value, next);
    next += 2;
  }
  EXPECT_EQ(next, 11U);
}

TEST_P(Policy, SkipGivesCreditsBackWhereTheConsumerCalls) {
  Line<Number> line{placed(GetParam(), {"work"}, skipping("1000", {{"in_flight", "2"}})), CountTo{200}, fail};
  EXPECT_FALSE(line.stream.next());
  EXPECT_EQ(line.stream.skipped(), 200U);
  EXPECT_TRUE(line.stream.ended());
}

TEST_P(Policy, DeliverHandsTheItemOut) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"node.work.on_error", "deliver"}}), CountTo{4},
                    fail_at(3, "three")};
  Told told;
  for (const auto& item : line.stream) {
    if (item.ok()) {
      EXPECT_EQ(item.error(), nullptr);
      told.push_back(std::to_string(item->value));
      continue;
    }
    ASSERT_NE(item.error(), nullptr);
    EXPECT_EQ(item.error()->node, "work");
    EXPECT_EQ(item.error()->sequence, item.sequence());
    EXPECT_GE(item.error()->worker, 0);
    EXPECT_EQ(item.error()->reason, "three");
    told.push_back(thrown_text<ProducerError>([&] { static_cast<void>(*item); }));
    EXPECT_EQ(told.back(), describe(*item.error()));
  }
  ASSERT_EQ(told.size(), 4U);
  EXPECT_EQ((Told{told[1], told[2]}), (Told{"1", "2"}));
  EXPECT_THAT(told[3], StartsWith("node 'work', message 3, worker "));
  EXPECT_EQ(line.stream.skipped(), 0U);
  EXPECT_EQ(log_lines(), Told{});
}

TEST_P(Policy, OneItemMoreThanMaxErrorsThrowsAtItsPlaceAndSoDoesEachLaterOne) {
  Line<Number> line{placed(GetParam(), {"work"}, skipping("2")), CountTo{14}, fail_at(3, "three")};
  EXPECT_EQ(all_of(line.stream),
            (Told{"1", "2", "4", "5", "too many of work: 3, at 6", "7", "8", "too many of work: 4, at 9", "10",
                  "11", "too many of work: 5, at 12", "13"}));
  EXPECT_EQ(line.stream.skipped(), 2U);
  line.runtime.stop();
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

TEST_P(Policy, NoBudgetThrowsAtTheFirstItem) {
  Line<Number> line{placed(GetParam(), {"work"}, skipping("0")), CountTo{3}, fail_at(2, "even")};
  EXPECT_EQ(all_of(line.stream), (Told{"too many of work: 1, at 0", "1", "too many of work: 2, at 2"}));
}

TEST_P(Policy, MaxErrorsWithoutSkipHasNoEffect) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"node.work.max_errors", "1"}}), CountTo{4},
                    fail_at(2, "even")};
  EXPECT_EQ(all_of(line.stream), (Told{"error 0 of work: even", "1", "error 2 of work: even", "3"}));
}

TEST_P(Policy, OfACommanderIsThatOfItsName) {
  const auto tape = [next = std::uint64_t{0}]() mutable -> std::optional<Number> {
    if (next == 2) throw std::runtime_error("end of tape");
    return Number{next++};
  };
  const auto told_with = [&](const Settings& settings) {
    Line<Number> line{placed(GetParam(), {"work"}, settings), tape, same};
    return all_of(line.stream);
  };
  EXPECT_EQ(told_with({{"node.work.on_error", "deliver"}}),
            (Told{"0", "1", "error 2 of numbers: end of tape"}));
  EXPECT_EQ(told_with({{"node.numbers.on_error", "skip"}, {"node.numbers.max_errors", "1"}}), (Told{"0", "1"}));
  EXPECT_EQ(told_with({{"node.numbers.on_error", "deliver"}}),
            (Told{"0", "1", "item 2 of numbers: end of tape"}));
}

TEST_P(Policy, SkippingTryNextLooksOnWhileItemsAreThere) {
  Line<Number> line{placed(GetParam(), {"work"}, skipping("100")), CountTo{8}, [](const Number& in) {
                      if (in.value != 5) throw std::runtime_error("not five");
                      return in;
                    }};
  line.runtime.start();
  line.graph.wait_for_all();  // all is in the stream now

  const auto item = line.stream.try_next();
  ASSERT_TRUE(item);
  EXPECT_EQ((*item)->value, 5U);
  EXPECT_EQ(line.stream.skipped(), 5U);
  EXPECT_FALSE(line.stream.ended()) << "two items are left, of which nobody knows yet that they are skipped";

  EXPECT_FALSE(line.stream.try_next());
  EXPECT_EQ(line.stream.skipped(), 7U);
  EXPECT_TRUE(line.stream.ended());
}

// numbers -> work == 1000 edges ==> pass -> stream: `pass` has 8 blocks, so that each item that is skipped brings the
// next one at once, from the consumer's own call.
TEST_P(Policy, SkippingStopsWhenTimeIsOverAlthoughItemsGoOnToCome) {
  constexpr std::uint64_t kEdges = 1000;
  constexpr std::uint64_t kThere = 8;
  Runtime runtime{placed(GetParam(), {"work", "pass"}, skipping("1000000000", {{"in_flight", "8"}}))};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{1}};
  producer_node<Number, Number> work{graph, runtime, "work", fail};
  producer_node<Number, Number> pass{graph, runtime, "pass", same};
  stream_node<Number> stream{graph, runtime};
  make_edge(numbers, work);
  for (std::uint64_t edge = 0; edge < kEdges; ++edge) make_edge(work, pass);
  make_edge(pass, stream);

  while (stream.skipped() == 0) EXPECT_FALSE(stream.try_next());
  const std::uint64_t first = stream.skipped();
  EXPECT_LE(first, kThere + 1);
  EXPECT_FALSE(stream.next_for(1ns));
  EXPECT_LE(stream.skipped(), first + 2 * (kThere + 1)) << "it may look once more than try_next()";
  EXPECT_FALSE(stream.ended());

  EXPECT_FALSE(stream.next());
  EXPECT_EQ(stream.skipped(), kEdges);
}

TEST_P(Policy, SkippingNextForWaitsForWhatComesInTime) {
  Shared<Gate> gate;
  Line<Number> line{placed(GetParam(), {"work"}, skipping("10")), CountTo{3},
                    [gate = gate.get()](const Number& in) {
                      if (in.value == 0) throw std::runtime_error("zero");
                      gate->wait();
                      return in;
                    }};
  EXPECT_FALSE(line.stream.next_for(20ms));
  gate->open();
  EXPECT_EQ((*line.stream.next_for(20s))->value, 1U);
  EXPECT_EQ((*line.stream.next_for(20s))->value, 2U);
  EXPECT_FALSE(line.stream.next_for(20s));
  EXPECT_EQ(line.stream.skipped(), 1U);
}

TEST_P(Policy, OfAStreamCountsForAllItsConsumers) {
  Line<Number> line{placed(GetParam(), {"work"}, skipping("50")), CountTo{600}, fail_at(3, "three")};
  std::vector<std::uint64_t> values(3);
  std::vector<std::vector<std::uint64_t>> failed(3);
  std::vector<std::thread> consumers;
  for (std::size_t mine = 0; mine < 3; ++mine) {
    consumers.emplace_back([&, mine] {
      for (;;) {
        try {
          if (!line.stream.next()) return;
          ++values[mine];
        } catch (const TooManyErrors& error) {
          // The item at whose place this is decides the count, whoever of the three takes it.
          if (error.failures().back().sequence == (error.failed() - 1) * 3)
            failed[mine].push_back(error.failed());
        }
      }
    });
  }
  for (std::thread& consumer : consumers) consumer.join();

  std::vector<std::uint64_t> all_failed;
  for (const auto& mine : failed) all_failed.insert(all_failed.end(), mine.begin(), mine.end());
  std::sort(all_failed.begin(), all_failed.end());
  std::vector<std::uint64_t> wanted;
  for (std::uint64_t count = 51; count <= 200; ++count) wanted.push_back(count);
  EXPECT_EQ(all_failed, wanted);
  EXPECT_EQ(values[0] + values[1] + values[2], 400U);
  EXPECT_EQ(line.stream.skipped(), 50U);
}

TEST_P(Policy, OfTwoStreamsCountsInEach) {
  Line<Number> line{placed(GetParam(), {"work"}, skipping("1")), CountTo{6}, fail_at(3, "three")};
  stream_node<Number> second{line.graph, line.runtime};
  make_edge(line.order, second);
  EXPECT_EQ(all_of(line.stream), (Told{"1", "2", "too many of work: 2, at 3", "4", "5"}));
  EXPECT_EQ(all_of(second), (Told{"1", "2", "too many of work: 2, at 3", "4", "5"}));
  EXPECT_EQ(line.stream.skipped(), 1U);
  EXPECT_EQ(second.skipped(), 1U);
}

TEST_P(Policy, LogsTheFirstSkipsOfANode) {
  Line<Number> line{placed(GetParam(), {"work"}, skipping("50")), CountTo{40}, fail_at(2, "even")};
  all_of(line.stream);
  EXPECT_EQ(logged("even; skipped"), 10U);
  EXPECT_EQ(logged("node 'work', message 18, "), 1U);
  EXPECT_EQ(logged("attempt 1: even; skipped, 10 of at most 50"), 1U);
  EXPECT_EQ(
      logged("node 'work': message 20 is skipped too; further skipped messages of this node are not logged"),
      1U);
  EXPECT_EQ(log_lines().size(), 11U);
}

constexpr std::uint64_t kAll = 60;

// What all_of() should give where `failing` tells the node and the reason, if any, of each message's failure. A
// policy of "" stands for one node of each: first: throw, second: skip, third: deliver.
template <class Failing>
Told wanted(const std::string& policy, Failing failing) {
  Told told;
  for (std::uint64_t next = 0; next < kAll; ++next) {
    const std::string node = failing(next);
    const std::string its = !policy.empty()    ? policy
                            : node == "first"  ? "throw"
                            : node == "second" ? "skip"
                                               : "deliver";
    if (node.empty())
      told.push_back(std::to_string(next));
    else if (its == "throw")
      told.push_back("error " + std::to_string(next) + " of " + node + ": by " + node);
    else if (its == "deliver")
      told.push_back("item " + std::to_string(next) + " of " + node + ": by " + node);
  }
  return told;
}

Settings with_policy(const std::string& policy, std::initializer_list<const char*> nodes) {
  Settings settings;
  const std::vector<std::string> each{"throw", "skip", "deliver"};
  std::size_t index = 0;
  for (const std::string node : nodes) {
    settings.emplace_back("node." + node + ".on_error", policy.empty() ? each[index++] : policy);
    settings.emplace_back("node." + node + ".max_errors", "1000");
  }
  return settings;
}

constexpr const char* kPolicies[] = {"throw", "skip", "deliver", ""};

// numbers -> first -> [look] -> second -> look too -> third -> order -> stream; each producer fails at multiples
TEST_P(Policy, IsThatOfTheNodeInWhichTheErrorAroseWhateverItPassed) {
  for (const std::string policy : kPolicies) {
    Runtime runtime{
        placed(GetParam(), {"first", "second", "third"}, with_policy(policy, {"first", "second", "third"}))};
    flow::graph graph;
    commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kAll}};
    producer_node<Number, Number> first{graph, runtime, "first", fail_at(7, "by first")};
    flow::function_node<Item<Number>, Item<Number>> look{graph, flow::unlimited,
                                                         [](const Item<Number>& item) { return item; }};
    producer_node<Number, Number> second{graph, runtime, "second", fail_at(5, "by second")};
    flow::queue_node<Item<Number>> queue{graph};
    producer_node<Number, Number> third{graph, runtime, "third", fail_at(3, "by third")};
    sequencer_node<Number> order{graph, runtime};
    stream_node<Number> stream{graph, runtime};
    make_edge(numbers, first);
    make_edge(first, look);
    make_edge(look, second);
    make_edge(second, queue);
    make_edge(queue, third);
    make_edge(third, order);
    make_edge(order, stream);

    EXPECT_EQ(all_of(stream), wanted(policy,
                                     [](std::uint64_t value) -> std::string {
                                       return value % 7 == 0   ? "first"
                                              : value % 5 == 0 ? "second"
                                              : value % 3 == 0 ? "third"
                                                               : "";
                                     }))
        << "on_error = " << policy;
    runtime.stop();
    EXPECT_EQ(runtime.lent_blocks(), 0U);
    graph.wait_for_all();
  }
}

// numbers -> first  -> join by sequence -> pair (the first error, or the second's item) -> order -> stream
//         -> second ->
TEST_P(Policy, HoldsForErrorsThatPassAJoin) {
  for (const std::string policy : kPolicies) {
    Runtime runtime{placed(GetParam(), {"first", "second"}, with_policy(policy, {"first", "second"}))};
    flow::graph graph;
    commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kAll}};
    producer_node<Number, Number> first{graph, runtime, "first", fail_at(7, "by first")};
    producer_node<Number, Number> second{graph, runtime, "second", fail_at(5, "by second")};
    const auto sequence = [](const Item<Number>& item) { return item.sequence(); };
    using Both = std::tuple<Item<Number>, Item<Number>>;
    flow::join_node<Both, flow::key_matching<std::uint64_t>> join{graph, sequence, sequence};
    flow::function_node<Both, Item<Number>> pair{
        graph, flow::unlimited,
        [](const Both& both) { return std::get<0>(both).ok() ? std::get<1>(both) : std::get<0>(both); }};
    sequencer_node<Number> order{graph, runtime};
    stream_node<Number> stream{graph, runtime};
    make_edge(numbers, first);
    make_edge(numbers, second);
    make_edge(first, flow::input_port<0>(join));
    make_edge(second, flow::input_port<1>(join));
    make_edge(join, pair);
    make_edge(pair, order);
    make_edge(order, stream);

    EXPECT_EQ(all_of(stream), wanted(policy,
                                     [](std::uint64_t value) -> std::string {
                                       return value % 7 == 0 ? "first" : value % 5 == 0 ? "second" : "";
                                     }))
        << "on_error = " << policy;
    graph.wait_for_all();
  }
}

TANDEM_FOR_ALL_PLACES_AND_SPAWNED(Policy);

class PolicyOfProcesses : public TandemTest {};

TEST_F(PolicyOfProcesses, SkipsMessagesThatTakeTheirWorkersDown) {
  Line<Number> line{placed({"process", 2}, {"work"}, skipping("2", {{"node.work.attempts", "1"}})), CountTo{10},
                    [](const Number& in) {
                      if (in.value % 4 == 0) _exit(3);
                      return in;
                    }};
  EXPECT_EQ(all_of(line.stream), (Told{"1", "2", "3", "5", "6", "7", "too many of work: 3, at 8", "9"}));
}

class StartWithPolicies : public TandemTest {};

TEST_F(StartWithPolicies, RefusesSkipWithoutMaxErrors) {
  Line<Number> line{config_of({{"node.work.on_error", "skip"}}), CountTo{1}, same};
  const std::string refusal =
      "node.work.on_error = \"skip\" (test): without a bound; write max_errors too, the number of items that "
      "may be "
      "skipped before that is an error, for instance max_errors = 100";
  EXPECT_EQ(thrown_text<ConfigError>([&] { line.runtime.start(); }), refusal);
  EXPECT_EQ(thrown_text<ConfigError>([&] { line.stream.next(); }), refusal);
}

TEST_F(StartWithPolicies, RefusesSkipWithoutMaxErrorsForACommander) {
  Line<Number> line{config_of({{"node.numbers.on_error", "skip"}}), CountTo{1}, same};
  EXPECT_THAT(thrown_text<ConfigError>([&] { line.runtime.start(); }), StartsWith("node.numbers.on_error = "));
}

// The classes behind it, alone.

static_assert(!std::is_base_of_v<ProducerError, TooManyErrors> && std::is_base_of_v<Error, TooManyErrors>);
static_assert(std::is_nothrow_copy_constructible_v<TooManyErrors>);

class Budget : public testing::Test {
 protected:
  explicit Budget(const std::string& max_errors = "0")
      : config_{config_of({{"node.reader.on_error", "skip"}, {"node.reader.max_errors", max_errors}})} {}

  static Failure failure(std::uint64_t sequence, std::string reason, int worker = 0) {
    return {"reader", sequence, worker, 1, std::move(reason)};
  }
  void set_max_errors(int max_errors) {
    config_.set("node.reader.max_errors", std::to_string(max_errors), "test");
  }
  void skip(std::uint64_t sequence, const std::string& reason) {
    ASSERT_TRUE(policy_.rule(failure(sequence, reason)).skip);
  }
  TooManyErrors thrown(const Failure& last) {
    try {
      static_cast<void>(policy_.rule(last));
    } catch (const TooManyErrors& error) { return error; }
    throw std::logic_error("nothing was thrown");
  }

  Config config_;
  ErrorPolicy policy_{config_};
};

TEST_F(Budget, ThatIsZeroNamesTheOneMessage) {
  EXPECT_STREQ(
      thrown(failure(4, "no such patch")).what(),
      "node 'reader': 1 message failed and max_errors = 0; message 4 (worker 0, attempt 1): no such patch; "
      "raise max_errors, or mend the cause");
}

TEST_F(Budget, ThatIsSpentTellsReasonsMessagesAndTheLast) {
  set_max_errors(2);
  skip(4, "no such patch");
  skip(9, "end of tape");
  const TooManyErrors error = thrown(failure(12, "killed", -1));
  EXPECT_STREQ(
      error.what(),
      "node 'reader': 3 messages failed and max_errors = 2; message 4 (worker 0, attempt 1): no such patch; "
      "message 9 (worker 0, attempt 1): end of tape; the last: message 12 (attempt 1): killed; raise "
      "max_errors, or mend the cause");
  EXPECT_EQ(error.node(), "reader");
  EXPECT_EQ(error.max_errors(), 2U);
  EXPECT_EQ(error.failed(), 3U);
  ASSERT_EQ(error.failures().size(), 3U);
  EXPECT_EQ(error.failures()[1].reason, "end of tape");
  EXPECT_EQ(error.failures().back().sequence, 12U);
}

TEST_F(Budget, ThatIsSpentPutsMessagesOfOneReasonTogether) {
  set_max_errors(6);
  for (const std::uint64_t sequence : {4, 9, 12, 13, 14}) skip(sequence, "no such patch");
  skip(20, "end of tape");
  EXPECT_STREQ(
      thrown(failure(21, "no such patch", 3)).what(),
      "node 'reader': 7 messages failed and max_errors = 6; no such patch: messages 4, 9, 12 and 3 more; "
      "message 20 (worker 0, attempt 1): end of tape; the last: message 21 (worker 3, attempt 1): no such "
      "patch; raise max_errors, or mend the cause");
}

TEST_F(Budget, ThatIsSpentOnManyLongReasonsHasATextOfBoundedLength) {
  set_max_errors(999);
  for (std::uint64_t next = 0; next < 999; ++next) skip(next, std::to_string(next) + std::string(400, 'x'));
  const TooManyErrors error = thrown(failure(999, std::string(400, 'y')));
  EXPECT_THAT(error.what(),
              HasSubstr("; 995 for other reasons; the last: message 999 (worker 0, attempt 1): yyy"));
  EXPECT_LT(std::string_view{error.what()}.size(), 2000U);
}

TEST_F(Budget, ThatIsSpentKeepsAHundredRecordsAndTheLast) {
  set_max_errors(100);
  for (std::uint64_t next = 0; next < 100; ++next) skip(next, "no such patch");
  const TooManyErrors first = thrown(failure(100, "no such patch"));
  ASSERT_EQ(first.failures().size(), 100U);
  EXPECT_EQ(first.failures()[98].sequence, 98U);
  EXPECT_EQ(first.failures()[99].sequence, 100U);

  const TooManyErrors second = thrown(failure(200, "no such patch"));
  EXPECT_EQ(second.failed(), 102U);
  ASSERT_EQ(second.failures().size(), 100U);
  EXPECT_EQ(second.failures()[99].sequence, 200U);
  EXPECT_EQ(first.failures()[99].sequence, 100U) << "an exception's own records must not change";
  EXPECT_EQ(policy_.skipped(), 100U);
}

TEST_F(Budget, OfANodeIsItsOwn) {
  config_.set("node.writer.on_error", "skip", "test");
  config_.set("node.writer.max_errors", "1", "test");
  Failure other = failure(1, "full");
  other.node = "writer";
  EXPECT_EQ(thrown(failure(0, "no such patch")).failed(), 1U);
  EXPECT_TRUE(policy_.rule(other).skip);
  EXPECT_EQ(thrown(failure(2, "no such patch")).failed(), 2U);
  EXPECT_THAT(thrown(other).what(), StartsWith("node 'writer': 2 messages failed and max_errors = 1"));
}

}  // namespace
}  // namespace tandem::test
