// Workers that are kept ready: a spare takes the number of a worker that died, and is what a first worker would be.
// labels: no_tsan
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

// What the processes of a node tell of their starts, in the order in which they started.
struct Starts {
  std::atomic<int> count{0};
  std::array<std::atomic<pid_t>, 64> pids{};
  Gate gate;
  int add() {
    const int place = count.fetch_add(1);
    pids[static_cast<std::size_t>(place)] = getpid();
    gate.open();
    return place;
  }
};

struct Out {
  std::uint64_t value;
  int worker;
  pid_t pid;
};

// One that need not know its number in start(), and one that asks for it there.
struct Incurious {
  Starts* starts;
  void start() { starts->add(); }
  Out operator()(const Number& in, Context& context) { return {in.value, context.worker(), getpid()}; }
};
struct Curious {
  Starts* starts;
  int number = -1;
  void start(Context& context) {
    starts->add();
    number = context.worker();
  }
  Out operator()(const Number& in, Context& context) {
    if (number != context.worker()) _exit(9);
    return {in.value, number, getpid()};
  }
};

// Until so many processes of that name sleep: they have said that they are ready.
void wait_asleep(const std::string& name, std::size_t count) {
  for (;;) {
    const std::vector<Process> named = descendants_named(name);
    const auto asleep =
        std::count_if(named.begin(), named.end(), [](const Process& one) { return one.state == 'S'; });
    if (static_cast<std::size_t>(asleep) >= count) return;
    std::this_thread::yield();
  }
}

Out next_of(Line<Out>& line) {
  const auto item = line.stream.next();
  return item && item->ok() ? **item : Out{};
}

template <class Body>
void expect_spare_takes_over() {
  Shared<Starts> starts;
  Line<Out> line{placed({"process", 1}, {"work"}, {{"in_flight", "2"}}), CountForEver{}, Body{starts.get()}};
  const Out before = next_of(line);
  ASSERT_TRUE(starts->gate.wait(2));
  const pid_t spare = starts->pids[1];
  while (line.runtime.spare_pids().empty()) std::this_thread::yield();
  EXPECT_EQ(line.runtime.spare_pids(), std::vector<pid_t>{spare});
  EXPECT_EQ(line.runtime.worker_pids(), std::vector<pid_t>{before.pid});

  kill(before.pid, SIGKILL);

  // At most in_flight items were made before.
  Out after{};
  for (int item = 0; item < 4; ++item) after = next_of(line);
  EXPECT_EQ(after.pid, spare);
  EXPECT_EQ(after.worker, 0);
  EXPECT_TRUE(starts->gate.wait(3)) << "nobody became the next spare";
}

class Spare : public TandemTest {};

TEST_F(Spare, TakesTheNumberOfAWorkerThatDied) { expect_spare_takes_over<Incurious>(); }

TEST_F(Spare, ThatAsksForItsNumberWhenItStartsIsToldWhenItHasOne) { expect_spare_takes_over<Curious>(); }

TEST_F(Spare, IsNotMadeWhenNoneIsWanted) {
  Shared<Starts> starts;
  Line<Out> line{placed({"process", 2}, {"work"}, {{"node.work.spares", "0"}, {"node.work.attempts", "100"}}),
                 CountTo{2000}, Incurious{starts.get()}};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item->value, next++);
    if (next == 500) {
      ASSERT_TRUE(starts->gate.wait(2));
      kill(line.runtime.worker_pids().at(0), SIGKILL);
    }
    ASSERT_TRUE(line.runtime.spare_pids().empty());
  }
  EXPECT_EQ(next, 2000U);
  EXPECT_TRUE(starts->gate.wait(3));
  line.runtime.stop();
  EXPECT_EQ(starts->count, 3);
}

TEST_F(Spare, MoreThanOneTakeOverFromAllWorkersAtOnce) {
  Shared<Starts> starts;
  Line<Out> line{placed({"process", 2}, {"work"}, {{"node.work.spares", "2"}, {"node.work.attempts", "100"}}),
                 CountForEver{}, Incurious{starts.get()}};
  next_of(line);
  ASSERT_TRUE(starts->gate.wait(4));
  wait_asleep("tandem:work#+", 2);
  const std::vector<pid_t> spares = line.runtime.spare_pids();
  const std::vector<pid_t> killed = line.runtime.worker_pids();

  for (const pid_t pid : killed) kill(pid, SIGKILL);

  // At least one of them; the next spare may come before the second end is seen.
  const auto any_of = [](const std::vector<pid_t>& some, const std::vector<pid_t>& all) {
    return std::find_first_of(some.begin(), some.end(), all.begin(), all.end()) != some.end();
  };
  std::vector<pid_t> serving = killed;
  for (int last = 0; (serving.size() < 2 || any_of(serving, killed)) && last < 100'000; ++last) {
    next_of(line);
    serving = line.runtime.worker_pids();
  }
  EXPECT_FALSE(any_of(serving, killed));
  EXPECT_TRUE(any_of(serving, spares));
}

TEST_F(Spare, ThatIsKilledIsReplaced) {
  Shared<Starts> starts;
  Line<Out> line{placed({"process", 1}, {"work"}), CountForEver{}, Incurious{starts.get()}};
  const Out first = next_of(line);
  for (std::uint32_t spare = 2; spare < 12; ++spare) {
    ASSERT_TRUE(starts->gate.wait(spare)) << spare;
    wait_asleep("tandem:work#+", 1);
    kill(starts->pids[spare - 1], SIGKILL);
  }
  ASSERT_TRUE(starts->gate.wait(12));
  EXPECT_EQ(next_of(line).pid, first.pid);
}

TEST_F(Spare, ThatDoesNotStartIsDoneWithout) {
  struct StartsOnce {
    Starts* starts;
    void start() {
      if (starts->add() > 0) throw std::runtime_error("the only licence is taken");
    }
    Out operator()(const Number& in, Context& context) { return {in.value, context.worker(), getpid()}; }
  };
  Shared<Starts> starts;
  Line<Out> line{placed({"process", 1}, {"work"}), CountForEver{}, StartsOnce{starts.get()}};
  for (int item = 0; item < 100; ++item) EXPECT_EQ(next_of(line).worker, 0);

  EXPECT_EQ(wait_log_line("without spare"),
            "node 'work' goes on without spare workers: start: the only licence is taken");
  for (int item = 0; item < 100; ++item) EXPECT_EQ(next_of(line).worker, 0);
}

TEST_F(Spare, ThatWaitsForItsNumberDoesNotHoldUpStop) {
  Shared<Starts> starts;
  Line<Out> line{placed({"process", 1}, {"work"}, {{"grace", "1 h"}}), CountForEver{}, Curious{starts.get()}};
  next_of(line);
  ASSERT_TRUE(starts->gate.wait(2));
  line.runtime.stop();  // would take an hour
}

// The body dies at each message's first attempt, so the spare is wanted again and again, ready or not.
TEST_F(Spare, IsWantedFasterThanItComes) {
  Line<Number> line{placed({"process", 2}, {"work"}, {{"node.work.attempts", "100"}}), CountTo{100},
                    [](const Number& in, Context& context) {
                      if (context.attempt() < 3) _exit(1);
                      return in;
                    }};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) ASSERT_EQ(item->value, next++);
  EXPECT_EQ(next, 100U);
}

// ---- a debugger ----------------------------------------------------------------------------------------------

class Debugger : public TandemTest {};

TEST_F(Debugger, IsWaitedForByTheWorkerThatWasNamed) {
  Shared<Starts> starts;
  Line<Out> line{
      placed({"process", 1}, {"work"}, {{"node.work.wait_for_debugger", "0"}, {"node.work.deadline", "20 ms"}}),
      CountForEver{}, Incurious{starts.get()}};
  line.runtime.start();
  while (line.runtime.worker_pids().empty()) std::this_thread::yield();
  const pid_t worker = line.runtime.worker_pids().at(0);
  EXPECT_EQ(starts->count, 0);

  ASSERT_EQ(ptrace(PTRACE_SEIZE, worker, nullptr, nullptr), 0);
  EXPECT_EQ(next_of(line).pid, worker);
  EXPECT_EQ(starts->pids[0], worker);

  // Held longer than the deadline.
  ASSERT_EQ(ptrace(PTRACE_INTERRUPT, worker, nullptr, nullptr), 0);
  int status = 0;
  ASSERT_EQ(waitpid(worker, &status, __WALL), worker);
  EXPECT_FALSE(line.stream.next_for(std::chrono::milliseconds{100}) &&
               line.stream.next_for(std::chrono::milliseconds{100}) &&
               line.runtime.worker_pids() != std::vector<pid_t>{worker});
  ASSERT_EQ(ptrace(PTRACE_DETACH, worker, nullptr, nullptr), 0);
  EXPECT_EQ(next_of(line).pid, worker);
}

}  // namespace
}  // namespace tandem::test
