// Tandem's nodes beside oneTBB's own: functions, limits, joins, broadcasts and filters in between.
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

struct Pair {
  std::uint64_t left, right;
};

Number plus_one(const Number& in) { return {in.value + 1}; }

// numbers -> [user's nodes] -> work -> order -> stream, or with the user's nodes behind work
class TbbNodes : public PlacedTest {
 protected:
  static constexpr std::uint64_t kAll = 1000;

  TbbNodes()
      : runtime_{placed(GetParam(), {"work"}, {{"in_flight", "40"}})},
        numbers_{graph_, runtime_, "numbers", CountTo{kAll}},
        work_{graph_, runtime_, "work", plus_one},
        order_{graph_, runtime_},
        stream_{graph_, runtime_} {}
  void TearDown() override {
    runtime_.stop();
    graph_.wait_for_all();
    // The nodes are members, which live on: only what the run itself holds must be gone.
    EXPECT_EQ(runtime_.live_messages(), 0U);
    EXPECT_EQ(runtime_.lent_blocks(), 0U);
  }

  void expect_all_in_order() {
    std::uint64_t next = 0;
    for (const auto& item : stream_) ASSERT_EQ(item->value, ++next);
    EXPECT_EQ(next, kAll);
  }

  Runtime runtime_;
  flow::graph graph_;
  commander_node<Number> numbers_;
  producer_node<Number, Number> work_;
  sequencer_node<Number> order_;
  stream_node<Number> stream_;
};

TEST_P(TbbNodes, AFunctionBetweenProducerAndSequencer) {
  std::atomic<std::uint64_t> calls{0};
  flow::function_node<Item<Number>, Item<Number>> look{graph_, flow::unlimited, [&](const Item<Number>& item) {
                                                         ++calls;
                                                         return item;
                                                       }};
  make_edge(numbers_, work_);
  make_edge(work_, look);
  make_edge(look, order_);
  make_edge(order_, stream_);

  expect_all_in_order();

  EXPECT_EQ(calls.load(), kAll);
  graph_.wait_for_all();
}

TEST_P(TbbNodes, AFunctionBetweenCommanderAndProducer) {
  flow::function_node<Item<Number>, Item<Number>> look{graph_, flow::unlimited,
                                                       [](const Item<Number>& item) { return item; }};
  make_edge(numbers_, look);
  make_edge(look, work_);
  make_edge(work_, order_);
  make_edge(order_, stream_);

  expect_all_in_order();
  graph_.wait_for_all();
}

TEST_P(TbbNodes, AFunctionThatRejectsLosesNothing) {
  flow::function_node<Item<Number>, Item<Number>, flow::rejecting> look{graph_, 1,
                                                                        [](const Item<Number>& item) {
                                                                          busy(500);
                                                                          return item;
                                                                        }};
  make_edge(numbers_, work_);
  make_edge(work_, look);
  make_edge(look, order_);
  make_edge(order_, stream_);

  expect_all_in_order();
  graph_.wait_for_all();
}

TEST_P(TbbNodes, ALimiterThatIsDecrementedLosesNothing) {
  flow::limiter_node<Item<Number>> limit{graph_, 3};
  using Done = flow::multifunction_node<Item<Number>, std::tuple<Item<Number>, flow::continue_msg>>;
  Done done{graph_, flow::serial, [](const Item<Number>& item, Done::output_ports_type& ports) {
              std::get<0>(ports).try_put(item);
              std::get<1>(ports).try_put(flow::continue_msg{});
            }};
  make_edge(numbers_, work_);
  make_edge(work_, limit);
  make_edge(limit, done);
  make_edge(flow::output_port<0>(done), order_);
  make_edge(flow::output_port<1>(done), limit.decrementer());
  make_edge(order_, stream_);

  expect_all_in_order();
  graph_.wait_for_all();
}

TEST_P(TbbNodes, ABroadcastToTwoStreams) {
  stream_node<Number> second{graph_, runtime_};
  make_edge(numbers_, work_);
  make_edge(work_, order_);
  make_edge(order_, stream_);
  make_edge(order_, second);

  for (std::uint64_t next = 1; next <= kAll; ++next) {
    ASSERT_EQ((*stream_.next())->value, next);
    ASSERT_EQ((*second.next())->value, next);
  }

  EXPECT_FALSE(stream_.next());
  EXPECT_FALSE(second.next());
}

TEST_P(TbbNodes, AFilterThatDropsItemsDoesNotStallTheOrder) {
  using Filter = flow::multifunction_node<Item<Number>, std::tuple<Item<Number>>>;
  Filter odd{graph_, flow::unlimited, [](const Item<Number>& item, Filter::output_ports_type& ports) {
               if (item->value % 2 == 1) std::get<0>(ports).try_put(item);
             }};
  make_edge(numbers_, work_);
  make_edge(work_, odd);
  make_edge(flow::output_port<0>(odd), order_);
  make_edge(order_, stream_);

  std::uint64_t next = 1;
  for (const auto& item : stream_) {
    ASSERT_EQ(item->value, next);
    next += 2;
  }
  EXPECT_EQ(next, kAll + 1);
  graph_.wait_for_all();
}

TEST_P(TbbNodes, AFilterThatDropsAllEndsTheStream) {
  using Filter = flow::multifunction_node<Item<Number>, std::tuple<Item<Number>>>;
  Filter none{graph_, flow::unlimited, [](const Item<Number>&, Filter::output_ports_type&) {}};
  make_edge(numbers_, work_);
  make_edge(work_, none);
  make_edge(flow::output_port<0>(none), order_);
  make_edge(order_, stream_);

  EXPECT_FALSE(stream_.next());
  graph_.wait_for_all();
}

TEST_P(TbbNodes, AFilterBeforeTheProducerDoesNotStallTheOrder) {
  using Filter = flow::multifunction_node<Item<Number>, std::tuple<Item<Number>>>;
  Filter third{graph_, flow::unlimited, [](const Item<Number>& item, Filter::output_ports_type& ports) {
                 if (item->value % 3 == 0) std::get<0>(ports).try_put(item);
               }};
  make_edge(numbers_, third);
  make_edge(flow::output_port<0>(third), work_);
  make_edge(work_, order_);
  make_edge(order_, stream_);

  std::uint64_t next = 0;
  for (const auto& item : stream_) {
    ASSERT_EQ(item->value, next + 1);
    next += 3;
  }
  EXPECT_EQ(next, (kAll + 2) / 3 * 3);
  graph_.wait_for_all();
}

// numbers -> work -> look (throws at 500) -> order -> stream
class ThrowingNode : public TbbNodes {
 protected:
  // Runs to the end of the stream; returns what next() or, when it polls, try_next() threw.
  std::string run(std::size_t limit, bool poll) {
    flow::function_node<Item<Number>, Item<Number>> look{graph_, limit,
                                                         [](const Item<Number>& item) -> Item<Number> {
                                                           if (item->value == 500)
                                                             throw std::runtime_error{"no colour"};
                                                           return item;
                                                         }};
    make_edge(numbers_, work_);
    make_edge(work_, look);
    make_edge(look, order_);
    make_edge(order_, stream_);
    const std::string text = thrown_text<Error>([&] {
      for (;;) {
        if (!(poll ? stream_.try_next() : stream_.next()) && (!poll || stream_.ended())) return;
      }
    });
    runtime_.stop();
    EXPECT_EQ(thrown_text<std::runtime_error>([&] { graph_.wait_for_all(); }), "no colour");
    return text;
  }
};

TEST_P(ThrowingNode, OneAtATimeEndsTheStreamWithAnError) {
  EXPECT_THAT(run(flow::serial, false), testing::HasSubstr("the graph was cancelled"));
}
TEST_P(ThrowingNode, InParallelEndsTheStreamWithAnError) {
  EXPECT_THAT(run(flow::unlimited, false), testing::HasSubstr("the graph was cancelled"));
}
// numbers -> look (throws at 500), and nothing that anybody takes items from
template <class Commander>
void expect_wait_for_all_to_throw(const Config& config, Commander commander, std::size_t limit) {
  Runtime runtime{config};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", std::move(commander)};
  producer_node<Number, Number> work{graph, runtime, "work", plus_one};
  flow::function_node<Item<Number>, flow::continue_msg> look{graph, limit, [](const Item<Number>& item) {
                                                               if (item->value == 500)
                                                                 throw std::runtime_error{"no colour"};
                                                               return flow::continue_msg{};
                                                             }};
  make_edge(numbers, work);
  make_edge(work, look);
  numbers.activate();
  EXPECT_EQ(thrown_text<std::runtime_error>([&] { graph.wait_for_all(); }), "no colour");
}
TEST_P(ThrowingNode, IsSeenByOneWhoWaitsForAll) {
  const Config config = placed(GetParam(), {"work"}, {{"in_flight", "40"}});
  for (const std::size_t limit : {std::size_t{flow::serial}, std::size_t{flow::unlimited}}) {
    expect_wait_for_all_to_throw(config, CountTo{505}, limit);
    expect_wait_for_all_to_throw(config, CountForEver{}, limit);
  }
}

TEST_P(ThrowingNode, EndsTheStreamOfOneThatPollsWithAnError) {
  EXPECT_THAT(run(flow::serial, true), testing::HasSubstr("the graph was cancelled"));
}

TEST_P(TbbNodes, ANodeOfTheUsersAsTheOnlyEnd) {
  std::atomic<std::uint64_t> sum{0};
  flow::function_node<Item<Number>, flow::continue_msg> add{graph_, flow::unlimited,
                                                            [&](const Item<Number>& item) {
                                                              sum += item->value;
                                                              return flow::continue_msg{};
                                                            }};
  make_edge(numbers_, work_);
  make_edge(work_, order_);
  make_edge(order_, add);

  numbers_.activate();
  graph_.wait_for_all();

  EXPECT_EQ(sum.load(), kAll * (kAll + 1) / 2);
}

TEST_P(TbbNodes, AnEdgeIntoANodeThatWaitsToPullMayBeRemoved) {
  flow::limiter_node<Item<Number>> limiter{graph_, 1};
  std::atomic<int> through{0};
  flow::function_node<Item<Number>, flow::continue_msg> count{graph_, flow::unlimited,
                                                              [&](const Item<Number>&) {
                                                                ++through;
                                                                return flow::continue_msg{};
                                                              }};
  make_edge(numbers_, work_);
  make_edge(work_, order_);
  make_edge(order_, limiter);
  make_edge(limiter, count);
  numbers_.activate();
  while (through < 1 || runtime_.live_messages() < 40) std::this_thread::yield();
  runtime_.stop();  // an edge may be removed while nothing flows

  remove_edge(order_, limiter);
  limiter.decrementer().try_put(flow::continue_msg{});
  graph_.wait_for_all();

  EXPECT_EQ(through.load(), 1);
}

TEST_P(TbbNodes, AnEdgeThatWasRemovedCarriesNothing) {
  stream_node<Number> second{graph_, runtime_};
  make_edge(numbers_, work_);
  make_edge(work_, order_);
  make_edge(order_, second);
  make_edge(order_, stream_);
  remove_edge(order_, second);

  expect_all_in_order();

  EXPECT_FALSE(second.next());
}

TANDEM_FOR_ALL_PLACES(TbbNodes);
TANDEM_FOR_ALL_PLACES(ThrowingNode);

// On one processor oneTBB has no thread to spare, and each graph that is made in a thread which did not use
// oneTBB before has an arena of its own. Returns what is wrong with it, 0 when nothing is.
int on_one_processor(const Place& place) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 2;
  int processor = 0;
  while (!CPU_ISSET(processor, &allowed)) ++processor;
  CPU_ZERO(&allowed);
  CPU_SET(processor, &allowed);
  if (sched_setaffinity(0, sizeof allowed, &allowed) != 0) return 3;

  flow::graph graph;
  Runtime runtime{placed(place, {"work"}, {{"in_flight", "40"}})};
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{1000}};
  flow::function_node<Item<Number>, Item<Number>> before{graph, flow::serial,
                                                         [](const Item<Number>& item) { return item; }};
  producer_node<Number, Number> work{graph, runtime, "work", plus_one};
  flow::function_node<Item<Number>, Item<Number>> after{graph, flow::unlimited,
                                                        [](const Item<Number>& item) { return item; }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  make_edge(numbers, before);
  make_edge(before, work);
  make_edge(work, after);
  make_edge(after, order);
  make_edge(order, stream);
  std::uint64_t next = 0;
  for (const auto& item : stream) {
    if (item->value != ++next) return 4;
  }
  return next == 1000 ? 0 : 5;
}
HOST_PROGRAM(one_processor_threads) { return on_one_processor({"thread", 1}); }
HOST_PROGRAM(one_processor_processes) { return on_one_processor({"process", 2}); }

// The functions that a join or a sequencer of oneTBB's is given run while an item is put into it.
HOST_PROGRAM(key_that_throws) {
  Runtime runtime{config_of({})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{1000}};
  flow::sequencer_node<Item<Number>> order{graph, [](const Item<Number>& item) -> std::size_t {
                                             if (item->value == 500) throw std::runtime_error{"no key"};
                                             return item->value;
                                           }};
  stream_node<Number> stream{graph, runtime};
  make_edge(numbers, order);
  make_edge(order, stream);
  while (stream.next()) {}
  return 0;
}

int status_of(const char* program) {
  const pid_t host = start_host_program(program, STDOUT_FILENO);
  int status = 0;
  waitpid(host, &status, 0);
  return status;
}

class KeyFunction : public TandemTest {};
TEST_F(KeyFunction, ThatThrowsEndsTheProgramAtOnce) {
  const int status = status_of("key_that_throws");
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGABRT);
}

class OneProcessor : public TandemTest {};
TEST_F(OneProcessor, IsEnoughForNodesOfTheUsersBesideThreads) {
  EXPECT_EQ(status_of("one_processor_threads"), 0);
}
TEST_F(OneProcessor, IsEnoughForNodesOfTheUsersBesideProcesses) {
  EXPECT_EQ(status_of("one_processor_processes"), 0);
}

// numbers -> left  -> join by sequence -> pair (user's) -> sum
//         -> right ->
class TbbJoin : public PlacedTest {};

TEST_P(TbbJoin, BySequenceBringsTheTwoPathsOfAMessageTogether) {
  Runtime runtime{placed(GetParam(), {"left", "right"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{1000}};
  producer_node<Number, Number> left{graph, runtime, "left", [](const Number& in, Context& context) {
                                       busy(context.random()() % 3000);
                                       return in;
                                     }};
  producer_node<Number, Number> right{graph, runtime, "right", plus_one};
  const auto sequence = [](const Item<Number>& item) { return item.sequence(); };
  flow::join_node<std::tuple<Item<Number>, Item<Number>>, flow::key_matching<std::uint64_t>> join{
      graph, sequence, sequence};
  std::atomic<std::uint64_t> pairs{0};
  std::atomic<std::uint64_t> wrong{0};
  flow::function_node<std::tuple<Item<Number>, Item<Number>>, Item<Number>> pair{
      graph, flow::unlimited, [&](const std::tuple<Item<Number>, Item<Number>>& both) {
        const auto& [one, other] = both;
        ++pairs;
        if (one->value + 1 != other->value || one.sequence() != other.sequence()) ++wrong;
        return other;
      }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  make_edge(numbers, left);
  make_edge(numbers, right);
  make_edge(left, flow::input_port<0>(join));
  make_edge(right, flow::input_port<1>(join));
  make_edge(join, pair);
  make_edge(pair, order);
  make_edge(order, stream);

  std::uint64_t next = 0;
  for (const auto& item : stream) ASSERT_EQ(item->value, ++next);

  EXPECT_EQ(pairs.load(), 1000U);
  EXPECT_EQ(wrong.load(), 0U);
  EXPECT_EQ(next, 1000U);
  graph.wait_for_all();
}

TANDEM_FOR_ALL_PLACES(TbbJoin);

}  // namespace
}  // namespace tandem::test
