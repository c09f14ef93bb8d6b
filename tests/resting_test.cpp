// Workers on threads that rest in their task between two messages, each alone in its node: with fewer threads in oneTBB than there are workers, with bodies
// that wait in oneTBB, at the end of the run, beside an Executor.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>

#include <tandem/executor.hpp>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;

Number plus_one(const Number& in) { return {in.value + 1}; }

/// feeder "numbers" -> "n0" -> "n1" ... -> stream: one message at a time, so that each worker rests behind each.
struct Chain {
  Chain(int workers, Number (*body)(const Number&))
      : runtime{placed({"thread", workers}, {"n0", "n1", "n2", "n3", "n4"}, {{"in_flight", "16"}})},
        numbers{graph, runtime, "numbers"} {
    for (const char* const name : {"n0", "n1", "n2", "n3", "n4"})
      chain.push_back(std::make_unique<producer_node<Number, Number>>(graph, runtime, name, body));
    flow::make_edge(numbers, *chain.front());
    for (std::size_t node = 1; node < chain.size(); ++node) flow::make_edge(*chain[node - 1], *chain[node]);
    flow::make_edge(*chain.back(), stream);
  }

  void push(std::uint64_t value) {
    auto number = numbers.loan();
    number->value = value;
    numbers.push(std::move(number));
  }
  void expect_trips(std::uint64_t trips) {
    for (std::uint64_t trip = 0; trip < trips; ++trip) {
      push(trip);
      const auto item = stream.next();
      ASSERT_TRUE(item);
      ASSERT_EQ((*item)->value, trip + chain.size());
    }
  }

  Runtime runtime;
  flow::graph graph;
  feeder_node<Number> numbers;
  std::vector<std::unique_ptr<producer_node<Number, Number>>> chain;
  stream_node<Number> stream{graph, runtime};
};

class Resting : public TandemTest {};

TEST_F(Resting, OneMessageAtATime) {
  Chain chain{1, plus_one};
  chain.expect_trips(2000);
  chain.runtime.stop();
  expect_right_books(chain.runtime);
}

// Some come while all rest, some when their tasks have ended, and some in between.
TEST_F(Resting, MessagesAfterPausesOfAnyLength) {
  Chain chain{1, plus_one};
  auto random = random_generator();
  for (int round = 0; round < 60; ++round) {
    std::this_thread::sleep_for(std::chrono::microseconds{random() % 7000});  // the time that passes
    chain.expect_trips(1 + random() % 3);
  }
  chain.runtime.stop();
  expect_right_books(chain.runtime);
}

// A task that rested would hold the only thread that the others could have.
TEST_F(Resting, NotWhereTheProgramKeepsOneTbbToFewThreads) {
  const oneapi::tbb::global_control few{oneapi::tbb::global_control::max_allowed_parallelism, 1};
  Chain chain{1, plus_one};
  EXPECT_FALSE(ExtraThreads::are_granted());
  chain.expect_trips(200);
  chain.runtime.stop();
  expect_right_books(chain.runtime);
}

TEST_F(Resting, AgainOnceTheProgramLetsOneTbbHaveItsThreads) {
  std::optional<oneapi::tbb::global_control> few{std::in_place,
                                                 oneapi::tbb::global_control::max_allowed_parallelism, 1U};
  Chain chain{1, plus_one};
  chain.expect_trips(50);
  few.reset();
  EXPECT_TRUE(ExtraThreads::are_granted());
  chain.expect_trips(500);
}

TEST_F(Resting, BesideBodiesThatWaitInOneTbb) {
  Chain chain{4, +[](const Number& in) {
                std::atomic<std::uint64_t> sum{0};
                oneapi::tbb::parallel_for(0, 100, [&sum](int) { sum.fetch_add(1); });
                return Number{in.value + sum.load() / 100};
              }};
  std::uint64_t next = 0;
  for (std::uint64_t value = 0; value < 500; ++value) {
    chain.push(value);
    if (value % 8 != 7) continue;
    for (int item = 0; item < 8; ++item) next += chain.stream.next() ? 1 : 0;
  }
  while (next < 500) next += chain.stream.next() ? 1 : 0;
  chain.runtime.stop();
  expect_right_books(chain.runtime);
}

TEST_F(Resting, EndsWithTheRun) {
  for (int round = 0; round < 100; ++round) {
    Chain chain{1, plus_one};
    chain.expect_trips(1 + static_cast<std::uint64_t>(round % 5));
    if (round % 2 == 0) chain.runtime.stop();
  }
}

TEST_F(Resting, SeveralFeedersAndConsumersAtOnce) {
  constexpr std::uint64_t kEach = 3000;
  Chain chain{3, plus_one};
  chain.runtime.start();
  std::atomic<std::uint64_t> came{0};
  std::atomic<std::uint64_t> sum{0};
  {
    std::vector<std::jthread> threads;
    for (int feeder = 0; feeder < 2; ++feeder) {
      threads.emplace_back([&chain] {
        for (std::uint64_t value = 0; value < kEach; ++value) chain.push(value);
      });
    }
    for (int consumer = 0; consumer < 2; ++consumer) {
      threads.emplace_back([&] {
        while (came.load() < 2 * kEach) {
          const auto item = chain.stream.next_for(10ms);
          if (!item) continue;
          sum.fetch_add((*item)->value);
          came.fetch_add(1);
        }
      });
    }
  }
  EXPECT_EQ(came.load(), 2 * kEach);
  EXPECT_EQ(sum.load(), 2 * (kEach * (kEach - 1) / 2 + chain.chain.size() * kEach));
  chain.runtime.stop();
  expect_right_books(chain.runtime);
}

TEST_F(Resting, ThreadsOfAnExecutor) {
  Runtime runtime{placed({"thread", 2}, {"adders"}, {})};
  Executor adders{runtime, "adders"};
  for (int call = 0; call < 500; ++call)
    EXPECT_EQ(adders.submit([](int one) { return one + 1; }, call).get(), call + 1);
}

}  // namespace
}  // namespace tandem::test
