// What worker processes and the fork server can reach, and who ends when the fork server is killed.
// labels: no_tsan
#include <signal.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
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
      for (const Process& server : descendants_named("tandem:forks")) kill(server.pid, SIGKILL);
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

  for (const Process& server : descendants_named("tandem:forks")) kill(server.pid, SIGKILL);
  // More than can have been done before.
  for (std::uint32_t item = 0; item < 4 * line.runtime.in_flight(); ++item) line.stream.next();
  wait_log_line("the fork server ended");
  for (std::uint32_t item = 0; item < 4 * line.runtime.in_flight(); ++item) line.stream.next();

  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds{500});
}

TANDEM_FOR_PROCESSES(ForkServerKilled);

}  // namespace
}  // namespace tandem::test
