// A loop that pushes regularly leaves its steps to a pump that comes by itself: they all come out, whoever waits for them or
// does not, with pauses, with killed workers, and at the end of the run.
// labels: no_tsan
#include <signal.h>

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

/// feeder "steps" -> two processes "work" (twice the number) -> sequencer -> stream
struct Loop {
  explicit Loop(std::uint32_t in_flight = 64) : runtime{two_processes(std::to_string(in_flight), {"work"})} {
    flow::make_edge(steps, work);
    flow::make_edge(work, order);
    flow::make_edge(order, stream);
    runtime.start();
  }

  void push() {
    auto step = steps.loan();
    step->value = pushed++;
    steps.push(std::move(step));
  }
  void push_every(std::chrono::nanoseconds period, int count) {
    auto next = std::chrono::steady_clock::now();
    for (int step = 0; step < count; ++step) {
      push();
      take_what_is_there();
      std::this_thread::sleep_until(next += period);
    }
  }
  bool take(const std::optional<Item<Number>>& item) {
    if (!item) return false;
    EXPECT_EQ((*item)->value, 2 * taken++);
    return true;
  }
  void take_what_is_there() {
    while (take(stream.try_next())) {}
  }
  // Without a call that waits, which would look after the steps itself.
  void watch_all_come() {
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (taken < pushed && std::chrono::steady_clock::now() < end) {
      take_what_is_there();
      std::this_thread::sleep_for(50us);
    }
    ASSERT_EQ(taken, pushed);
  }

  Runtime runtime;
  flow::graph graph;
  feeder_node<Number> steps{graph, runtime, "steps"};
  producer_node<Number, Number> work{graph, runtime, "work",
                                     [](const Number& in) { return Number{in.value * 2}; }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  std::uint64_t pushed = 0;
  std::uint64_t taken = 0;
};

class PacedPush : public TandemTest {};

TEST_F(PacedPush, AllStepsComeThoughNobodyWaitsForThem) {
  Loop loop;
  loop.push_every(1ms, 300);
  loop.watch_all_come();
  expect_right_books(loop.runtime);
}

TEST_F(PacedPush, AllStepsComeWithPausesOfAnyLength) {
  Loop loop;
  std::mt19937_64 random = random_generator();
  for (int episode = 0; episode < 60; ++episode) {
    loop.push_every(std::chrono::microseconds{20 + random() % 3000}, static_cast<int>(1 + random() % 12));
    if (random() % 2 == 0) loop.watch_all_come();
    std::this_thread::sleep_for(std::chrono::microseconds{random() % 30'000});
  }
  loop.watch_all_come();
  expect_right_books(loop.runtime);
}

TEST_F(PacedPush, WhoWaitsLooksAfterThemItself) {
  Loop loop;
  for (int step = 0; step < 300; ++step) {
    loop.push();
    ASSERT_TRUE(loop.take(loop.stream.next()));
    std::this_thread::sleep_for(500us);
  }
  expect_right_books(loop.runtime);
}

TEST_F(PacedPush, WhoSleepsAlreadyIsWoken) {
  Loop loop;
  std::jthread consumer{[&loop] {
    while (loop.taken < 300) {
      if (!loop.take(loop.stream.next())) return;
    }
  }};
  for (int step = 0; step < 300; ++step) {
    loop.push();
    std::this_thread::sleep_for(1ms);
  }
  consumer.join();
  EXPECT_EQ(loop.taken, 300U);
  expect_right_books(loop.runtime);
}

TEST_F(PacedPush, ALoanThatWaitsForTheLastStepGetsIt) {
  Loop loop{1};
  std::jthread consumer{[&loop] {
    while (loop.take(loop.stream.next())) {}
  }};
  for (int step = 0; step < 300; ++step) {
    loop.push();
    std::this_thread::sleep_for(200us);
  }
  loop.steps.finish();
  consumer.join();
  EXPECT_EQ(loop.taken, 300U);
  expect_right_books(loop.runtime);
}

TEST_F(PacedPush, TheLastStepComesWhenTheLoopFinishes) {
  for (int run = 0; run < 10; ++run) {
    Loop loop;
    loop.push_every(1ms, 20);
    loop.push();
    loop.steps.finish();
    while (loop.take(loop.stream.next())) {}
    EXPECT_EQ(loop.taken, loop.pushed);
    expect_right_books(loop.runtime);
  }
}

TEST_F(PacedPush, StepsComeThoughWorkersAreKilled) {
  Loop loop;
  std::mt19937_64 random = random_generator();
  for (int kill_number = 0; kill_number < 15; ++kill_number) {
    loop.push_every(1ms, 20);
    const std::vector<pid_t> workers = loop.runtime.worker_pids();
    if (!workers.empty()) kill(workers[random() % workers.size()], SIGKILL);
  }
  loop.watch_all_come();
  expect_right_books(loop.runtime);
}

TEST_F(PacedPush, TheEndOfTheRunLeavesNothingBehind) {
  for (int run = 0; run < 20; ++run) {
    Loop loop;
    loop.push_every(500us, 10 + run);
    for (int step = 0; step < 3; ++step) loop.push();
    expect_right_books(loop.runtime);
  }
}

}  // namespace
}  // namespace tandem::test
