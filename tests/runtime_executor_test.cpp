// Functions called in workers, which are threads or processes: what they are given and return, in which order, and what becomes of
// a call whose function throws, whose worker ends, that is cancelled, or that the end of the run overtakes.
// labels: no_tsan
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <numeric>
#include <optional>
#include <ranges>
#include <span>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <tandem/executor.hpp>

#include "support/reply_area.hpp"
#include "support/shared.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;

// ---- what is called -------------------------------------------------------------------------------------------

int add(int a, int b) { return a + b; }
void nothing() {}
std::string joined(const std::vector<std::string>& words, char separator) {
  std::string text;
  for (const std::string& word : words) text += word + separator;
  return text;
}
SharedArray<double> add_one(SharedArray<double> numbers) {
  for (double& number : numbers) number += 1;
  return numbers;
}
double sum(const SharedArray<double>& numbers) { return std::accumulate(numbers.begin(), numbers.end(), 0.0); }
SharedArray<int> first_numbers(std::size_t count, Context& context) {
  SharedArray<int> made = array<int>(context, Shape{count});
  std::iota(made.begin(), made.end(), 0);
  return made;
}
int throws(int number) { throw std::runtime_error{"no luck with " + std::to_string(number)}; }

class Executors : public PlacedTest {
 protected:
  Config config(const Settings& more = {}) { return placed(GetParam(), {"calls"}, more); }
};
TANDEM_FOR_ALL_PLACES_AND_SPAWNED(Executors);

// Whose functions are given the address of what they share with the test: a forked worker has it at the same place.
class GatedExecutors : public Executors {};
TANDEM_FOR_ALL_PLACES(GatedExecutors);

TEST_P(Executors, CallsPlainFunctions) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  EXPECT_EQ(calls.submit(add, 3, 4).get(), 7);
  calls.submit(nothing).get();
}

TEST_P(Executors, CallsCallablesWithoutMembers) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  EXPECT_EQ(calls.submit([](int a, double b) { return a * b; }, 3, 1.5).get(), 4.5);
  EXPECT_EQ(calls.submit([](auto a) { return a + a; }, std::string{"ab"}).get(), "abab");
  EXPECT_GE(calls.submit([](Context& context) { return context.worker(); }).get(), 0);
}

TEST_P(Executors, HandOverWhatCanBeSerialised) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  EXPECT_EQ(calls.submit(joined, std::vector<std::string>{"a", "b"}, '-').get(), "a-b-");
  using Table = std::map<std::string, std::vector<int>>;
  const Table table{{"one", {1}}, {"two", {1, 2}}};
  EXPECT_EQ(calls
                .submit(
                    [](Table given) {
                      given["three"] = {1, 2, 3};
                      return given;
                    },
                    table)
                .get(),
            (Table{{"one", {1}}, {"two", {1, 2}}, {"three", {1, 2, 3}}}));
}

TEST_P(Executors, HandOverMuchInBothDirections) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  std::vector<int> many(100'000);
  std::iota(many.begin(), many.end(), 7);
  for (int times = 0; times < 20; ++times) {
    const auto back = calls
                          .submit(
                              [](const std::vector<int>& given) {
                                return std::vector<int>{given.rbegin(), given.rend()};
                              },
                              many)
                          .get();
    ASSERT_EQ(back, (std::vector<int>{many.rbegin(), many.rend()}));
  }
  EXPECT_TRUE(runtime.arrays().empty());
}

TEST_P(Executors, WriteInTheArraysThatTheyAreGiven) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  auto ones = runtime.array<double>(Shape{100'000}, 1.0);
  auto sums = calls.submit(add_one, ones).get();
  EXPECT_EQ(sums[0], 2);
  EXPECT_EQ(ones[99'999], 2);
  EXPECT_EQ(sums.data(), ones.data());
  EXPECT_EQ(calls.submit(sum, ones).get(), 200'000);
  EXPECT_EQ(runtime.arrays().size(), 1U);
}

TEST_P(Executors, ReturnArraysThatTheyMade) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  {
    const auto made = calls.submit(first_numbers, 10'000U).get();
    ASSERT_EQ(made.size(), 10'000U);
    for (int i = 0; i < 10'000; ++i) ASSERT_EQ(made[static_cast<std::size_t>(i)], i);
    EXPECT_EQ(runtime.arrays().size(), 1U);
  }
  EXPECT_TRUE(runtime.arrays().empty());
}

TEST_P(Executors, TellWhatTheFunctionThrew) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  auto future = calls.submit(throws, 13);
  try {
    future.get();
    FAIL();
  } catch (const ProducerError& error) {
    EXPECT_EQ(error.reason(), "no luck with 13");
    EXPECT_EQ(error.node(), "calls");
  }
  EXPECT_EQ(calls.submit(add, 1, 1).get(), 2);
}

TEST_P(Executors, BeginCallsInTheirOrderHoweverMany) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  std::vector<Future<int>> futures;
  for (int number = 0; number < 5000; ++number) futures.push_back(calls.submit(add, number, 1));
  for (int number = 0; number < 5000; ++number)
    ASSERT_EQ(futures[static_cast<std::size_t>(number)].get(), number + 1);
}

// ---- what is given and returned -------------------------------------------------------------------------------

TEST_P(Executors, LendContainersOfNamedArrays) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  using Named = std::map<std::string, SharedArray<double>>;
  Named named;
  named["u"] = runtime.array<double>(Shape{10}, 1.0);
  named["v"] = runtime.array<double>(Shape{20}, 2.0);
  const auto scale = [](Named given, double by) {
    for (auto& [name, array] : given) {
      for (double& value : array) value *= by;
    }
    std::swap(given["u"], given["v"]);
    return given;
  };
  Named back = calls.submit(scale, named, 3.0).get();
  EXPECT_EQ(back["u"].size(), 20U);
  EXPECT_EQ(back["u"].data(), named["v"].data());
  EXPECT_EQ(back["v"][9], 3.0);
  EXPECT_EQ(runtime.arrays().size(), 2U);
}

struct Particle {
  double x;
  std::int64_t id;
};

}  // namespace
}  // namespace tandem::test

template <>
struct tandem::RecordFields<tandem::test::Particle> {
  static std::vector<Field> fields() {
    return {field<&tandem::test::Particle::x>("x"), field<&tandem::test::Particle::id>("id")};
  }
};

namespace tandem::test {
namespace {

TEST_P(Executors, LendRecordsSlicesAndArraysWithoutElementsOrDimensions) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  auto particles = runtime.array<Particle>(Shape{3}, Particle{0.5, 7});
  EXPECT_EQ(calls.submit([](const SharedArray<Particle>& given) { return given[2].id; }, particles).get(), 7);

  auto rows = runtime.array<int>(Shape{10, 4}, 0);
  calls.submit([](SharedArray<int> part) { part.matrix().setConstant(5); }, rows.slice(2, 4)).get();
  EXPECT_EQ(std::accumulate(rows.begin(), rows.end(), 0), 40);
  EXPECT_EQ(rows[8], 5);
  EXPECT_EQ(rows[16], 0);

  EXPECT_EQ(calls
                .submit([](SharedArray<int> none) { return none.shape().rank() + none.size(); },
                        runtime.array<int>(Shape{0, 3}))
                .get(),
            2U);
  auto scalar = runtime.array<int>(Shape{}, 3);
  EXPECT_EQ(
      calls.submit([](const SharedArray<int>& one) { return one.size() == 1 ? one[0] : 0; }, scalar).get(), 3);
  EXPECT_FALSE(calls
                   .submit([](const SharedArray<int>& nothing) { return static_cast<bool>(nothing); },
                           SharedArray<int>{})
                   .get());
  EXPECT_EQ(calls.submit([](Context& context) { return array<int>(context, Shape{0}); }).get().size(), 0U);
}

TEST_P(Executors, ReturnASliceOfWhatTheyWereGiven) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  auto numbers = runtime.array<int>(Shape{100});
  std::iota(numbers.begin(), numbers.end(), 0);
  auto part = calls.submit([](SharedArray<const int> given) { return given.slice(10, 20); }, numbers).get();
  numbers = {};
  EXPECT_EQ(runtime.arrays().size(), 1U);
  EXPECT_EQ(part[0], 10);
  part = {};
  EXPECT_TRUE(runtime.arrays().empty());
}

TEST_P(Executors, WriteDisjointPartsOfOneArrayAtATime) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  constexpr std::size_t kParts = 64;
  auto numbers = runtime.array<std::uint64_t>(Shape{kParts * 1000}, std::uint64_t{0});
  std::vector<Future<void>> all;
  const auto fill = [](SharedArray<std::uint64_t> part, std::uint64_t first) {
    std::iota(part.begin(), part.end(), first);
  };
  for (std::size_t part = 0; part < kParts; ++part) {
    all.push_back(calls.submit(fill, numbers.slice(part * 1000, (part + 1) * 1000), part * 1000));
  }
  for (auto& one : all) one.get();
  for (std::size_t i = 0; i < numbers.size(); ++i) ASSERT_EQ(numbers[i], i);
}

struct Spectrum {
  double peak = 0;
  SharedArray<double> values;
  void serialize(auto& archive) { archive(peak, values); }
};

TEST_P(Executors, ReturnAStructWithArraysInIt) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  const auto made = calls
                        .submit(
                            [](std::size_t count, Context& context) {
                              Spectrum spectrum{2.5, array<double>(context, Shape{count})};
                              std::fill(spectrum.values.begin(), spectrum.values.end(), 0.25);
                              return spectrum;
                            },
                            50U)
                        .get();
  EXPECT_EQ(made.peak, 2.5);
  EXPECT_EQ(made.values[49], 0.25);
}

TEST_P(Executors, SayThatAnArrayHasAnotherType) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  const auto given = runtime.array<float>(Shape{5}, 1.F);
  auto result = calls
                    .submit(
                        [](SharedArray<const float> array, Context&) {
                          return std::map<std::string, SharedArray<const float>>{{"a", array}};
                        },
                        given)
                    .get();
  EXPECT_EQ(result["a"].size(), 5U);
  EXPECT_NE(thrown_text<Error>([&] { static_cast<void>(given.matrix()); }).find("shape (5) is not of rank 2"),
            std::string::npos);
  EXPECT_NE(thrown_text<Error>([&] { static_cast<void>(given.slice(3, 9)); }).find("no slice from 3 to 9"),
            std::string::npos);
  EXPECT_NE(thrown_text<Error>([] {
              static_cast<void>(SharedArray<int>{}.data());
            }).find("holds no shared array"),
            std::string::npos);
}

// ---- memory ---------------------------------------------------------------------------------------------------

TEST_P(Executors, SayThatThereIsNoRoomForAnArray) {
  Runtime runtime{config({{"arrays", "1 MiB"}})};
  Executor calls{runtime, "calls"};
  const auto half = runtime.array<std::uint8_t>(Shape{512 * 1024});
  const std::string text =
      thrown_text<MemoryError>([&] { static_cast<void>(runtime.array<std::uint8_t>(Shape{513 * 1024})); });
  EXPECT_NE(text.find("525312 bytes (513 KiB)"), std::string::npos) << text;
  EXPECT_NE(text.find("by 1 arrays, and the largest free piece has 524288 bytes (512 KiB)"), std::string::npos)
      << text;
  auto much = calls.submit([](std::size_t bytes,
                              Context& context) { return array<std::uint8_t>(context, Shape{bytes}); },
                           513U * 1024);
  EXPECT_NE(thrown_text<ProducerError>([&] { much.get(); }).find("no room for a shared array of 525312 bytes"),
            std::string::npos);
  EXPECT_EQ(calls.submit(first_numbers, 1000U).get().size(), 1000U);
  EXPECT_NE(thrown_text<Error>([&] {
              static_cast<void>(runtime.array<double>(Shape{1UL << 40, 1UL << 40}));
            }).find("bytes that can be addressed"),
            std::string::npos);
}

TEST_P(Executors, GiveTheMemoryOfWhatIsNotReturnedBack) {
  Runtime runtime{config({{"arrays", "1 MiB"}})};
  Executor calls{runtime, "calls"};
  for (int times = 0; times < 50; ++times) {
    const auto wasteful = [](Context& context) {
      int total = 0;
      for (int made = 0; made < 3; ++made)
        total += static_cast<int>(array<std::uint8_t>(context, Shape{100'000}).size());
      return total;
    };
    ASSERT_EQ(calls.submit(wasteful).get(), 300'000);
    ASSERT_TRUE(runtime.arrays().empty());
  }
}

TEST_P(GatedExecutors, TellWhatIsAliveAndWhoHoldsIt) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  Shared<std::atomic<int>> step{0};
  auto held = runtime.array<double>(Shape{3, 4}, 0.0);
  const auto other = held;
  auto waits = calls.submit(
      [](const SharedArray<double>& given, std::uintptr_t word) {
        auto& now = *reinterpret_cast<std::atomic<int>*>(word);  // shared, and there before the fork
        now = 1;
        while (now != 2) usleep(100);
        return given.size();
      },
      held, reinterpret_cast<std::uintptr_t>(step.get()));
  while (*step.get() != 1) usleep(100);
  auto alive = runtime.arrays();
  ASSERT_EQ(alive.size(), 1U);
  EXPECT_EQ(alive[0].dtype, Dtype::float64);
  EXPECT_EQ(alive[0].shape, (Shape{3, 4}));
  EXPECT_EQ(alive[0].bytes, 96U);
  EXPECT_GE(alive[0].handles, 3);
  EXPECT_EQ(alive[0].holders, std::vector<std::string>{"node 'calls', call 0"});
  *step.get() = 2;
  EXPECT_EQ(waits.get(), 12U);
  alive = runtime.arrays();
  EXPECT_EQ(alive[0].handles, 2);
  EXPECT_TRUE(alive[0].holders.empty());
}

TEST_P(Executors, LetArraysOutliveTheRuntime) {
  SharedArray<int> kept;
  {
    Runtime runtime{config()};
    Executor calls{runtime, "calls"};
    kept = calls.submit(first_numbers, 1000U).get();
  }
  EXPECT_EQ(kept[999], 999);
  kept = {};
}

// ---- several calls --------------------------------------------------------------------------------------------

int twice_or_throw(int number) {
  if (number == 7) throw std::runtime_error{"seven"};
  return number * 2;
}

TEST_P(Executors, MapInOrderInChunksAndAsTheyCome) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  std::vector<int> numbers(500);
  std::iota(numbers.begin(), numbers.end(), 100);
  for (const std::size_t chunk : {1U, 7U, 1000U}) {
    int next = 100;
    for (const int result : calls.map(twice_or_throw, numbers, {.chunk = chunk})) ASSERT_EQ(result, 2 * next++);
    ASSERT_EQ(next, 600);
    std::vector<int> all;
    for (const int result : calls.map(twice_or_throw, numbers, {.ordered = false, .chunk = chunk, .window = 3}))
      all.push_back(result);
    std::sort(all.begin(), all.end());
    ASSERT_EQ(all.size(), 500U);
    for (int i = 0; i < 500; ++i) ASSERT_EQ(all[static_cast<std::size_t>(i)], 2 * (100 + i));
  }
  EXPECT_FALSE(calls.map(twice_or_throw, std::vector<int>{}).next());
}

TEST_P(Executors, MapAFunctionThatReturnsNothing) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  auto numbers = runtime.array<int>(Shape{100}, 0);
  std::vector<std::pair<SharedArray<int>, int>> parts;
  for (int i = 0; i < 10; ++i) {
    const auto first = static_cast<std::size_t>(i) * 10;
    parts.emplace_back(numbers.slice(first, first + 10), i);
  }
  const auto fill = [](std::pair<SharedArray<int>, int> part) {
    std::fill(part.first.begin(), part.first.end(), part.second);
  };
  int done = 0;
  for (const bool one : calls.map(fill, parts, {.chunk = 3})) done += one ? 1 : 0;
  EXPECT_EQ(done, 10);
  for (std::size_t i = 0; i < 100; ++i) ASSERT_EQ(numbers[i], static_cast<int>(i) / 10);
}

TEST_P(Executors, MapOverAnErrorAtItsPlace) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  auto results = calls.map(twice_or_throw, std::views::iota(0, 20));
  for (int number = 0; number < 20; ++number) {
    if (number == 7) {
      EXPECT_THROW(results.next(), ProducerError);
    } else {
      EXPECT_EQ(results.next(), 2 * number);
    }
  }
  EXPECT_FALSE(results.next());
  EXPECT_TRUE(results.ended());
}

TEST_P(Executors, LeaveAMapEarly) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  {
    auto results = calls.map(twice_or_throw, std::views::iota(0));
    EXPECT_EQ(results.next(), 0);
  }
  EXPECT_EQ(calls.submit(add, 1, 2).get(), 3);
}

TEST_P(Executors, RepeatATargetWithItsOwnRandomNumbers) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  auto results = calls.repeat(
      [](int scale, Context& context) {
        return std::pair{scale, context.random()()};
      },
      3);
  std::vector<std::uint64_t> numbers;
  for (int times = 0; times < 100; ++times) {
    const auto result = results.next_for(60s);
    ASSERT_TRUE(result);
    ASSERT_EQ(result->first, 3);
    numbers.push_back(result->second);
  }
  std::sort(numbers.begin(), numbers.end());
  EXPECT_EQ(std::adjacent_find(numbers.begin(), numbers.end()), numbers.end());
}

TEST_P(Executors, TellTheShapesOfATrialCall) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  const auto specs = calls.trial(
      [](std::size_t count, Context& context) {
        return std::map<std::string, SharedArray<float>>{{"a", array<float>(context, Shape{count})},
                                                         {"b", array<float>(context, Shape{count, 2})}};
      },
      3U);
  EXPECT_EQ(specs, (std::vector<ArraySpec>{array<float>("a", Shape{3}), array<float>("b", Shape{3, 2})}));
  EXPECT_EQ(calls.trial(first_numbers, 9U), (std::vector<ArraySpec>{array<int>("result", Shape{9})}));
}

// ---- the ends of calls ----------------------------------------------------------------------------------------

int wait_for(std::uintptr_t word, int value) {
  const auto& now = *reinterpret_cast<std::atomic<int>*>(word);
  while (now != value) usleep(100);
  return value;
}

// Short ones go to few workers, and so does at first what comes after them, until it turns out to take longer.
TEST_P(GatedExecutors, RunCallsThatWaitForEachOtherAfterShortOnes) {
  const int workers = GetParam().workers;
  Shared<std::atomic<int>> there{0};
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  for (int call = 0; call < 200; ++call) ASSERT_EQ(calls.submit(add, call, 1).get(), call + 1);
  for (int round = 1; round <= 3; ++round) {
    std::this_thread::sleep_for(20ms);  // until all sleep
    std::vector<Future<int>> all;
    for (int call = 0; call < workers; ++call) {
      all.push_back(calls.submit(
          [](std::uintptr_t word, int until) {
            auto& now = *reinterpret_cast<std::atomic<int>*>(word);
            ++now;
            while (now < until) usleep(100);
            return until;
          },
          reinterpret_cast<std::uintptr_t>(there.get()), round * workers));
    }
    for (auto& one : all) ASSERT_EQ(one.get(), round * workers);
  }
}

TEST_P(GatedExecutors, CancelWhatIsNotBegun) {
  Runtime runtime{config({{"in_flight", "8"}})};
  Executor calls{runtime, "calls"};
  Shared<std::atomic<int>> gate{0};
  std::vector<Future<int>> begun;
  for (int i = 0; i < 8; ++i)
    begun.push_back(calls.submit(wait_for, reinterpret_cast<std::uintptr_t>(gate.get()), 1));
  auto queued = calls.submit(add, 1, 2);
  EXPECT_FALSE(begun[0].cancel());
  EXPECT_FALSE(queued.ready());
  EXPECT_FALSE(queued.wait_for(1ms));
  EXPECT_TRUE(queued.cancel());
  EXPECT_FALSE(queued.cancel());
  EXPECT_EQ(thrown_text<Error>([&] { queued.get(); }), "the call was cancelled before it was begun");
  EXPECT_NE(thrown_text<Error>([&] { queued.get(); }).find("was taken already"), std::string::npos);
  *gate.get() = 1;
  for (auto& one : begun) EXPECT_EQ(one.get(), 1);
  EXPECT_EQ(calls.submit(add, 1, 2).get(), 3);
}

TEST_P(Executors, ShutDownOnceAllIsDone) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  std::vector<Future<int>> futures;
  for (int i = 0; i < 500; ++i) futures.push_back(calls.submit(add, i, i));
  calls.shutdown();
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(futures[static_cast<std::size_t>(i)].ready());
    ASSERT_EQ(futures[static_cast<std::size_t>(i)].get(), 2 * i);
  }
  EXPECT_NE(thrown_text<Error>([&] { calls.submit(add, 1, 1); }).find("shutdown() was called"),
            std::string::npos);
  calls.shutdown();
}

TEST_P(GatedExecutors, ShutDownWithoutWhatWaits) {
  Runtime runtime{config({{"in_flight", "8"}})};
  Executor calls{runtime, "calls"};
  Shared<std::atomic<int>> gate{0};
  std::vector<Future<int>> futures;
  for (int i = 0; i < 100; ++i)
    futures.push_back(calls.submit(wait_for, reinterpret_cast<std::uintptr_t>(gate.get()), 1));
  std::thread opener{[&] {
    usleep(10'000);
    *gate.get() = 1;
  }};
  calls.shutdown(true);
  opener.join();
  int done = 0;
  for (auto& one : futures) {
    ASSERT_TRUE(one.ready());
    try {
      done += one.get();
    } catch (const Error&) {}
  }
  EXPECT_EQ(done, 8);
}

TEST_P(GatedExecutors, TellWhoeverWaitsThatTheRunWasStopped) {
  Future<int> waits;
  Future<int> queued;
  Shared<std::atomic<int>> gate{0};
  {
    Runtime runtime{config({{"in_flight", "1"}})};
    Executor calls{runtime, "calls"};
    const auto until_stopped = [](std::uintptr_t word, Context& context) {
      *reinterpret_cast<std::atomic<int>*>(word) = 1;
      while (!context.stopping()) usleep(100);
      return 0;
    };
    waits = calls.submit(until_stopped, reinterpret_cast<std::uintptr_t>(gate.get()));
    queued = calls.submit(add, 1, 2);
    while (*gate.get() == 0) usleep(100);
    std::thread stopper{[&] {
      usleep(10'000);
      runtime.stop();
    }};
    EXPECT_NE(thrown_text<Error>([&] { waits.get(); }).find("calls: the run was stopped before"),
              std::string::npos);
    EXPECT_NE(thrown_text<Error>([&] { queued.get(); }).find("calls: the run was stopped before"),
              std::string::npos);
    stopper.join();
    EXPECT_NE(thrown_text<Error>([&] { calls.submit(add, 1, 2); }).find("the run was stopped"),
              std::string::npos);
  }
}

TEST_P(GatedExecutors, KeepWhatAWorkerStillHasWhenTheRunIsStopped) {
  Runtime runtime{config({{"grace", "60 s"}})};
  Executor calls{runtime, "calls"};
  Shared<std::atomic<int>> gate{0};
  auto numbers = runtime.array<int>(Shape{100}, 0);
  const auto writes_on = [](SharedArray<int> given, std::uintptr_t word) {
    auto& now = *reinterpret_cast<std::atomic<int>*>(word);
    now = 1;
    while (now != 2) ++given[0];
  };
  auto future = calls.submit(writes_on, numbers, reinterpret_cast<std::uintptr_t>(gate.get()));
  numbers = {};
  while (*gate.get() == 0) usleep(100);
  std::thread stopper{[&] { runtime.stop(); }};
  EXPECT_THROW(future.get(), Error);
  EXPECT_EQ(runtime.arrays().size(), 1U);
  *gate.get() = 2;
  stopper.join();
  EXPECT_TRUE(runtime.arrays().empty());
}

TEST_P(GatedExecutors, StopTheRunFromACall) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  auto* const other = &runtime;
  Shared<Runtime*> place{other};
  auto stops = calls.submit(
      [](std::uintptr_t of) {
        (*reinterpret_cast<Runtime**>(of))->stop();
        return 1;
      },
      reinterpret_cast<std::uintptr_t>(place.get()));
  stops.wait();  // by its result or by the end
  auto late = thrown_text<Error>([&] { calls.submit(add, 1, 2).get(); });
  EXPECT_NE(late.find("the run was stopped"), std::string::npos) << late;
}

TEST_P(Executors, RunTheInitialiserInEachWorkerFirst) {
  static thread_local int ready = 0;
  Runtime runtime{config()};
  Executor calls{runtime, "calls", [] { ready = 42; }};
  for (int i = 0; i < 50; ++i) {
    const int found = calls.submit([] { return ready; }).get();
    ASSERT_TRUE(found == 42 || !GetParam().is_process());
  }
}

TEST_P(Executors, RefuseAnArrayOfAnotherRuntime) {
  Runtime other{config_of({})};
  auto foreign = other.array<int>(Shape{10}, 7);
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  const auto write = [](SharedArray<int> given) { given[0] = 1; };
  EXPECT_NE(thrown_text<Error>([&] { calls.submit(write, foreign); }).find("of another Runtime"),
            std::string::npos);
  EXPECT_EQ(foreign[0], 7);
  EXPECT_EQ(calls.submit(add, 1, 2).get(), 3);
}

TEST_P(Executors, ThrowWhatCannotBeSubmittedBehindTheResultsBeforeIt) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  const auto numbers = std::views::iota(0, 50) | std::views::transform([](int number) {
                         if (number == 20) throw std::runtime_error("no further input");
                         return number;
                       });
  auto results = calls.map([](int number) { return number * 2; }, numbers);
  for (int number = 0; number < 20; ++number) ASSERT_EQ(results.get(), 2 * number);
  EXPECT_EQ(thrown_text<std::runtime_error>([&] { results.next(); }), "no further input");
  EXPECT_FALSE(results.next());
  EXPECT_TRUE(results.ended());
}

// ---- workers that end -----------------------------------------------------------------------------------------

class ProcessExecutors : public Executors {};
TANDEM_FOR_PROCESSES(ProcessExecutors);

TEST_P(ProcessExecutors, BeginACallAgainWhoseWorkerEnded) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  Shared<std::atomic<int>> deaths{0};
  const auto dies_twice = [](std::uintptr_t word, const SharedArray<int>& numbers) {
    if (++*reinterpret_cast<std::atomic<int>*>(word) < 3) kill(getpid(), SIGKILL);
    return numbers[0];
  };
  const auto numbers = runtime.array<int>(Shape{1}, 5);
  EXPECT_EQ(calls.submit(dies_twice, reinterpret_cast<std::uintptr_t>(deaths.get()), numbers).get(), 5);
  EXPECT_EQ(*deaths.get(), 3);
}

TEST_P(ProcessExecutors, DoNotBeginACallAgainThatMayHaveWritten) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  auto numbers = runtime.array<double>(Shape{1000}, 1.0);
  const auto adds_and_dies = [](SharedArray<double> given) {
    for (double& number : given) number += 1;
    kill(getpid(), SIGKILL);
  };
  auto future = calls.submit(adds_and_dies, numbers);
  const std::string text = thrown_text<ProducerError>([&] { future.get(); });
  EXPECT_NE(text.find("not begun again"), std::string::npos) << text;
  EXPECT_EQ(numbers[999], 2.0);
  numbers = {};
  EXPECT_TRUE(runtime.arrays().empty());
  EXPECT_EQ(calls.submit(add, 1, 2).get(), 3);
}

TEST_P(ProcessExecutors, DoNotBeginACallAgainThatMayHaveWrittenWhoeverEndedItsWorker) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  auto numbers = runtime.array<double>(Shape{1000}, 1.0);
  const auto adds_and_loses_the_server = [](SharedArray<double> given) {
    for (double& number : given) number += 1;
    kill(getppid(), SIGKILL);  // the fork server: no attempt of this call's
    pause();
  };
  auto future = calls.submit(adds_and_loses_the_server, numbers);
  const std::string text = thrown_text<ProducerError>([&] { future.get(); });
  EXPECT_NE(text.find("not begun again"), std::string::npos) << text;
  EXPECT_EQ(numbers[999], 2.0);
  EXPECT_EQ(calls.submit(add, 1, 2).get(), 3);
}

TEST_P(ProcessExecutors, GiveBackWhatAKilledWorkerHeldAndMade) {
  Runtime runtime{config({{"node.calls.attempts", "2"}})};
  Executor calls{runtime, "calls"};
  const auto makes_and_dies = [](std::size_t count, Context& context) {
    auto made = array<int>(context, Shape{count});
    made[0] = 1;
    kill(getpid(), SIGKILL);
    return made;
  };
  for (int times = 0; times < 20; ++times) {
    auto future = calls.submit(makes_and_dies, 10'000U);
    ASSERT_NE(thrown_text<ProducerError>([&] { future.get(); }).find("SIGKILL"), std::string::npos);
    ASSERT_TRUE(runtime.arrays().empty());
  }
}

TEST_P(ProcessExecutors, RefuseAnArrayAfterItsCall) {
  static SharedArray<int> kept;
  Runtime runtime{placed({"process", 1}, {"calls"})};
  Executor calls{runtime, "calls"};
  auto numbers = runtime.array<int>(Shape{10}, 1);
  calls.submit([](SharedArray<int> given) { kept = given; }, numbers).get();
  auto late = calls.submit([] { return kept[0]; });
  EXPECT_NE(thrown_text<ProducerError>([&] { late.get(); }).find("after the call that it was lent for"),
            std::string::npos);
}

TEST_P(ProcessExecutors, CannotWriteWhatTheyWereNotLent) {
  Runtime runtime{placed({"process", 1}, {"calls"}, {{"node.calls.attempts", "1"}})};
  Executor calls{runtime, "calls"};
  auto mine = runtime.array<int>(Shape{10}, 1);
  auto lent = runtime.array<int>(Shape{10}, 1);
  calls.submit([](SharedArray<int> given) { given[0] = 2; }, mine).get();
  // Writable in the call before; not in this one.
  auto stray = calls.submit(
      [](SharedArray<int> given, std::uintptr_t other) {
        given[0] = 3;
        *reinterpret_cast<volatile int*>(other) = 4;
      },
      lent, reinterpret_cast<std::uintptr_t>(mine.data()));
  EXPECT_NE(thrown_text<ProducerError>([&] { stray.get(); }).find("SIGSEGV"), std::string::npos);
  EXPECT_EQ(mine[0], 2);
  EXPECT_EQ(lent[0], 3);
  // To be read only.
  auto reads = calls.submit([](const SharedArray<int>& given) { const_cast<int&>(given[0]) = 9; }, mine);
  EXPECT_NE(thrown_text<ProducerError>([&] { reads.get(); }).find("SIGSEGV"), std::string::npos);
  EXPECT_EQ(mine[0], 2);
}

TEST_P(ProcessExecutors, LoseNothingWhenTheirWorkersAreKilled) {
  Runtime runtime{config({{"node.calls.attempts", "100"}})};
  Executor calls{runtime, "calls"};
  std::mt19937_64 random = random_generator();
  std::vector<Future<SharedArray<int>>> futures;
  for (std::size_t i = 0; i < 300; ++i) futures.push_back(calls.submit(first_numbers, i + 1));
  for (std::size_t i = 0; i < 300; ++i) {
    if (i % 10 == 0) {
      const auto pids = runtime.worker_pids();
      if (!pids.empty()) kill(pids[random() % pids.size()], SIGKILL);
    }
    const auto made = futures[i].get();
    ASSERT_EQ(made.size(), i + 1);
    ASSERT_EQ(made[i], static_cast<int>(i));
  }
  EXPECT_TRUE(runtime.arrays().empty());
}

// ---- nonsense -------------------------------------------------------------------------------------------------

TEST(Archives, RefuseBytesThatAreNotWhatWasWanted) {
  using Value = std::map<std::string, std::vector<std::optional<std::string>>>;
  const Value value{{"one", {"a", std::nullopt}}, {"two", {"bcd"}}};
  ArchiveWriter writer;
  writer(value);
  const std::vector<std::byte> honest{writer.bytes().begin(), writer.bytes().end()};
  LentArrays nothing{{}};
  const auto read = [&nothing](std::span<const std::byte> bytes) {
    ArchiveReader reader{bytes, nothing};
    Value found;
    reader(found);
    return found;
  };
  EXPECT_EQ(read(honest), value);
  for (std::size_t bytes = 0; bytes < honest.size(); ++bytes)
    EXPECT_THROW(read(std::span{honest}.first(bytes)), Error);
  for (std::size_t at = 0; at < honest.size(); ++at) {
    for (int other = 0; other < 256; ++other) {
      std::vector<std::byte> changed = honest;
      changed[at] = static_cast<std::byte>(other);
      try {
        read(changed);
      } catch (const std::exception&) {}  // or another value: any is one that could have been sent
    }
  }
}

TEST_P(ProcessExecutors, SurviveResultsThatAreLies) {
  Runtime runtime{config()};
  Executor calls{runtime, "calls"};
  std::mt19937_64 random = random_generator();
  auto numbers = runtime.array<int>(Shape{100}, 1);
  // A thread that the function leaves behind writes over the result while the host reads it.
  const auto lies = [](SharedArray<int> given, std::uint64_t seed) {
    std::thread{[seed] {
      std::mt19937_64 liar{seed};
      const ReplyArea area{64};
      for (int times = 0; times < 50'000; ++times) {
        for (const auto& range : area.blocks()) range[liar() % range.size()] = static_cast<std::byte>(liar());
      }
    }}.detach();
    return given;
  };
  for (int times = 0; times < 100; ++times) {
    auto future = calls.submit(lies, numbers, random());
    try {
      const auto back = future.get();
      ASSERT_LE(back.size(), 100U) << "more than was lent";
    } catch (const std::exception&) {}
  }
}

}  // namespace
}  // namespace tandem::test
