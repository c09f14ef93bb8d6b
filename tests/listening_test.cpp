// Consumers that sleep in the pump's place, where workers ring: all items come, each to one of those who wait, whoever brings it,
// and time-outs and the end of the run wake them.
// labels: no_tsan
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;

// Long enough for who waits to be asleep, now and then.
Number slowly(const Number& number) {
  std::this_thread::sleep_for(std::chrono::microseconds{number.value % 7 * 100});
  return {number.value * 2};
}

class Listening : public TandemTest {};

TEST_F(Listening, OneItemAtATimeAfterPauses) {
  Runtime runtime{two_processes("1")};
  flow::graph graph;
  feeder_node<Number> numbers{graph, runtime, "numbers"};
  producer_node<Number, Number> maker{graph, runtime, "maker", slowly};
  stream_node<Number> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, results);
  for (std::uint64_t value = 0; value < 500; ++value) {
    auto number = numbers.loan();
    number->value = value;
    numbers.push(std::move(number));
    const auto item = results.next();
    ASSERT_TRUE(item);
    ASSERT_EQ((*item)->value, value * 2);
    std::this_thread::sleep_for(std::chrono::microseconds{value % 5 * 300});
  }
  expect_right_books(runtime);
}

TEST_F(Listening, SeveralConsumersOfOneStreamWithWorkersThatAreKilled) {
  static constexpr std::uint64_t kCount = 2000;
  auto random = random_generator();
  Runtime runtime{two_processes("6")};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kCount}};
  producer_node<Number, Number> maker{graph, runtime, "maker", slowly};
  stream_node<Number> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, results);
  std::vector<std::atomic<int>> came(kCount);
  runtime.start();
  std::vector<std::jthread> consumers;
  for (int consumer = 0; consumer < 3; ++consumer) {
    consumers.emplace_back([&] {
      while (const auto item = results.next()) ++came[item->sequence()];
    });
  }
  for (int kills = 0; kills < 20; ++kills) {
    std::this_thread::sleep_for(std::chrono::milliseconds{5 + random() % 30});
    const std::vector<pid_t> pids = runtime.worker_pids();
    if (!pids.empty()) kill(pids[random() % pids.size()], SIGKILL);
  }
  consumers.clear();
  for (const auto& times : came) ASSERT_EQ(times, 1);
  expect_right_books(runtime);
}

// Only one of the two can listen; what it reads may be the other's.
TEST_F(Listening, TwoStreamsOfDifferentPace) {
  static constexpr std::uint64_t kCount = 1000;
  Runtime runtime{two_processes("2", {"maker", "other"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kCount}};
  producer_node<Number, Number> maker{graph, runtime, "maker", slowly};
  producer_node<Number, Number> other{graph, runtime, "other",
                                      [](const Number& number) { return Number{number.value * 2}; }};
  sequencer_node<Number> order{graph, runtime};
  sequencer_node<Number> other_order{graph, runtime};
  stream_node<Number> results{graph, runtime};
  stream_node<Number> other_results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(numbers, other);
  make_edge(maker, order);
  make_edge(other, other_order);
  make_edge(order, results);
  make_edge(other_order, other_results);
  const auto consume = [](stream_node<Number>& stream) {
    std::uint64_t next = 0;
    while (const auto item = stream.next()) EXPECT_EQ((*item)->value, 2 * next++);
    EXPECT_EQ(next, kCount);
  };
  runtime.start();
  std::jthread second{[&] { consume(other_results); }};
  consume(results);
  second.join();
  expect_right_books(runtime);
}

// The items of threads come without a worker that rings.
TEST_F(Listening, ItemsOfThreadsInTheSameStream) {
  static constexpr std::uint64_t kCount = 1000;
  Runtime runtime{two_processes("2")};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kCount}};
  commander_node<Number> more_numbers{graph, runtime, "more", CountTo{kCount}};
  producer_node<Number, Number> maker{graph, runtime, "maker", slowly};
  producer_node<Number, Number> other{graph, runtime, "other", slowly};
  stream_node<Number> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(more_numbers, other);
  make_edge(maker, results);
  make_edge(other, results);
  std::uint64_t count = 0;
  std::uint64_t sum = 0;
  while (const auto item = results.next()) {
    ++count;
    sum += (*item)->value;
  }
  EXPECT_EQ(count, 2 * kCount);
  EXPECT_EQ(sum, 2 * kCount * (kCount - 1));
  expect_right_books(runtime);
}

TEST_F(Listening, ATimeOutComesInTimeAndTheItemAfterIt) {
  Runtime runtime{two_processes("1")};
  flow::graph graph;
  feeder_node<Number> numbers{graph, runtime, "numbers"};
  producer_node<Number, Number> maker{graph, runtime, "maker", [](const Number& number) {
                                        std::this_thread::sleep_for(20ms);
                                        return number;
                                      }};
  stream_node<Number> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, results);
  for (std::uint64_t value = 0; value < 20; ++value) {
    auto number = numbers.loan();
    number->value = value;
    numbers.push(std::move(number));
    std::optional<Item<Number>> item;
    int looks = 0;
    while (!item && looks < 100'000) {
      item = results.next_for(1ms);
      ++looks;
    }
    ASSERT_TRUE(item);
    EXPECT_EQ((*item)->value, value);
    EXPECT_GT(looks, 1);
  }
  expect_right_books(runtime);
}

TEST_F(Listening, TheEndOfTheRunWakesWhoSleeps) {
  auto random = random_generator();
  for (int round = 0; round < 30; ++round) {
    Runtime runtime{two_processes("2")};
    flow::graph graph;
    feeder_node<Number> numbers{graph, runtime, "numbers"};
    producer_node<Number, Number> maker{graph, runtime, "maker", slowly};
    stream_node<Number> results{graph, runtime};
    make_edge(numbers, maker);
    make_edge(maker, results);
    runtime.start();
    std::jthread consumer{[&] {
      while (results.next()) {}
    }};
    std::jthread other_consumer{[&] {
      while (results.next()) {}
    }};
    for (std::uint64_t value = 0; value < random() % 4; ++value) {
      auto number = numbers.loan();
      number->value = value;
      numbers.push(std::move(number));
    }
    std::this_thread::sleep_for(std::chrono::microseconds{random() % 5000});
    if (round % 2 == 0) {
      runtime.stop();
    } else {
      numbers.finish();
    }
    consumer.join();
    other_consumer.join();
    expect_right_books(runtime);
  }
}

// Each thirtieth message waits until the one after it has been done. While somebody listens, the pump must still come to take that back
// from the same worker.
TEST_F(Listening, AMessageBehindOneThatWaitsForIt) {
  constexpr std::uint64_t kCount = 600;
  Shared<std::atomic<std::uint64_t>> done_to;
  Runtime runtime{two_processes("6")};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kCount}};
  producer_node<Number, Number> maker{graph, runtime, "maker", [done_to = done_to.get()](const Number& number) {
                                        std::this_thread::sleep_for(200us);
                                        while (number.value % 30 == 0 && done_to->load() <= number.value)
                                          std::this_thread::sleep_for(100us);
                                        if (number.value % 30 == 1) done_to->store(number.value);
                                        return number;
                                      }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, order);
  make_edge(order, results);
  std::uint64_t count = 0;
  for (const auto& item : results) EXPECT_EQ(item->value, count++);
  EXPECT_EQ(count, kCount);
  expect_right_books(runtime);
}

}  // namespace
}  // namespace tandem::test
