// Consumers that read the workers' replies themselves, because few come at a time: one item there and back, two streams at once
// with workers that are killed, the end of the run while one of them is at it, a message behind one that waits for it.
// labels: no_tsan
#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;
Number squared(const Number& number) { return {number.value * number.value}; }

class Helping : public TandemTest {};

TEST_F(Helping, OneItemAtATime) {
  Runtime runtime{two_processes("1")};
  flow::graph graph;
  feeder_node<Number> numbers{graph, runtime, "numbers"};
  producer_node<Number, Number> maker{graph, runtime, "maker", squared};
  stream_node<Number> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, results);
  for (std::uint64_t value = 0; value < 5000; ++value) {
    auto number = numbers.loan();
    number->value = value;
    numbers.push(std::move(number));
    const auto item = results.next();
    ASSERT_TRUE(item);
    ASSERT_EQ((*item)->value, value * value);
  }
  expect_right_books(runtime);
}

TEST_F(Helping, TwoStreamsWhoseWorkersAreKilled) {
  static constexpr std::uint64_t kCount = 4000;
  auto random = random_generator();
  Runtime runtime{two_processes("3", {"maker", "other"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kCount}};
  producer_node<Number, Number> maker{graph, runtime, "maker", squared};
  producer_node<Number, Number> other{graph, runtime, "other", squared};
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
    for (const auto& item : stream) {
      EXPECT_EQ(item->value, next * next);
      ++next;
    }
    EXPECT_EQ(next, kCount);
  };
  runtime.start();
  std::atomic<bool> over{false};
  std::thread killer{[&] {
    // Not for ever, and not before a worker can have done something: under AddressSanitizer its start takes long.
    for (int kills = 0; kills < 50 && !over; ++kills) {
      std::this_thread::sleep_for(std::chrono::milliseconds{5 + random() % 30});
      const std::vector<pid_t> pids = runtime.worker_pids();
      if (!pids.empty()) kill(pids[random() % pids.size()], SIGKILL);
    }
  }};
  std::thread second{[&] { consume(other_results); }};
  consume(results);
  second.join();
  over = true;
  killer.join();
  expect_right_books(runtime);
}

TEST_F(Helping, EndOfTheRunMeanwhile) {
  auto random = random_generator();
  for (int round = 0; round < 40; ++round) {
    Runtime runtime{two_processes("2")};
    flow::graph graph;
    commander_node<Number> numbers{graph, runtime, "numbers", CountTo{1'000'000'000}};
    stream_node<Number> results{graph, runtime};
    {
      producer_node<Number, Number> maker{graph, runtime, "maker", squared};  // goes before the stream does
      make_edge(numbers, maker);
      make_edge(maker, results);
      runtime.start();
      std::thread consumer{[&] {
        while (results.next()) {}
      }};
      std::this_thread::sleep_for(std::chrono::microseconds{random() % 3000});
      runtime.stop();
      consumer.join();
    }
    expect_right_books(runtime);
  }
}

// Each twentieth message waits until the one after it has been done. Where that was given to the same worker, it has to be taken back.
// No more than one waits at a time, so that the other worker is free.
TEST_F(Helping, MessageBehindOneThatWaitsForIt) {
  constexpr std::uint64_t kCount = 2000;
  Runtime runtime{two_processes("8")};
  flow::graph graph;
  void* const page = mmap(nullptr, sizeof(std::atomic<std::uint64_t>), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto& done_to = *new (page) std::atomic<std::uint64_t>{0};  // of all workers
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kCount}};
  producer_node<Number, Number> maker{graph, runtime, "maker", [&done_to](const Number& number) {
                                        while (number.value % 20 == 0 && done_to.load() <= number.value)
                                          std::this_thread::yield();
                                        if (number.value % 20 == 1) done_to.store(number.value);
                                        return number;
                                      }};
  sequencer_node<Number> order{graph,
                               runtime};  // so that none goes past one that waits, up to the next that would
  stream_node<Number> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, order);
  make_edge(order, results);
  std::uint64_t count = 0;
  for (const auto& item : results) {
    EXPECT_EQ(item->value, count);
    ++count;
  }
  munmap(page, sizeof done_to);
  EXPECT_EQ(count, kCount);
  expect_right_books(runtime);
}

}  // namespace
}  // namespace tandem::test
