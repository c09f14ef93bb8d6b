// What worker processes and the fork server can reach, and who ends when the fork server is killed.
// labels: no_tsan
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

Number same(const Number& in) { return in; }

// The inodes of the memory files of Tandem that a process maps; "writable": only what it may write.
std::set<std::string> memory_of(pid_t pid, bool writable = false) {
  std::set<std::string> inodes;
  std::ifstream file{"/proc/" + std::to_string(pid) + "/maps"};
  for (std::string line; std::getline(file, line);) {
    if (line.find("memfd:tandem") == line.npos) continue;
    std::string range, access, offset, device, inode;
    std::istringstream{line} >> range >> access >> offset >> device >> inode;
    if (!writable || access[1] == 'w') inodes.insert(inode);
  }
  return inodes;
}

class Isolation : public TandemTest {};

TEST_F(Isolation, AWorkerHasTheNameOfItsNodeAndNumber) {
  struct TellsItsStart {
    Gate* gate;
    void start() { gate->open(); }
    Number operator()(const Number& in) { return in; }
  };
  Shared<Gate> started;
  Line<Number> line{placed({"process", 2}, {"work"}), CountForEver{}, TellsItsStart{started.get()}};
  line.runtime.start();
  started->wait(3);  // the spare comes last

  std::set<std::string> names;
  for (const Process& process : descendants_named("tandem:")) names.insert(process.name);

  EXPECT_EQ(names, (std::set<std::string>{"tandem:forks", "tandem:memory", "tandem:work#0", "tandem:work#1",
                                          "tandem:work#+"}));
}

TEST_F(Isolation, AWorkerOfOneRuntimeCannotWriteIntoAnothers) {
  Line<Number> one{placed({"process", 1}, {"work"}), CountForEver{}, same};
  one.stream.next();
  const std::set<std::string> memory_of_one = memory_of(getpid());
  Line<Number> other{placed({"process", 1}, {"work"}), CountForEver{}, same};
  other.stream.next();

  for (const pid_t worker : other.runtime.worker_pids()) {
    const std::set<std::string> writable = memory_of(worker, true);
    EXPECT_EQ(writable.size(), 1U);
    for (const std::string& inode : memory_of_one) EXPECT_FALSE(writable.contains(inode));
  }
}

TEST_F(Isolation, AWorkerCannotStopAnotherRuntimeNorItsOwnWithARuntimeThatItMakes) {
  Runtime other{config_of({})};
  Line<Number> line{placed({"process", 2}, {"work"}), CountTo{100}, [&other](const Number& in) {
                      const Runtime mine{config_of({})};  // and ends it
                      other.stop();
                      return in;
                    }};
  EXPECT_EQ(line.take_all().size(), 100U);
}

TEST_F(Isolation, AWorkerIsToldThatItCannotReadAParameterOfAnotherRuntime) {
  Runtime other{config_of({})};
  const Parameter<int> foreign{other, 1};
  other.start();
  Line<Number> line{placed({"process", 2}, {"work"}), CountTo{3},
                    [&foreign](const Number&) { return Number{static_cast<std::uint64_t>(foreign.get())}; }};
  EXPECT_NE(thrown_text<ProducerError>([&] { line.stream.next(); }).find("Parameter of another Runtime"),
            std::string::npos);
}

TEST_F(Isolation, TheMemoryOfARuntimeIsFreeAtItsEndThoughALaterOneGoesOn) {
  auto one = std::make_unique<Line<Number>>(placed({"process", 1}, {"work"}), CountForEver{}, same);
  one->stream.next();
  const std::set<std::string> memory_of_one = memory_of(getpid());
  ASSERT_EQ(memory_of_one.size(), 1U);
  Line<Number> other{placed({"process", 1}, {"work"}), CountForEver{}, same};
  other.stream.next();

  one.reset();

  for (const Process& process : descendants_of(getpid())) {
    EXPECT_FALSE(memory_of(process.pid).contains(*memory_of_one.begin())) << process.name << " keeps it";
  }
}

// What a worker and the fork server hold beside files: "socket:[4711]", "anon_inode:[eventfd]", "pipe:[12]".
std::multiset<std::string> special_files_of(pid_t pid) {
  std::multiset<std::string> found;
  std::error_code error;
  std::filesystem::directory_iterator entry{"/proc/" + std::to_string(pid) + "/fd", error};
  for (; !error && entry != std::filesystem::directory_iterator{}; entry.increment(error)) {
    std::error_code unreadable;
    const std::string target = std::filesystem::read_symlink(entry->path(), unreadable);
    if (!unreadable && target.find(":[") != target.npos) found.insert(target);
  }
  return found;
}

TEST_F(Isolation, AWorkerHasNoDescriptorThatIsTheHostsAlone) {
  const std::multiset<std::string> before = special_files_of(getpid());
  Line<Number> one{placed({"process", 1}, {"work"}), CountForEver{}, same};
  one.stream.next();
  Line<Number> other{placed({"process", 1}, {"work"}), CountForEver{}, same};
  other.stream.next();
  for (const pid_t worker : other.runtime.worker_pids()) {
    int pipes = 0;
    for (const std::string& file : special_files_of(worker)) {
      if (before.contains(file)) continue;
      EXPECT_TRUE(file.starts_with("pipe:")) << file;
      ++pipes;
    }
    EXPECT_EQ(pipes, 2) << "the writing ends of both bells";
  }
}

// It shares the end that it rings with the other workers, and can change how it behaves for all of them.
TEST_F(Isolation, AWorkerThatFillsTheBellAndLetsItBlockHoldsUpNobody) {
  struct Rings {
    void start() const {
      for (int number = 1000; number < 1100; ++number) {  // the number of a worker's own; below, others' pipes
        struct stat status {};
        if (fstat(number, &status) != 0 || !S_ISFIFO(status.st_mode)) continue;
        std::thread{[number] {
          fcntl(number, F_SETFL, O_WRONLY);
          while (write(number, "", 1) == 1) {}
        }}.detach();
      }
    }
    Number operator()(const Number& in) const { return in; }
  };
  Line<Number> line{placed({"process", 2}, {"work"}, {{"node.work.deadline", "20 s"}}), CountTo{20'000},
                    Rings{}};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) ASSERT_EQ(item->value, next++);
  EXPECT_EQ(next, 20'000U);
}

// Of the memory file that this process has open.
std::uint64_t bytes_of_memory_file() {
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) {
    std::error_code unreadable;
    struct stat status {};
    const std::filesystem::path target = std::filesystem::read_symlink(entry.path(), unreadable);
    if (unreadable || target.native().find("memfd:tandem") == std::string::npos) continue;
    if (stat(entry.path().c_str(), &status) == 0) return static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  return 0;
}

TEST_F(Isolation, WhatAWorkerWroteWhereNoBlockIsLentIsFreeOnceItHasEnded) {
  constexpr std::size_t kBytes = 1 << 20;
  Line<Arrays> line{placed({"process", 1}, {"work"}, {{"in_flight", "8"}}),
                    CountTo{1},
                    {array<std::uint8_t>("pixels", {kBytes})},
                    [](const Number&, Arrays& out, Context& context) {
                      if (context.attempt() > 1) return;
                      std::fill_n(out.base() + kBytes, 6 * kBytes, std::byte{1});
                      _exit(1);
                    }};
  ASSERT_TRUE(line.stream.next()->ok());
  line.runtime.stop();  // what follows upon an end comes before it
  EXPECT_LT(bytes_of_memory_file(), 3 * kBytes);
}

class ForkServerKilled : public PlacedTest {};

TEST_P(ForkServerKilled, LosesNothing) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"node.work.attempts", "20"}}), CountTo{2000},
                    [](const Number& in) {
                      busy(20'000);
                      return in;
                    }};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item->value, next);
    if (next == 100 || next == 150) {
      for (const Process& server : fork_servers()) kill(server.pid, SIGKILL);
    }
    ++next;
  }
  EXPECT_EQ(next, 2000U);
  line.runtime.stop();
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

TEST_P(ForkServerKilled, IsMadeGoodAtOnce) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"node.work.attempts", "20"}}), CountForEver{}, same};
  line.stream.next();
  const auto begin = std::chrono::steady_clock::now();

  for (const Process& server : fork_servers()) kill(server.pid, SIGKILL);
  // More than can have been done before.
  for (std::uint32_t item = 0; item < 4 * line.runtime.in_flight(); ++item) line.stream.next();
  wait_log_line("the fork server ended");
  for (std::uint32_t item = 0; item < 4 * line.runtime.in_flight(); ++item) line.stream.next();

  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds{500});
}

TANDEM_FOR_PROCESSES(ForkServerKilled);

}  // namespace
}  // namespace tandem::test
