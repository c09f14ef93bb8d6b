// Ctrl-C on a terminal, at moments that nobody chose: the program ends by SIGINT, as if it had no workers. Nothing
// is left of it, the terminal is as it was, and what stands on it is what the program has written, and at most one
// line of Tandem's.
// labels: no_tsan
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <string>

#include <spdlog/spdlog.h>

#include "support/line.hpp"
#include "support/sanitized.hpp"
#include "support/tandem_test.hpp"
#include "support/terminal.hpp"

namespace tandem::test {
namespace {

// ---- the programs -------------------------------------------------------------------------------------------

void say(char letter) {
  if (write(STDOUT_FILENO, &letter, 1) != 1) _exit(3);
}

// What Tandem has to say shall be seen on the terminal, as with any program.
void log_to_terminal() { spdlog::drop("tandem"); }

struct SlowStart {
  std::uint64_t start_steps;
  void start() const { busy(start_steps); }
  Number operator()(const Number& in) const {
    busy(20'000);
    return in;
  }
};

// Items for ever.
int stream(const Place& place, std::uint64_t start_steps) {
  log_to_terminal();
  Line<Number> line{placed(place, {"work"}), CountForEver{}, SlowStart{start_steps}};
  for (const auto& item : line.stream) say(item.ok() ? 'i' : 'w');
  return 0;
}
HOST_PROGRAM(in_processes) { return stream({"process", 2}, 0); }
HOST_PROGRAM(in_processes_slow_start) { return stream({"process", 2}, 3'000'000); }
HOST_PROGRAM(in_threads) { return stream({"thread", 2}, 0); }

// One short run after the other, so that most moments are at a start or a stop.
int start_and_stop(const char* placement) {
  log_to_terminal();
  for (std::uint64_t run = 0;; ++run) {
    Line<Number> line{placed({placement, 2}, {"work"}), CountForEver{}, SlowStart{100'000}};
    for (std::uint64_t items = run % 3; items > 0; --items) {
      if (!line.stream.next()) return 0;
    }
    say('s');
    line.runtime.stop();
  }
}
HOST_PROGRAM(starts_and_stops_processes) { return start_and_stop("process"); }
HOST_PROGRAM(starts_and_stops_threads) { return start_and_stop("thread"); }

// Bodies that never end, and do not care whether the run does.
int endless(const char* placement) {
  log_to_terminal();
  Line<Number> line{placed({placement, 2}, {"work"}), CountForEver{}, [](const Number& in) {
                      say('b');
                      for (;;) busy(1000);
                      return in;
                    }};
  line.stream.next();
  return 0;
}
HOST_PROGRAM(endless_in_processes) { return endless("process"); }
HOST_PROGRAM(endless_in_threads) { return endless("thread"); }

// A program that has a handler of its own, and decides by itself: it goes on until it has been asked three times.
std::atomic<int> asked{0};
HOST_PROGRAM(decides_by_itself) {
  log_to_terminal();
  struct sigaction action {};
  action.sa_handler = [](int) { ++asked; };
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  Line<Number> line{placed({"process", 2}, {"work"}), CountForEver{}, SlowStart{0}};
  std::uint64_t next = 0;
  int seen = 0;
  for (const auto& item : line.stream) {
    if (!item.ok() || item.sequence() != next || item->value != next || item.attempt() != 1) return 4;
    ++next;
    say('i');
    for (; seen < asked; ++seen) say('h');
    if (seen >= 3) break;
  }
  return seen == 3 ? 42 : 5;
}

// A child of the program's that is no program of its own has the handler, and nobody who acts on it. Returns how it ended.
HOST_PROGRAM(has_a_child) {
  Line<Number> line{placed({"process", 1}, {"work"}), CountForEver{}, SlowStart{0}};
  line.stream.next();
  const pid_t child = fork();
  if (child == 0) {
    for (;;) pause();
  }
  kill(child, SIGINT);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 99;
}

// In a container the program may be the first process, which the kernel spares signals with their default effect.
constexpr int kNotAllowed = 77;
HOST_PROGRAM(first_of_its_namespace) {
  if (unshare(CLONE_NEWPID) != 0) return kNotAllowed;
  const pid_t first = fork();
  if (first == 0) {
    Line<Number> line{placed({"process", 1}, {"work"}), CountForEver{}, SlowStart{0}};
    line.stream.next();
    kill(getpid(), SIGINT);
    for (const auto& item : line.stream) busy(item.ok() ? 1 : 2);
    _exit(98);
  }
  int status = 0;
  waitpid(first, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

// ---- what must hold of each ---------------------------------------------------------------------------------

// Letters of the program, and no more than one line that is Tandem's.
bool is_quiet(const std::string& output) {
  static constexpr const char* kLetters = "ibsh";
  if (std::count(output.begin(), output.end(), '\n') == 0) {
    return output.find_first_not_of(kLetters) == std::string::npos;
  }
  const std::size_t line = output.find_first_not_of(kLetters);
  const std::size_t end = output.find('\n');
  return output.find("[tandem]") < end && line < end && end == output.rfind('\n') &&
         output.find_first_not_of(kLetters, end + 1) == std::string::npos;
}

class Interrupt : public TandemTest {
 protected:
  static constexpr double kPatienceSeconds = 20;

  static void expect_nothing_left(Terminal& terminal) {
    EXPECT_EQ(describe(terminal.wait_gone()), "none");
    EXPECT_TRUE(terminal.is_as_before());
    EXPECT_TRUE(is_quiet(terminal.output())) << terminal.output();
  }
  static void expect_ended_by_interrupt(Terminal& terminal) {
    const auto status = terminal.wait_end(kPatienceSeconds);
    ASSERT_TRUE(status) << "it goes on";
    EXPECT_TRUE(WIFSIGNALED(*status) && WTERMSIG(*status) == SIGINT) << "status " << *status;
    expect_nothing_left(terminal);
  }
  // letters: that the program writes before; steps: some time later.
  static void interrupt(const char* program, std::size_t letters, std::uint64_t steps) {
    SCOPED_TRACE(std::string{program} + " after " + std::to_string(letters) + " letters, " +
                 std::to_string(steps) + " steps");
    Terminal terminal{program};
    ASSERT_TRUE(terminal.wait_output(letters)) << terminal.output();
    busy(steps);
    terminal.press_ctrl_c();
    expect_ended_by_interrupt(terminal);
  }
  static constexpr int kTimes = kSanitized ? 5 : 12;
};

TEST_F(Interrupt, InMidStreamEndsTheProgramAndLeavesNothing) {
  std::mt19937_64 random = random_generator();
  for (int time = 0; time < kTimes && !HasFailure(); ++time) {
    interrupt(time % 4 == 0 ? "in_threads" : "in_processes", 1 + random() % 100, random() % 1'000'000);
  }
}

TEST_F(Interrupt, DuringTheStartEndsTheProgramAndLeavesNothing) {
  std::mt19937_64 random = random_generator();
  for (int time = 0; time < kTimes && !HasFailure(); ++time) {
    interrupt("in_processes_slow_start", 0, random() % 40'000'000);
  }
}

TEST_F(Interrupt, DuringTheStopEndsTheProgramAndLeavesNothing) {
  std::mt19937_64 random = random_generator();
  for (int time = 0; time < kTimes && !HasFailure(); ++time) {
    interrupt(time % 4 == 0 ? "starts_and_stops_threads" : "starts_and_stops_processes", 1 + random() % 10,
              random() % 3'000'000);
  }
}

// Once for all, or a second time for what does not end at once.
TEST_F(Interrupt, EndsBodiesThatNeverEnd) {
  for (const char* const program : {"endless_in_processes", "endless_in_threads"}) {
    SCOPED_TRACE(program);
    Terminal terminal{program};
    ASSERT_TRUE(terminal.wait_output(2));
    terminal.press_ctrl_c();
    if (!terminal.wait_end(2)) terminal.press_ctrl_c();
    expect_ended_by_interrupt(terminal);
  }
}

TEST_F(Interrupt, IsTheProgramsOwnBusinessIfItHasAHandler) {
  Terminal terminal{"decides_by_itself"};
  std::size_t letters = 20;
  for (int time = 0; time < 3; ++time, letters += 20) {
    ASSERT_TRUE(terminal.wait_output(letters)) << terminal.output();
    terminal.press_ctrl_c();
    if (time == 2) break;
    // Until it has heard of it: two before it looks would count as one.
    for (std::string seen; std::count(seen.begin(), seen.end(), 'h') <= time; seen = terminal.output()) {
      ASSERT_TRUE(terminal.wait_output(seen.size() + 1)) << seen;
    }
    letters = terminal.output().size();
  }
  const auto status = terminal.wait_end(kPatienceSeconds);
  ASSERT_TRUE(status) << "it goes on";
  EXPECT_TRUE(WIFEXITED(*status) && WEXITSTATUS(*status) == 42) << "status " << *status;
  expect_nothing_left(terminal);
}

int status_of(const char* program) {
  const pid_t host = start_host_program(program, STDOUT_FILENO);
  int status = 0;
  waitpid(host, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

TEST_F(Interrupt, OfAChildOfTheProgramEndsTheChild) { EXPECT_EQ(status_of("has_a_child"), SIGINT); }

TEST_F(Interrupt, EndsTheFirstProcessOfANamespace) {
  if (kSanitized) GTEST_SKIP() << "the leak checker finds no /proc of its own there";
  const int status = status_of("first_of_its_namespace");
  if (status == kNotAllowed) GTEST_SKIP() << "this user may not make a namespace of processes";
  EXPECT_EQ(status, 128 + SIGINT);
}

// The other tests count on it.
TEST(InterruptOutput, IsNoiseIfItIsNotTheProgramsAndMoreThanALine) {
  EXPECT_TRUE(is_quiet(""));
  EXPECT_TRUE(is_quiet("biiis"));
  EXPECT_TRUE(is_quiet("iii[2026-01-01] [tandem] [warning] text\n"));
  EXPECT_TRUE(is_quiet("iii[2026-01-01] [tandem] [warning] text\nsss"));
  EXPECT_FALSE(is_quiet("iiiw"));
  EXPECT_FALSE(is_quiet("iii\n"));
  EXPECT_FALSE(is_quiet("terminate called\n"));
  EXPECT_FALSE(is_quiet("[tandem] one\n[tandem] two\n"));
}

}  // namespace
}  // namespace tandem::test
