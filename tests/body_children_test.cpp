// What a body does beyond its own process: children that live on, files under the numbers that it closed, much
// output, a parent that it forgets. Nobody waits for the children, the user's files stay as they are, and what
// belongs to the host ends with it.
// labels: no_tsan
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/line.hpp"
#include "support/reply_area.hpp"
#include "support/squares.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

// ---- children ------------------------------------------------------------------------------------------------

// Children that stay until the test lets them go. In memory that all share.
struct Children {
  Gate alive;
  Gate leave;
  std::atomic<std::uint32_t> count{0};
  std::array<std::atomic<pid_t>, 16> pids{};

  pid_t fork_one() {
    const pid_t child = fork();
    if (child < 0) complain("fork");
    if (child > 0) return child;
    pids[count.fetch_add(1)] = getpid();
    alive.open();
    leave.wait();
    _exit(0);
  }
  // Those that run, in the state that the fixture would find them in.
  std::vector<Process> running() const {
    std::vector<Process> mine = descendants_of(getpid());
    std::erase_if(mine, [this](const Process& one) {
      return one.state == 'Z' || std::find(pids.begin(), pids.end(), one.pid) == pids.end();
    });
    return mine;
  }
};

std::vector<std::string> shared_memory_of(pid_t pid, bool and_descriptors) {
  std::vector<std::string> found;
  std::ifstream maps{"/proc/" + std::to_string(pid) + "/maps"};
  for (std::string line; std::getline(maps, line);) {
    if (line.find("memfd:tandem") != line.npos) found.push_back(line);
  }
  if (!and_descriptors) return found;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/" + std::to_string(pid) + "/fd"}) {
    const std::string target = std::filesystem::read_symlink(entry.path());
    if (target.find("memfd:tandem") != target.npos) found.push_back(entry.path().string() + " -> " + target);
  }
  return found;
}

class ChildOfABody : public PlacedTest {
 protected:
  static constexpr std::uint32_t kChildren = kAll / 10;
};

TEST_P(ChildOfABody, ThatLivesOnHoldsUpNobody) {
  Shared<Children> children;
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{kAll}, [children = children.get()](const Number& in) {
                      if (acts_at(in)) children->fork_one();
                      return square(in);
                    }};
  expect_all_squares(line.take_all());
  expect_nothing_lent(line.runtime);

  ASSERT_TRUE(children->alive.wait(kChildren));
  EXPECT_EQ(children->running().size(), kChildren) << "they should have outlived the run";
  children->leave.open();
  EXPECT_EQ(describe(wait_gone(children->running(), 5)), "none");
}

TEST_P(ChildOfABody, HasNothingOfTheSharedMemory) {
  Shared<Children> children;
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{kAll}, [children = children.get()](const Number& in) {
                      if (acts_at(in)) children->fork_one();
                      return square(in);
                    }};
  const auto first = line.stream.next();
  expect_square({first->sequence(), **first, {}}, 0);
  ASSERT_TRUE(children->alive.wait());
  ASSERT_FALSE(shared_memory_of(getpid(), true).empty());

  // The host's own child, which a body on a thread forks, does not map it, but has the file until it runs a program.
  for (const Process& child : children->running())
    EXPECT_EQ(shared_memory_of(child.pid, GetParam().is_process()), std::vector<std::string>{});

  children->leave.open();
  while (line.stream.next()) {}
  line.runtime.stop();
  EXPECT_EQ(describe(wait_gone(children->running(), 5)), "none");
}

TANDEM_FOR_ALL_PLACES(ChildOfABody);

class ChildOfAWorker : public PlacedTest {};

TEST_P(ChildOfAWorker, DoesNotHideTheWorkersEnd) {
  Shared<Children> children;
  Line<Number> line{placed(GetParam(), {"work"}, {{"node.work.attempts", "2"}}), CountTo{kAll},
                    [children = children.get()](const Number& in) {
                      if (in.value == kBad) {
                        children->fork_one();
                        _exit(3);
                      }
                      return square(in);
                    }};
  expect_only_bad_fails(line.take_all(), "exited with status 3", 2);

  ASSERT_TRUE(children->alive.wait(2));
  EXPECT_EQ(children->running().size(), 2U) << "the host waited for a child to end";
  children->leave.open();
  line.runtime.stop();
  EXPECT_EQ(describe(wait_gone(children->running(), 5)), "none");
}

// fork() without a look at what it returned: the child would go on as a second worker.
TEST_P(ChildOfAWorker, ThatReturnsFromTheBodyDies) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{kAll}, [](const Number& in) {
                      if (!acts_at(in)) return square(in);
                      const pid_t child = fork();
                      if (child == 0) {
                        crash_plainly();
                        return Number{4711};
                      }
                      int status = 0;
                      waitpid(child, &status, 0);
                      if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV)
                        throw std::runtime_error("its child ended with status " + std::to_string(status));
                      return square(in);
                    }};
  expect_all_squares(line.take_all());
  expect_nothing_lent(line.runtime);
}

TEST_P(ChildOfAWorker, ThatThrowsOutOfTheBodyDies) {
  Line<Number> line{placed(GetParam(), {"work"}), CountTo{kAll}, [](const Number& in) {
                      if (!acts_at(in)) return square(in);
                      const pid_t child = fork();
                      if (child == 0) {
                        crash_plainly();
                        throw std::runtime_error("in the child");
                      }
                      int status = 0;
                      waitpid(child, &status, 0);
                      if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV)
                        throw std::runtime_error("its child ended with status " + std::to_string(status));
                      return square(in);
                    }};
  expect_all_squares(line.take_all());
  expect_nothing_lent(line.runtime);
}

TANDEM_FOR_PROCESSES(ChildOfAWorker);

// ---- descriptors ---------------------------------------------------------------------------------------------

class Descriptors : public PlacedTest {
 protected:
  // A file of the user's, which must not change.
  class UsersFile {
   public:
    static constexpr const char* kText = "the user's own words";

    UsersFile() { std::ofstream{path_} << kText; }
    ~UsersFile() { std::filesystem::remove(path_); }
    const std::string& path() const { return path_; }
    std::string text() const {
      std::ifstream file{path_};
      return std::string{std::istreambuf_iterator<char>{file}, {}};
    }

   private:
    std::string path_ = testing::TempDir() + "misbehaving_body_test." + std::to_string(getpid());
  };

  // Each message waits until the host sleeps, so that the worker must ring it; before that, `open` takes the
  // numbers that the worker has closed.
  template <class Open>
  void expect_file_untouched(Open open) {
    const UsersFile file;
    Line<Number> line{placed(GetParam(), {"work"}, {{"in_flight", "1"}}), CountTo{kAll},
                      [open, path = file.path()](const Number& in) {
                        if (acts_at(in)) {
                          const ReplyArea area{1};
                          open(path.c_str());
                          while ((area.host_sleep_word() & 1U) == 0) usleep(1);
                        }
                        return square(in);
                      }};
    expect_all_squares(line.take_all());
    expect_nothing_lent(line.runtime);
    EXPECT_EQ(file.text(), UsersFile::kText);
  }
};

TEST_P(Descriptors, ClosedAndOpenedAnewAreTheUsersFiles) {
  expect_file_untouched([](const char* path) {
    close_range(3, ~0U, 0);
    for (int opened = 0; opened < 64; ++opened) {
      if (open(path, O_RDWR) < 0) complain("open");
    }
  });
}

TEST_P(Descriptors, ReplacedInPlaceAreTheUsersFiles) {
  expect_file_untouched([](const char* path) {
    const int file = open(path, O_RDWR);
    if (file < 0) complain("open");
    for (int number = 3; number < 1100; ++number) {
      if (number != file) dup2(file, number);
    }
  });
}

TANDEM_FOR_PROCESSES(Descriptors);

// ---- whole hosts ---------------------------------------------------------------------------------------------

constexpr std::uint64_t kPrinted = 1 << 20;  // by each message, to each of two streams

int print_much(const Place& place) {
  dup2(STDOUT_FILENO, STDERR_FILENO);
  const std::string text(kPrinted / 16 - 1, 'x');
  Line<Number> line{placed(place, {"work"}, {{"grace", "20 s"}}), CountTo{4}, [text](const Number& in) {
                      for (int time = 0; time < 16; ++time) {
                        std::printf("%s\n", text.c_str());
                        std::fprintf(stderr, "%s\n", text.c_str());
                      }
                      return square(in);
                    }};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) {
    if (item->value != next * next) return 1;
    ++next;
  }
  line.runtime.stop();
  return next == 4 ? 0 : 2;
}
HOST_PROGRAM(print_much_on_threads) { return print_much({"thread", 2}); }
HOST_PROGRAM(print_much_in_processes) { return print_much({"process", 2}); }

// As after a change of the user: the kernel forgets with whom the process ends.
template <class Also>
int forget_parents(Also also) {
  Line<Number> line{placed({"process", 2}, {"work"}), CountForEver{}, [also](const Number& in) {
                      prctl(PR_SET_PDEATHSIG, 0);
                      also();
                      return in;
                    }};
  while (line.stream.next()) {
    if (write(STDOUT_FILENO, "i", 1) != 1) return 1;
  }
  return 0;
}
HOST_PROGRAM(forgetful_bodies) {
  return forget_parents([] {});
}
// No sleep lasts for long in such a worker.
HOST_PROGRAM(forgetful_bodies_with_a_timer) {
  return forget_parents([] {
    signal(SIGALRM, [](int) {});
    const itimerval often{{0, 10'000}, {0, 10'000}};
    setitimer(ITIMER_REAL, &often, nullptr);
  });
}

class HostOf : public TandemTest {
 protected:
  // Starts the program, with its standard output in a pipe whose other end it gives back.
  int start(const char* program) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    host_ = start_host_program(program, ends[1]);
    close(ends[1]);
    return ends[0];
  }
  int wait_end() {
    int status = 0;
    waitpid(host_, &status, 0);
    return status;
  }
  void kill_host() { kill(host_, SIGKILL); }

 private:
  pid_t host_ = -1;
};

class HostOfBodiesThatPrint : public HostOf, public testing::WithParamInterface<const char*> {};

TEST_P(HostOfBodiesThatPrint, LosesNothing) {
  const int output = start(GetParam());
  std::uint64_t bytes = 0;
  std::vector<char> part(1 << 16);
  for (ssize_t got = 0; (got = read(output, part.data(), part.size())) > 0;)
    bytes += static_cast<std::uint64_t>(got);
  close(output);

  EXPECT_EQ(wait_end(), 0);
  EXPECT_EQ(bytes, 2 * 4 * kPrinted);
}

INSTANTIATE_TEST_SUITE_P(, HostOfBodiesThatPrint,
                         testing::Values("print_much_on_threads", "print_much_in_processes"),
                         [](const auto& case_info) { return std::string{case_info.param}; });

class HostOfForgetfulBodies : public HostOf, public testing::WithParamInterface<const char*> {};

// Only when every process that had it is gone, the other end of a pipe is closed.
TEST_P(HostOfForgetfulBodies, IsKilledWithThem) {
  const int output = start(GetParam());
  char letter = 0;
  for (int count = 0; count < 50; ++count) ASSERT_EQ(read(output, &letter, 1), 1);

  kill_host();

  wait_end();
  std::vector<char> rest(1 << 16);
  bool gone = false;
  for (pollfd watched{output, POLLIN, 0}; !gone && poll(&watched, 1, 5'000) > 0;)
    gone = read(output, rest.data(), rest.size()) == 0;
  EXPECT_TRUE(gone) << describe(descendants_named("tandem:")) << " live on";
  for (const Process& left : descendants_named("tandem:")) kill(left.pid, SIGKILL);
  close(output);
}

INSTANTIATE_TEST_SUITE_P(, HostOfForgetfulBodies,
                         testing::Values("forgetful_bodies", "forgetful_bodies_with_a_timer"),
                         [](const auto& case_info) { return std::string{case_info.param}; });

}  // namespace
}  // namespace tandem::test
