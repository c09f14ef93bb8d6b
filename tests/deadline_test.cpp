// Bodies on threads that run past their deadline: nothing can end them, but somebody is told.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using testing::HasSubstr;

constexpr const char* kOverrun = "has run longer than its deadline";

Config watched(int workers, const char* deadline) {
  return placed({"thread", workers}, {"work"}, {{"node.work.deadline", deadline}});
}

std::vector<std::string> overruns() {
  std::vector<std::string> lines = log_lines();
  std::erase_if(lines, [](const std::string& line) { return line.find(kOverrun) == line.npos; });
  return lines;
}

std::string message(std::uint64_t sequence) { return ": message " + std::to_string(sequence) + " " + kOverrun; }

// Threads of this process that watch deadlines.
int watching_threads() {
  int count = 0;
  for (const auto& thread : std::filesystem::directory_iterator{"/proc/self/task"}) {
    std::ifstream file{thread.path() / "comm"};
    std::string name;
    std::getline(file, name);
    if (name == "tandem:watch") ++count;
  }
  return count;
}

class DeadlineOnThreads : public TandemTest, public testing::WithParamInterface<int> {};

TEST_P(DeadlineOnThreads, IsToldOnceAndWithTheThreadWhileTheBodyRuns) {
  Gate gate;
  std::atomic<pid_t> thread{0};
  std::atomic<int> worker{-1};
  Line<Number> line{watched(GetParam(), "20 ms"), CountTo{3}, [&](const Number& in, Context& context) {
                      if (in.value == 1) {
                        worker = context.worker();
                        thread = gettid();
                        gate.wait();
                      }
                      return in;
                    }};
  line.runtime.start();
  const std::string text = wait_log_line(message(1));
  gate.open();

  std::uint64_t next = 0;
  for (const auto& item : line.stream) ASSERT_EQ(item->value, next++);
  EXPECT_EQ(next, 3U);
  EXPECT_EQ(text,
            "node 'work', worker " + std::to_string(worker) + " (thread " + std::to_string(thread) +
                "): message 1 has run longer than its deadline of 20 ms; nothing can end a body on a thread: "
                "place the node in processes, where it would be ended and tried again");
  line.runtime.stop();
  const std::vector<std::string> lines = overruns();  // a crowded machine may hold up the others too
  EXPECT_EQ(std::count(lines.begin(), lines.end(), text), 1);
}

TEST_P(DeadlineOnThreads, IsToldForEachWorkerThatOverruns) {
  Gate gate;
  const auto all = static_cast<std::uint64_t>(GetParam());
  Line<Number> line{watched(GetParam(), "5 ms"), CountTo{all}, [&](const Number& in) {
                      gate.wait();
                      return in;
                    }};
  line.runtime.start();
  for (std::uint64_t sequence = 0; sequence < all; ++sequence) wait_log_line(message(sequence));
  gate.open();
  line.graph.wait_for_all();
  line.runtime.stop();
  EXPECT_EQ(overruns().size(), all);
}

// A message that goes on while others are told about is looked at again and again meanwhile.
TEST_P(DeadlineOnThreads, IsNotToldAgainWhileTheBodyGoesOn) {
  if (GetParam() == 1) return;
  Gate gate;
  std::atomic<std::uint64_t> told{0};
  Line<Number> line{watched(GetParam(), "2 ms"), CountTo{5}, [&](const Number& in) {
                      if (in.value == 0) gate.wait();
                      if (in.value > 0) wait_log_line(message(in.value));
                      if (in.value > 0 && ++told == 4) gate.open();
                      return in;
                    }};
  line.runtime.start();
  line.graph.wait_for_all();
  line.runtime.stop();
  EXPECT_EQ(overruns().size(), 5U);
}

TEST_P(DeadlineOnThreads, OfNoTimeAtAllIsToldAtMostOnceForEachMessage) {
  constexpr std::uint64_t kAll = 3000;
  Line<Number> line{watched(GetParam(), "1 ns"), CountTo{kAll}, [](const Number& in) {
                      busy(in.value % 100 == 0 ? 1'000'000 : 100);
                      return in;
                    }};
  for (const auto& item : line.stream) static_cast<void>(item);
  line.runtime.stop();
  std::set<std::string> told;
  for (const std::string& text : overruns())
    EXPECT_TRUE(told.insert(text.substr(text.find("): "))).second) << text;
}

TEST_P(DeadlineOnThreads, IsNotMentionedWhenBodiesAreQuick) {
  Line<Number> line{watched(GetParam(), "1 h"), CountTo{500}, [](const Number& in) { return in; }};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) ASSERT_EQ(item->value, next++);
  EXPECT_EQ(next, 500U);
  line.runtime.stop();
  EXPECT_EQ(log_lines(), std::vector<std::string>{});
}

TEST_P(DeadlineOnThreads, ThatABodyOverrunsLetsStopEndTheRun) {
  Line<Number> line{watched(GetParam(), "5 ms"), CountForEver{}, [](const Number& in, Context& context) {
                      while (!context.stopping()) busy(100);
                      return in;
                    }};
  line.runtime.start();
  wait_log_line(kOverrun);
  line.runtime.stop();
  EXPECT_FALSE(line.stream.next());
  EXPECT_EQ(line.runtime.live_messages(), 0U);
}

TEST_P(DeadlineOnThreads, TakesOneThreadAndOnlyDuringTheRun) {
  Line<Number> line{watched(GetParam(), "20 s"), CountForEver{}, [](const Number& in) { return in; }};
  EXPECT_EQ(watching_threads(), 0);
  line.stream.next();
  // It gives itself its name when it first runs.
  while (watching_threads() == 0) std::this_thread::yield();
  EXPECT_EQ(watching_threads(), 1);
  line.runtime.stop();
  // A joined thread is in /proc until the kernel has taken it down, which is shortly after the join.
  while (watching_threads() != 0) std::this_thread::yield();
}

TEST_P(DeadlineOnThreads, ThatIsNotSetTakesNoThread) {
  Line<Number> line{placed({"thread", GetParam()}, {"work"}), CountTo{100},
                    [](const Number& in) { return in; }};
  while (line.stream.next()) EXPECT_EQ(watching_threads(), 0);
}

INSTANTIATE_TEST_SUITE_P(, DeadlineOnThreads, testing::Values(1, 2, 8));

}  // namespace
}  // namespace tandem::test
