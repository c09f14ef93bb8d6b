// stop() at any moment, by anybody: all end promptly, and nothing is left.
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using Clock = std::chrono::steady_clock;

// "All end promptly": far more than it takes, far less than any time-out of the library.
constexpr std::chrono::seconds kPromptly{4};

Number same(const Number& in) { return in; }

class Stop : public PlacedTest {
 protected:
  void SetUp() override {
    PlacedTest::SetUp();
    begin_ = Clock::now();
  }
  void TearDown() override {
    EXPECT_LT(Clock::now() - begin_, GetParam().is_spawned() ? 2 * kPromptly : kPromptly);
    PlacedTest::TearDown();
  }

 private:
  Clock::time_point begin_;
};

TEST_P(Stop, EndsTheLoopThatIsLeftEarly) {
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, same};
  for (const auto& item : line.stream) {
    if (item->value == 100) break;
  }
}

TEST_P(Stop, InTheLoopEndsIt) {
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, same};
  std::uint64_t items = 0;
  for (const auto& item : line.stream) {
    ++items;
    if (item->value == 100) line.runtime.stop();
  }
  EXPECT_EQ(items, 101U);
}

TEST_P(Stop, ByAnotherThreadWakesAConsumerThatWaits) {
  Gate gate;
  // The second message never comes: the consumer waits for it.
  auto one_message = [&gate, calls = 0](Context& context) mutable -> std::optional<Number> {
    if (calls++ == 0) return Number{7};
    gate.open();
    while (!context.stopping()) std::this_thread::yield();
    return std::nullopt;
  };
  Line<Number> line{placed(GetParam(), {"work"}), one_message, same};
  EXPECT_EQ((*line.stream.next())->value, 7U);
  std::thread stopper{[&] {
    gate.wait();
    line.runtime.stop();
  }};

  EXPECT_FALSE(line.stream.next());

  stopper.join();
  EXPECT_TRUE(line.stream.ended());
}

TEST_P(Stop, WakesACommanderThatWaitsForACredit) {
  std::atomic<std::uint64_t> calls{0};
  auto count = [&calls]() -> std::optional<Number> { return Number{calls++}; };
  Line<Number> line{placed(GetParam(), {"work"}, {{"in_flight", "3"}}), count, same};
  const auto held = line.stream.next();
  while (calls.load() < 3) std::this_thread::yield();

  line.runtime.stop();

  EXPECT_LE(calls.load(), 3U);
}

TEST_P(Stop, DoesNotWaitForWorkersThatAreBusyAndLook) {
  Shared<Gate> busy_gate;
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{},
                    [gate = busy_gate.get()](const Number& in, Context& context) {
                      gate->open();
                      while (!context.stopping()) busy(100);
                      return in;
                    }};
  line.runtime.start();
  busy_gate->wait(static_cast<std::uint32_t>(GetParam().workers));

  line.runtime.stop();

  EXPECT_FALSE(line.stream.next());
}

TEST_P(Stop, ByTheCommanderEndsTheStream) {
  Runtime* runtime = nullptr;
  auto stop_at_50 = [&runtime, next = std::uint64_t{0}]() mutable -> std::optional<Number> {
    if (next == 50) runtime->stop();
    return Number{next++};
  };
  Line<Number> line{placed(GetParam(), {"work"}), stop_at_50, same};
  runtime = &line.runtime;

  std::uint64_t items = 0;
  while (line.stream.next()) ++items;

  EXPECT_LE(items, 50U);
  EXPECT_TRUE(line.stream.ended());
}

TEST_P(Stop, AgainDoesNothing) {
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, same};
  line.stream.next();

  line.runtime.stop();
  line.runtime.stop();

  EXPECT_FALSE(line.stream.next());
}

TEST_P(Stop, ByManyThreadsAtOnceReturnsToAll) {
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, same};
  line.stream.next();
  std::vector<std::thread> stoppers;
  for (int i = 0; i < 4; ++i) stoppers.emplace_back([&] { line.runtime.stop(); });
  for (std::thread& stopper : stoppers) stopper.join();

  EXPECT_EQ(line.runtime.worker_pids().size(), 0U);
}

TEST_P(Stop, BeforeTheStartMakesAnEndedStream) {
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, same};
  line.runtime.stop();

  EXPECT_FALSE(line.stream.next());
  EXPECT_FALSE(line.stream.try_next());
}

TEST_P(Stop, RightAfterTheStart) {
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, same};
  line.runtime.start();
  line.runtime.stop();
}

TEST_P(Stop, RightAfterTheStartManyTimes) {
  for (int round = 0; round < (GetParam().is_spawned() ? 6 : 20); ++round) {
    Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, same};
    line.runtime.start();
    if (round % 2 == 0) line.stream.next();
  }
}

TEST_P(Stop, WhileAStartIsUnderWay) {
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, same};
  std::thread stopper{[&] { line.runtime.stop(); }};
  while (line.stream.next()) {}
  stopper.join();
  EXPECT_TRUE(line.stream.ended());
}

TEST_P(Stop, OfABodyThatStartsForLong) {
  struct SlowStart {
    Gate* gate;
    void start(Context& context) {
      gate->open();
      while (!context.stopping()) busy(100);
    }
    Number operator()(const Number& in) { return in; }
  };
  Shared<Gate> gate;
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, SlowStart{gate.get()}};
  line.runtime.start();
  gate->wait();

  line.runtime.stop();
}

TEST_P(Stop, ByABodyEndsTheStream) {
  Runtime* runtime = nullptr;
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, [&runtime](const Number& in) {
                      if (in.value == 50) runtime->stop();
                      return in;
                    }};
  runtime = &line.runtime;

  while (line.stream.next()) {}

  EXPECT_TRUE(line.stream.ended());
}

TEST_P(Stop, ByTheStartOfABodyEndsTheStream) {
  struct Starts {
    Runtime** runtime;
    void start() { (*runtime)->stop(); }
    Number operator()(const Number& in) { return in; }
  };
  Runtime* runtime = nullptr;
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, Starts{&runtime}};
  runtime = &line.runtime;

  while (line.stream.next()) {}

  EXPECT_TRUE(line.stream.ended());
}

// Bodies may refer to what was made after the Runtime, and is gone before it.
TEST_P(Stop, DestroysTheBodies) {
  auto held = std::make_shared<int>(7);
  const std::weak_ptr<int> watched = held;
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{},
                    [held](const Number& in) { return Number{in.value + static_cast<std::uint64_t>(*held)}; }};
  held.reset();
  const auto item = line.stream.next();
  EXPECT_FALSE(watched.expired());

  line.runtime.stop();

  EXPECT_TRUE(watched.expired());
  EXPECT_EQ((*item)->value, 7U);
}

TANDEM_FOR_ALL_PLACES_AND_SPAWNED(Stop);

class StopOfProcesses : public PlacedTest {};

TEST_P(StopOfProcesses, KillsThoseThatStayBusyForLongerThanTheGrace) {
  Shared<Gate> busy_gate;
  Line<Number> line{placed(GetParam(), {"work"}, {{"grace", "20 ms"}}), CountForEver{},
                    [gate = busy_gate.get()](const Number& in) {
                      gate->open();
                      for (;;) busy(1'000'000);
                      return in;
                    }};
  line.runtime.start();
  busy_gate->wait(static_cast<std::uint32_t>(GetParam().workers));
  const auto begin = Clock::now();

  line.runtime.stop();

  EXPECT_LT(Clock::now() - begin, kPromptly);
  EXPECT_EQ(line.runtime.worker_pids().size(), 0U);
}

TEST_P(StopOfProcesses, LetsABodyFinishWithinTheGrace) {
  struct Ends {
    Gate* ended;
    Ends(Gate* gate) : ended{gate} {}
    Number operator()(const Number& in) { return in; }
    ~Ends() { ended->open(); }
  };
  Shared<Gate> ended;
  {
    Line<Number> line{placed(GetParam(), {"work"}, {{"grace", "10 s"}, {"node.work.spares", "0"}}),
                      CountForEver{}, Ends{ended.get()}};
    for (int i = 0; i < 100; ++i) line.stream.next();
    const std::uint32_t before = ended->count();
    line.runtime.stop();
    EXPECT_EQ(ended->count() - before,
              static_cast<std::uint32_t>(GetParam().workers) + 1);  // and the node's own
  }
}

TANDEM_FOR_PROCESSES(StopOfProcesses);

}  // namespace
}  // namespace tandem::test
