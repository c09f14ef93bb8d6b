// A commander that waits for credits is not woken for each while its nodes have plenty to do: HUNGER. A wake-up that is lost costs a second,
// in which the commander looks by itself; so tests with many of them would run into their time limit.

#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <random>
#include <thread>
#include <tuple>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;

// Long enough for the workers to have plenty, and now and then not.
Number unevenly(const Number& number) {
  std::this_thread::sleep_for(std::chrono::microseconds{number.value / 50 % 2 == 0 ? 20 : 300});
  return number;
}

class Gathering : public TandemTest {};

class GatheringBesideUsers : public Gathering, public testing::WithParamInterface<std::size_t> {};

TEST_P(GatheringBesideUsers, AConsumerThatKeepsTheLast) {
  constexpr std::uint64_t kCount = 800;
  Line<Number> line{two_processes("16", {"work"}), CountTo{kCount}, unevenly};
  std::deque<Item<Number>> kept;
  std::uint64_t next = 0;
  for (auto& item : line.stream) {
    ASSERT_EQ(item->value, next++);
    kept.push_back(std::move(item));
    if (kept.size() > GetParam()) kept.pop_front();
  }
  EXPECT_EQ(next, kCount);
  kept.clear();
  expect_right_books(line.runtime);
}

// What it keeps is in the graph, so nobody can tell it from messages that are on their way.
TEST_P(GatheringBesideUsers, APlainNodeThatKeepsTheLast) {
  constexpr std::uint64_t kCount = 800;
  Runtime runtime{two_processes("16")};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kCount}};
  producer_node<Number, Number> maker{graph, runtime, "maker", unevenly};
  sequencer_node<Number> order{graph, runtime};
  using Window = flow::multifunction_node<Item<Number>, std::tuple<Item<Number>>>;
  std::deque<Item<Number>> kept;
  Window window{graph, flow::serial, [&](const Item<Number>& item, Window::output_ports_type& ports) {
                  kept.push_back(item);
                  const std::uint64_t value = item->value;
                  while (!kept.empty() && (kept.size() > GetParam() || value + 1 == kCount)) {
                    std::get<0>(ports).try_put(kept.front());
                    kept.pop_front();
                  }
                }};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, maker);
  flow::make_edge(maker, order);
  flow::make_edge(order, window);
  flow::make_edge(flow::output_port<0>(window), stream);
  std::uint64_t next = 0;
  for (const auto& item : stream) ASSERT_EQ(item->value, next++);
  EXPECT_EQ(next, kCount);
  expect_right_books(runtime);
}

// That the node has plenty to do says nothing, when it is of another's messages: the commander's must get their turn.
TEST_P(GatheringBesideUsers, ALoopThatKeepsTheSameWorkersBusy) {
  constexpr std::uint64_t kCount = 300;
  Runtime runtime{two_processes("16")};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kCount}};
  feeder_node<Number> pushed{graph, runtime, "pushed"};
  producer_node<Number, Number> maker{graph, runtime, "maker", unevenly};
  stream_node<Number> results{graph, runtime};
  flow::make_edge(numbers, maker);
  flow::make_edge(pushed, maker);
  flow::make_edge(maker, results);
  runtime.start();
  std::atomic<bool> over{false};
  std::jthread loop{[&] {
    while (!over.load()) {
      auto number = pushed.loan();
      number->value = kCount;
      pushed.push(std::move(number));
    }
    pushed.finish();
  }};
  std::deque<Item<Number>> kept;
  std::uint64_t commanded = 0;
  for (auto& item : results) {
    if (item->value == kCount) continue;
    if (++commanded == kCount) over.store(true);
    kept.push_back(std::move(item));
    if (kept.size() > GetParam()) kept.pop_front();
  }
  loop.join();
  EXPECT_EQ(commanded, kCount);
  kept.clear();
  expect_right_books(runtime);
}

INSTANTIATE_TEST_SUITE_P(Items, GatheringBesideUsers, testing::Values(0, 1, 11, 12, 14, 15));

// It gives three back while the node has plenty to do, for which nobody wakes the commander, and then keeps all that are left: when these
// are done, the commander must hear of it.
TEST_F(Gathering, AConsumerThatGivesFewBackAndNeedsOneMore) {
  constexpr int kRounds = 400;
  Line<Number> line{two_processes("16", {"work"}), CountForEver{}, [](const Number& number) {
                      std::this_thread::sleep_for(300us);
                      return number;
                    }};
  std::uint64_t next = 0;
  const auto take = [&] {
    auto item = line.stream.next();
    EXPECT_EQ((*item)->value, next++);
    return std::move(*item);
  };
  for (int round = 0; round < kRounds; ++round) {
    for (int taken = 0; taken < 3; ++taken) take();
    std::vector<Item<Number>> kept;
    for (int taken = 0; taken < 14; ++taken) kept.push_back(take());
  }
  expect_right_books(line.runtime);
}

// Its messages are given to the other one, but it still counts as having them.
TEST_F(Gathering, AWorkerThatIsStopped) {
  constexpr std::uint64_t kCount = 2000;
  Config config = placed({"process", 2}, {"work"},
                         {{"in_flight", "16"}, {"deterministic", "false"}, {"node.work.attempts", "100"}});
  Line<Number> line{config, CountTo{kCount}, [](const Number& number) {
                      std::this_thread::sleep_for(100us);
                      return number;
                    }};
  std::deque<Item<Number>> kept;
  std::uint64_t count = 0;
  pid_t stopped = 0;
  for (auto& item : line.stream) {
    if (++count == 200) {
      stopped = line.runtime.worker_pids().at(0);
      kill(stopped, SIGSTOP);
    }
    if (count == kCount - 20) {
      kept.clear();
      kill(stopped, SIGCONT);
    }
    if (count >= kCount - 20) continue;
    kept.push_back(std::move(item));
    if (kept.size() > 12) kept.pop_front();
  }
  EXPECT_EQ(count, kCount);
  expect_right_books(line.runtime);
}

// One of the two runs dry while the other has plenty.
TEST_F(Gathering, TwoNodesOfDifferentPace) {
  constexpr std::uint64_t kCount = 600;
  Runtime runtime{two_processes("16", {"quick", "slow"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kCount}};
  producer_node<Number, Number> quick{graph, runtime, "quick", [](const Number& number) { return number; }};
  producer_node<Number, Number> slow{graph, runtime, "slow", unevenly};
  stream_node<Number> quick_results{graph, runtime};
  stream_node<Number> slow_results{graph, runtime};
  flow::make_edge(numbers, quick);
  flow::make_edge(numbers, slow);
  flow::make_edge(quick, quick_results);
  flow::make_edge(slow, slow_results);
  std::uint64_t quick_count = 0;
  std::jthread other{[&] {
    for (const auto& item : quick_results) quick_count += item.ok() ? 1 : 0;
  }};
  std::uint64_t slow_count = 0;
  for (const auto& item : slow_results) slow_count += item.ok() ? 1 : 0;
  other.join();
  EXPECT_EQ(quick_count, kCount);
  EXPECT_EQ(slow_count, kCount);
  expect_right_books(runtime);
}

TEST_F(Gathering, WorkersThatAreKilled) {
  constexpr std::uint64_t kCount = 1500;
  auto random = random_generator();
  Line<Number> line{two_processes("16", {"work"}), CountTo{kCount}, unevenly};
  line.runtime.start();
  std::jthread killer{[&](const std::stop_token& stop) {
    for (int kills = 0; kills < 30 && !stop.stop_requested(); ++kills) {
      std::this_thread::sleep_for(3ms);
      const auto workers = line.runtime.worker_pids();
      if (!workers.empty()) kill(workers[random() % workers.size()], SIGKILL);
    }
  }};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) ASSERT_EQ(item->value, next++);
  killer.request_stop();
  killer.join();
  EXPECT_EQ(next, kCount);
  expect_right_books(line.runtime);
}

// All that waits fails at once, and what is still to come fails as it comes.
TEST_F(Gathering, WorkersThatAreAllLeftOut) {
  constexpr std::uint64_t kCount = 300;
  struct Body {
    std::atomic<int>* made;
    Number operator()(const Number& number) const {
      std::this_thread::sleep_for(300us);
      if (made->fetch_add(1) >= 40) raise(SIGKILL);
      return number;
    }
    void start(Context&) const {
      if (made->load() >= 40) throw std::runtime_error("no more");
    }
  };
  Shared<std::atomic<int>> made;
  Line<Number> line{placed({"process", 2}, {"work"}, {{"in_flight", "16"}, {"node.work.spares", "0"}}),
                    CountTo{kCount}, Body{made.get()}};
  const auto all = line.take_all();
  EXPECT_EQ(all.size(), kCount);
  expect_right_books(line.runtime);
}

}  // namespace
}  // namespace tandem::test
