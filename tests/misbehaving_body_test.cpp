// Bodies that do what bodies do: take signals, change their process, throw what is no exception, end in ways of
// their own. The message is right or an error that names the cause, the stream goes on, stop() returns, and nothing
// is left. What runtime/README.md says of such bodies is tested here and in body_children_test.cpp.
// labels: no_tsan
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <ostream>
#include <string>
#include <thread>
#include <tuple>

#include "support/line.hpp"
#include "support/reply_area.hpp"
#include "support/squares.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using testing::StartsWith;

struct Act {
  const char* name;
  void (*perform)();
};
void PrintTo(const Act& act, std::ostream* out) { *out << act.name; }

using ActAndPlace = std::tuple<Act, Place>;
std::string act_name(const testing::TestParamInfo<ActAndPlace>& case_info) {
  const Place& place = std::get<1>(case_info.param);
  return std::string{std::get<0>(case_info.param).name} + "_" + place.placement + "_" +
         std::to_string(place.workers);
}

// ---- what a body may do, and nothing happens -----------------------------------------------------------------

const Act kHarmlessEverywhere[] = {
    {"RunsAProgram",
     [] {
       if (std::system("true") != 0) complain("system");
     }},
    {"ReadsWhatAProgramPrints",
     [] {
       std::FILE* const pipe = popen("echo 4711", "re");
       int number = 0;
       if (pipe == nullptr || std::fscanf(pipe, "%d", &number) != 1 || number != 4711) complain("popen");
       if (pclose(pipe) != 0) complain("pclose");
     }},
    {"WaitsForAChild",
     [] {
       const pid_t child = fork();
       if (child == 0) _exit(7);
       int status = 0;
       if (child < 0 || waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 7) complain("waitpid");
     }},
    {"ChangesItsDirectoryAndMask",
     [] {
       if (chdir("/") != 0) complain("chdir");
       umask(0777);
     }},
    {"KeepsMemory",
     [] {
       void* const memory =
           mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
       if (memory == MAP_FAILED) complain("mmap");
     }},
};

void close_all() {
  for (int number = 0; number < 1024; ++number) close(number);
}

const Act kHarmlessInProcesses[] = {
    {"ClosesAllDescriptors", close_all},
    {"ClosesARangeOfDescriptors", [] { close_range(0, ~0U, 0); }},
    {"ClosesStandardOutput", [] { std::fclose(stdout); }},
    {"IgnoresSignals",
     [] {
       for (const int number : {SIGTERM, SIGCHLD, SIGPIPE, SIGHUP, SIGUSR1}) signal(number, SIG_IGN);
     }},
    {"HandlesSignals",
     [] {
       for (const int number : {SIGSEGV, SIGTERM, SIGCHLD, SIGPIPE, SIGINT, SIGALRM})
         signal(number, [](int) {});
       raise(SIGTERM);
     }},
    {"BlocksAllSignals",
     [] {
       sigset_t all;
       sigfillset(&all);
       sigprocmask(SIG_SETMASK, &all, nullptr);
     }},
    {"ChangesItsEnvironmentAndLocale",
     [] {
       clearenv();
       setlocale(LC_ALL, "C.UTF-8");
     }},
    {"LeavesAChildUnwaitedFor",
     [] {
       const pid_t child = fork();
       if (child == 0) _exit(0);
       if (child < 0) complain("fork");
     }},
    {"MakesItselfASession", [] { setsid(); }},
    {"LowersItsPriority", [] { setpriority(PRIO_PROCESS, 0, 19); }},
    {"TakesAwayItsLimits",
     [] {
       const rlimit none{0, 0};
       for (const auto what : {RLIMIT_NOFILE, RLIMIT_FSIZE, RLIMIT_NPROC, RLIMIT_CORE, RLIMIT_MEMLOCK})
         setrlimit(what, &none);
     }},
    {"LeavesNoDump", [] { prctl(PR_SET_DUMPABLE, 0); }},
    {"ForgetsItsParent", [] { prctl(PR_SET_PDEATHSIG, 0); }},
    {"RenamesItself", [] { prctl(PR_SET_NAME, "other"); }},
    {"ChangesItsUser",
     [] {
       if (getuid() == 0 && setresuid(65534, 65534, 65534) != 0) complain("setresuid");
     }},
};

// What bodies on threads change is the test's own.
class Surroundings {
 public:
  ~Surroundings() {
    std::filesystem::current_path(directory_);
    umask(mask_);
  }

 private:
  static mode_t current_mask() {
    const mode_t mask = umask(0);
    umask(mask);
    return mask;
  }
  std::filesystem::path directory_ = std::filesystem::current_path();
  mode_t mask_ = current_mask();
};

class HarmlessAct : public TandemTest, public testing::WithParamInterface<ActAndPlace> {};

TEST_P(HarmlessAct, ChangesNoResult) {
  const Surroundings surroundings;
  const auto& [act, place] = GetParam();
  Line<Number> line{placed(place, {"work"}), CountTo{kAll},
                    [perform = act.perform](const Number& in, Context& context) {
                      if (acts_at(in) && context.attempt() == 1) perform();
                      return square(in);
                    }};
  expect_all_squares(line.take_all());
  expect_nothing_lent(line.runtime);
}

INSTANTIATE_TEST_SUITE_P(Everywhere, HarmlessAct,
                         testing::Combine(testing::ValuesIn(kHarmlessEverywhere),
                                          testing::Values(Place{"thread", 1}, Place{"thread", 2},
                                                          Place{"thread", 8}, Place{"process", 1},
                                                          Place{"process", 2}, Place{"process", 8})),
                         act_name);
INSTANTIATE_TEST_SUITE_P(InProcesses, HarmlessAct,
                         testing::Combine(testing::ValuesIn(kHarmlessInProcesses),
                                          testing::Values(Place{"process", 1}, Place{"process", 2},
                                                          Place{"process", 8})),
                         act_name);

// ---- what ends a worker: an error that names it --------------------------------------------------------------

[[gnu::noinline]] std::uint64_t recurse(std::uint64_t depth) {
  volatile char frame[4096];
  frame[0] = static_cast<char>(depth);
  return depth == ~std::uint64_t{0} ? 0 : recurse(depth + 1) + static_cast<std::uint64_t>(frame[0]);
}

[[gnu::no_sanitize("address", "undefined")]] void write_to_null() {
  int* volatile nowhere = nullptr;
  *const_cast<volatile int*>(nowhere) = 1;
}

struct Death {
  const char* name;
  void (*die)();
  const char* reason;
};
void PrintTo(const Death& death, std::ostream* out) { *out << death.name; }

const Death kDeaths[] = {
    {"QuickExit", [] { std::quick_exit(3); }, "exited with status 3"},
    {"ExitInAThreadOfItsOwn", [] { std::thread{[] { std::exit(3); }}.join(); }, "exited with status 3"},
    {"PthreadExit", [] { pthread_exit(nullptr); }, "killed by signal 6 (SIGABRT)"},
    {"AlarmClock",
     [] {
       const itimerval soon{{0, 0}, {0, 1000}};
       setitimer(ITIMER_REAL, &soon, nullptr);
       for (;;) pause();
     },
     "killed by signal 14 (SIGALRM)"},
    {"WriteToAClosedPipe",
     [] {
       signal(SIGPIPE, SIG_DFL);
       int ends[2];
       if (pipe(ends) != 0) complain("pipe");
       close(ends[0]);
       [[maybe_unused]] const auto written = write(ends[1], "x", 1);
     },
     "killed by signal 13 (SIGPIPE)"},
    {"FileLargerThanItsLimit",
     [] {
       const rlimit none{0, 0};
       setrlimit(RLIMIT_FSIZE, &none);
       const int file = memfd_create("large", MFD_CLOEXEC);
       [[maybe_unused]] const auto written = write(file, "x", 1);
     },
     "killed by signal 25 (SIGXFSZ)"},
    {"StackOverflow",
     [] {
       crash_plainly();
       recurse(0);
     },
     "killed by signal 11 (SIGSEGV)"},
    {"WriteToNull",
     [] {
       crash_plainly();
       write_to_null();
     },
     "killed by signal 11 (SIGSEGV)"},
    {"IllegalInstruction",
     [] {
       crash_plainly();
       __builtin_trap();
     },
     "killed by signal 4 (SIGILL)"},
    {"UnmappedSharedMemory",
     [] {
       crash_plainly();
       const ReplyArea area{1};
       munmap(area.area(), area.bytes());
     },
     "killed by signal 11 (SIGSEGV)"},
    {"AnotherProgram", [] { execl("/bin/true", "true", nullptr); }, "exited with status 0"},
    {"Daemon",
     [] {
       crash_plainly();  // for the child, which comes back from here, too
       if (daemon(1, 1) != 0) complain("daemon");
     },
     "exited with status 0"},
#ifndef __SANITIZE_ADDRESS__  // which checks this itself
    {"FreedTwice",
     [] {
       void* volatile memory = std::malloc(64);
       std::free(memory);
       void* const again = memory;
       std::free(again);
     },
     "killed by signal 6 (SIGABRT)"},
#endif
};

class DeadlyAct : public TandemTest, public testing::WithParamInterface<std::tuple<Death, int>> {};

TEST_P(DeadlyAct, IsAnErrorThatNamesTheCause) {
  const auto& [death, workers] = GetParam();
  Line<Number> line{placed({"process", workers}, {"work"}, {{"node.work.attempts", "2"}}), CountTo{kAll},
                    [die = death.die](const Number& in) {
                      if (in.value == kBad) die();
                      return square(in);
                    }};
  expect_only_bad_fails(line.take_all(), death.reason, 2);
  expect_nothing_lent(line.runtime);
}

INSTANTIATE_TEST_SUITE_P(, DeadlyAct, testing::Combine(testing::ValuesIn(kDeaths), testing::Values(1, 2, 8)),
                         [](const auto& case_info) {
                           return std::string{std::get<0>(case_info.param).name} + "_" +
                                  std::to_string(std::get<1>(case_info.param));
                         });

// ---- what is thrown and is no std::exception -----------------------------------------------------------------

struct Silent : std::exception {
  const char* what() const noexcept override { return nullptr; }
};
struct Odd {
  int number;
};

class ThrownByABody : public PlacedTest {
 protected:
  template <class Throw>
  void expect_reason(Throw thrower, const std::string& reason) {
    Line<Number> line{placed(GetParam(), {"work"}), CountTo{kAll}, [thrower](const Number& in) {
                        if (in.value == kBad) thrower();
                        return square(in);
                      }};
    expect_only_bad_fails(line.take_all(), reason, 1);
    expect_nothing_lent(line.runtime);
  }
};

TEST_P(ThrownByABody, TextIsAnErrorThatNamesItsType) {
  expect_reason([] { throw "no such patch"; }, "threw char const*, which is no std::exception");
}

TEST_P(ThrownByABody, TypeOfItsOwnIsAnErrorThatNamesIt) {
  expect_reason([] { throw Odd{3}; },
                "threw tandem::test::(anonymous namespace)::Odd, which is no std::exception");
}

TEST_P(ThrownByABody, ExceptionWithoutATextIsAnErrorThatNamesItsType) {
  expect_reason([] { throw Silent{}; }, "threw tandem::test::(anonymous namespace)::Silent, which has no text");
}

TANDEM_FOR_ALL_PLACES(ThrownByABody);

// ---- signals -------------------------------------------------------------------------------------------------

class Signals : public PlacedTest {
 protected:
  static void refuse_all() {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    for (int number = 1; number < NSIG; ++number) signal(number, SIG_IGN);
  }
};

TEST_P(Signals, RefusedByABodyThatNeverEndsDoNotHoldUpStop) {
  Shared<Gate> at_work;
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, [gate = at_work.get()](const Number& in) {
                      refuse_all();
                      gate->open();
                      for (;;) pause();
                      return in;
                    }};
  line.runtime.start();
  ASSERT_TRUE(at_work->wait(static_cast<std::uint32_t>(GetParam().workers)));
  expect_nothing_lent(line.runtime);
}

TEST_P(Signals, RefusedByABodyThatNeverEndsDoNotKeepItFromItsDeadline) {
  Line<Number> line{
      placed(GetParam(), {"work"}, {{"node.work.attempts", "2"}, {"node.work.deadline", "200 ms"}}),
      CountTo{kAll}, [](const Number& in) {
        if (in.value == kBad) {
          refuse_all();
          for (;;) pause();
        }
        return square(in);
      }};
  expect_only_bad_fails(line.take_all(), StartsWith("ran longer than its deadline of 200 ms and was killed"),
                        2);
}

TEST_P(Signals, ThatABodyStopsItselfWithEndAtTheDeadline) {
  Line<Number> line{
      placed(GetParam(), {"work"}, {{"node.work.attempts", "2"}, {"node.work.deadline", "200 ms"}}),
      CountTo{kAll}, [](const Number& in) {
        if (in.value == kBad) raise(SIGSTOP);
        return square(in);
      }};
  expect_only_bad_fails(line.take_all(), StartsWith("ran longer than its deadline of 200 ms and was killed"),
                        2);
}

// It fires in some later message, or in none. There are six timers, and all may hit the same message.
TEST_P(Signals, OfATimerThatABodyLeftCostAnAttemptAtMost) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"node.work.attempts", "7"}}), CountTo{kAll},
                    [](const Number& in, Context& context) {
                      if (acts_at(in) && context.attempt() == 1) {
                        const itimerval soon{{0, 0}, {0, 500}};
                        setitimer(ITIMER_REAL, &soon, nullptr);
                      }
                      busy(200'000);
                      return square(in);
                    }};
  expect_all_squares(line.take_all());
  expect_nothing_lent(line.runtime);
}

TANDEM_FOR_PROCESSES(Signals);

// ---- threads -------------------------------------------------------------------------------------------------

class ThreadOfABody : public PlacedTest {};

TEST_P(ThreadOfABody, ThatGoesOnHoldsUpNobody) {
  struct Gates {
    Gate alive, leave, left;
  };
  Shared<Gates> gates;
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{kAll}, [gates = gates.get()](const Number& in) {
                      if (in.value == kBad) {
                        std::thread{[gates] {
                          gates->alive.open();
                          gates->leave.wait();
                          gates->left.open();
                        }}.detach();
                        gates->alive.wait();
                      }
                      return square(in);
                    }};
  expect_all_squares(line.take_all());
  expect_nothing_lent(line.runtime);

  EXPECT_EQ(gates->left.count(), 0U) << "stop() waited for it";
  gates->leave.open();
  if (!GetParam().is_process()) { EXPECT_TRUE(gates->left.wait()); }
}

TANDEM_FOR_ALL_PLACES(ThreadOfABody);

// ---- what a body changes is its own worker's -----------------------------------------------------------------

class Host : public TandemTest {};

TEST_F(Host, KeepsItsOwnOfWhatBodiesChangeInTheirProcesses) {
  const auto here = std::filesystem::current_path();
  const std::string locale = setlocale(LC_ALL, nullptr);
  setenv("TANDEM_OF_THE_HOST", "1", 1);
  Line<Number> line{placed({"process", 2}, {"work"}), CountTo{kAll}, [](const Number& in) {
                      if (chdir("/") != 0) complain("chdir");
                      umask(0777);
                      clearenv();
                      setlocale(LC_ALL, "C.UTF-8");
                      signal(SIGTERM, SIG_IGN);
                      return square(in);
                    }};
  expect_all_squares(line.take_all());

  EXPECT_EQ(std::filesystem::current_path(), here);
  EXPECT_EQ(setlocale(LC_ALL, nullptr), locale);
  EXPECT_STREQ(std::getenv("TANDEM_OF_THE_HOST"), "1");
  EXPECT_EQ(signal(SIGTERM, SIG_DFL), SIG_DFL);
  const mode_t mask = umask(0);
  umask(mask);
  EXPECT_NE(mask, 0777U);
  unsetenv("TANDEM_OF_THE_HOST");
}

}  // namespace
}  // namespace tandem::test
