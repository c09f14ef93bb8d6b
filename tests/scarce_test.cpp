// Too few descriptors, too few processes, too little memory: a run goes right, or it is refused or goes on without
// some of its workers with a text that says what to raise. Nothing is left, and nobody but the greedy is killed.
// labels: no_tsan alone
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "support/line.hpp"
#include "support/memory_group.hpp"
#include "support/sanitized.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

constexpr std::uint64_t kAll = 40;
constexpr std::uint64_t kBad = 13;

using Outcomes = std::vector<Line<Number>::Outcome>;
Number square(const Number& in) { return {in.value * in.value}; }
bool is_square(const Line<Number>::Outcome& outcome, std::uint64_t number) {
  return outcome.sequence == number && outcome.value && outcome.value->value == number * number;
}
bool all_squares_but_bad(const Outcomes& outcomes) {
  if (outcomes.size() != kAll || !outcomes[kBad].failure) return false;
  for (std::uint64_t number = 0; number < kAll; ++number) {
    if (number != kBad && !is_square(outcomes[number], number)) return false;
  }
  return true;
}

// Empty when a run was right, else what it was refused for, or what its messages failed for.
std::string why_not_right(const Config& config) {
  try {
    Line<Number> line{config, CountTo{kAll}, square};
    const Outcomes outcomes = line.take_all();
    if (outcomes.size() != kAll) return "only " + std::to_string(outcomes.size()) + " items came";
    for (std::uint64_t number = 0; number < kAll; ++number) {
      if (outcomes[number].failure) return outcomes[number].failure->reason;
      if (!is_square(outcomes[number], number)) return "item " + std::to_string(number) + " is wrong";
    }
    line.runtime.stop();
    if (line.runtime.lent_blocks() + line.runtime.live_messages() > 0) return "something is still lent";
  } catch (const Error& error) { return error.what(); }
  return {};
}

// A limit of this process, or of another, for as long as this lives. It can be raised again.
class Limit {
 public:
  using What = decltype(RLIMIT_NOFILE);
  Limit(What what, rlim_t soft, pid_t of = 0) : what_{what}, of_{of} {
    if (prlimit(of, what, nullptr, &before_) != 0) throw std::runtime_error("prlimit failed");
    const rlimit now{std::min(soft, before_.rlim_max), before_.rlim_max};
    if (prlimit(of, what, &now, nullptr) != 0) throw std::runtime_error("prlimit failed");
  }
  ~Limit() { prlimit(of_, what_, &before_, nullptr); }
  Limit(const Limit&) = delete;
  Limit& operator=(const Limit&) = delete;

 private:
  What what_;
  pid_t of_;
  rlimit before_{};
};

// ---- descriptors ---------------------------------------------------------------------------------------------

rlim_t first_free_descriptor() {
  const int number = open("/dev/null", O_RDONLY | O_CLOEXEC);
  close(number);
  return static_cast<rlim_t>(number);
}

class FewDescriptors : public PlacedTest {
 protected:
  // The next items, each of which must be right, or an error that says what to raise.
  static void take_some(Line<Number>& line, int count, std::string& last_reason) {
    for (int taken = 0; taken < count; ++taken) {
      try {
        const auto item = line.stream.next();
        ASSERT_TRUE(item);
        ASSERT_EQ((*item)->value, item->sequence() * item->sequence());
        last_reason.clear();
      } catch (const ProducerError& error) {
        last_reason = error.reason();
        ASSERT_THAT(last_reason, HasSubstr("(ulimit -n)"));
      }
    }
  }
  static void kill_all(const std::vector<pid_t>& pids) {
    for (const pid_t pid : pids) kill(pid, SIGKILL);
  }
};

TEST_P(FewDescriptors, AtTheStartAreEnoughOrAnErrorThatSaysSo) {
  const Config config = placed(GetParam(), {"work"});
  const rlim_t first = first_free_descriptor();
  const rlim_t enough = first + 20 + 4 * static_cast<rlim_t>(GetParam().workers);
  const rlim_t step = kSanitized ? 4 : 1;
  int refused = 0;
  for (rlim_t limit = first; limit <= enough; limit += step) {
    const Limit few{RLIMIT_NOFILE, limit};
    const std::string why = why_not_right(config);
    if (!why.empty()) ++refused;
    EXPECT_THAT(why, AnyOf(IsEmpty(), HasSubstr("(ulimit -n)"))) << "with " << limit - first << " descriptors";
    if (limit == enough) { EXPECT_EQ(why, ""); }
  }
  EXPECT_GT(refused, 0);
}
TANDEM_FOR_ALL_PLACES(FewDescriptors);

class NoMoreDescriptors : public FewDescriptors {
 protected:
  // Kills whoever works until there is nobody left; returns what the items say then.
  static std::string kill_until_an_error(Line<Number>& line) {
    std::string reason;
    for (int patience = 0; reason.empty() && patience < 10'000; ++patience) {
      kill_all(line.runtime.worker_pids());
      kill_all(line.runtime.spare_pids());
      take_some(line, 10, reason);
    }
    take_some(line, 100, reason);
    return reason;
  }
  static pid_t fork_server() {
    const std::vector<Process> servers = fork_servers();
    return servers.empty() ? -1 : servers.front().pid;
  }
  static constexpr rlim_t kNoMore = 3;            // those that every process has; poll(2) needs two
  static constexpr const char* kAttempts = "10";  // no message shall fail because its worker was killed
};

TEST_P(NoMoreDescriptors, ForTheHostAreAnErrorOnceItsWorkersAreGone) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"node.work.attempts", kAttempts}}), CountForEver{}, square};
  std::string reason;
  take_some(line, 20, reason);
  EXPECT_EQ(reason, "");
  {
    const Limit none{RLIMIT_NOFILE, kNoMore};
    EXPECT_THAT(kill_until_an_error(line), HasSubstr("Too many open files"));
  }
  line.runtime.stop();
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

TEST_P(NoMoreDescriptors, ForTheForkServerAreAnErrorOnceTheWorkersAreGone) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"node.work.attempts", kAttempts}}), CountForEver{}, square};
  std::string reason;
  take_some(line, 20, reason);
  const pid_t server = fork_server();
  ASSERT_GT(server, 0);
  {
    const Limit none{RLIMIT_NOFILE, kNoMore, server};
    EXPECT_THAT(kill_until_an_error(line), HasSubstr("Too many open files"));
  }
  line.runtime.stop();
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

TEST_P(NoMoreDescriptors, ForAnotherForkServerAreAnError) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"node.work.attempts", kAttempts}}), CountForEver{}, square};
  std::string reason;
  take_some(line, 20, reason);
  const pid_t server = fork_server();
  ASSERT_GT(server, 0);
  {
    const Limit none{RLIMIT_NOFILE, kNoMore};
    kill(server, SIGKILL);
    EXPECT_THAT(kill_until_an_error(line), HasSubstr("there is no fork server"));
  }
  line.runtime.stop();
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

// What is back after a while is used again.
TEST_P(NoMoreDescriptors, ForAMomentLoseNothing) {
  Line<Number> line{placed(GetParam(), {"work"}), CountForEver{}, square};
  std::string reason;
  take_some(line, 20, reason);
  {
    const Limit none{RLIMIT_NOFILE, kNoMore};
    take_some(line, 100, reason);
    EXPECT_EQ(reason, "");
  }
  kill_all(line.runtime.worker_pids());
  take_some(line, 300, reason);
  EXPECT_EQ(reason, "");
}

TANDEM_FOR_PROCESSES(NoMoreDescriptors);

// ---- whole hosts ---------------------------------------------------------------------------------------------

// What a host program returns when this machine does not let it try.
constexpr int kNotHere = 77;

class ScarceHost : public TandemTest {
 protected:
  struct End {
    int status = -1;
    std::string printed;

    int exit_status() const { return WIFEXITED(status) ? WEXITSTATUS(status) : -1; }
  };
  static End run(const char* program) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return {};
    const pid_t host = start_host_program(program, ends[1]);
    close(ends[1]);
    End end;
    char part[4096];
    for (ssize_t got = 0; (got = read(ends[0], part, sizeof part)) > 0;)
      end.printed.append(part, static_cast<std::size_t>(got));
    close(ends[0]);
    waitpid(host, &end.status, 0);
    return end;
  }
};

// ---- processes -----------------------------------------------------------------------------------------------

// The tasks of this user, as the kernel counts them against RLIMIT_NPROC.
rlim_t tasks_of_this_user() {
  rlim_t count = 0;
  std::error_code gone;
  for (const auto& process : std::filesystem::directory_iterator{"/proc"}) {
    struct stat status {};
    if (stat(process.path().c_str(), &status) != 0 || status.st_uid != getuid()) continue;
    for (std::filesystem::directory_iterator task{process.path() / "task", gone}, end; !gone && task != end;
         task.increment(gone))
      ++count;
  }
  return count;
}

// The kernel does not hold root to the limit.
bool become_an_ordinary_user() {
  constexpr uid_t kNobody = 65534;
  if (getuid() != 0) return true;
  if (setresgid(kNobody, kNobody, kNobody) != 0 || setresuid(kNobody, kNobody, kNobody) != 0) return false;
  return prctl(PR_SET_DUMPABLE, 1) == 0;  // or /proc/self would be root's
}

// In a process of its own: oneTBB does not recover from a thread that it could not start.
int run_once_with_few_processes(const Place& place, rlim_t more) {
  alarm(60);  // SIGALRM ends a hang
  const Config config = placed(place, {"work"});
  const Limit few{RLIMIT_NPROC, tasks_of_this_user() + more};
  const std::string why = why_not_right(config);
  if (why.empty()) return 0;
  if (why.find("(ulimit -u)") == why.npos) std::cout << "with " << more << " more: " << why << std::endl;
  return 1;
}

int run_with_few_processes(const Place& place) {
  constexpr rlim_t kEnough = 12;
  if (!become_an_ordinary_user()) return kNotHere;
  int refused = 0;
  for (rlim_t more = 0; more <= kEnough; ++more) {
    const pid_t child = fork();
    if (child == 0) _exit(run_once_with_few_processes(place, more));
    int status = -1;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status)) std::cout << "with " << more << " more: signal " << WTERMSIG(status) << std::endl;
    if (status != 0) ++refused;
    if (more == kEnough && status != 0) return 1;
  }
  return refused > 0 ? 0 : 2;
}
HOST_PROGRAM(few_processes_for_threads) { return run_with_few_processes({"thread", 2}); }
HOST_PROGRAM(few_processes_for_processes) { return run_with_few_processes({"process", 2}); }

class FewProcesses : public ScarceHost, public testing::WithParamInterface<const char*> {};

TEST_P(FewProcesses, AreEnoughOrAnErrorThatSaysSo) {
  const End end = run(GetParam());
  if (end.exit_status() == kNotHere) GTEST_SKIP() << "cannot become another user, and root has no limit";
  EXPECT_EQ(end.printed, "");
  EXPECT_EQ(end.status, 0);
}

INSTANTIATE_TEST_SUITE_P(, FewProcesses,
                         testing::Values("few_processes_for_threads", "few_processes_for_processes"),
                         [](const auto& case_info) { return std::string{case_info.param}; });

// ---- memory --------------------------------------------------------------------------------------------------

class LittleMemory : public ScarceHost {};

rlim_t address_space_in_use() {
  std::ifstream file{"/proc/self/statm"};
  rlim_t pages = 0;
  file >> pages;
  return pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE));
}

Line<Arrays> line_of_arrays(const Place& place, std::uint64_t messages, std::size_t bytes,
                            const Settings& settings) {
  return {placed(place, {"work"}, settings),
          CountTo{messages},
          {array<std::uint8_t>("pixels", {bytes})},
          [](const Number& in, Arrays& out) {
            const auto pixels = out.span<std::uint8_t>("pixels");
            std::memset(pixels.data(), static_cast<int>(in.value), pixels.size());
          }};
}

HOST_PROGRAM(little_address_space) {
  const Limit little{RLIMIT_AS, address_space_in_use() + (std::size_t{256} << 20)};
  Line<Arrays> line = line_of_arrays({"process", 2}, 10, std::size_t{64} << 20, {{"in_flight", "8"}});
  std::cout << thrown_text<MemoryError>([&] { line.stream.next(); }) << std::flush;
  return 0;
}

TEST_F(LittleMemory, OfAddressesIsAnErrorWithNumbers) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs terabytes of addresses";
  const End end = run("little_address_space");
  EXPECT_EQ(end.status, 0);
  EXPECT_THAT(end.printed,
              testing::MatchesRegex("cannot map [0-9]+ bytes \\([0-9.]+ [MG]iB\\) of shared memory: .*; lower "
                                    "in_flight or raise the limit on address space \\(ulimit -v\\)"));
}

HOST_PROGRAM(small_files) {
  const Limit small{RLIMIT_FSIZE, 1 << 20};
  Line<Arrays> line = line_of_arrays({"process", 2}, 10, std::size_t{1} << 20, {{"in_flight", "8"}});
  std::cout << thrown_text<MemoryError>([&] { line.stream.next(); }) << std::flush;
  return 0;
}

TEST_F(LittleMemory, OfFilesIsAnErrorWithNumbers) {
  const End end = run("small_files");
  EXPECT_EQ(end.status, 0);
  EXPECT_THAT(end.printed, AllOf(HasSubstr("1048576 bytes (1 MiB)"), HasSubstr("(ulimit -f)")));
}

// A container's /dev/shm has 64 KiB where nobody asks for more.
HOST_PROGRAM(small_dev_shm) {
  if (unshare(getuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0) return kNotHere;
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return kNotHere;
  if (mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64k") != 0) return kNotHere;
  const int file = open("/dev/shm/larger", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0 || posix_fallocate(file, 0, 1 << 20) == 0) return 2;  // or nothing would be tested
  close(file);

  constexpr std::size_t kBytes = 10'000'000;
  Line<Arrays> line = line_of_arrays({"process", 2}, 30, kBytes, {{"in_flight", "10"}});
  std::uint64_t next = 0;
  std::vector<Item<Arrays>> held;  // 90 MB at a time
  for (const auto& item : line.stream) {
    const auto pixels = item->span<std::uint8_t>("pixels");
    if (pixels.size() != kBytes || pixels[0] != next++) return 1;
    if (std::memcmp(pixels.data(), pixels.data() + 1, kBytes - 1) != 0) return 1;
    held.push_back(item);
    if (held.size() == 9) held.clear();
  }
  return next == 30 ? 0 : 3;
}

TEST_F(LittleMemory, InDevShmDoesNotMatter) {
  const End end = run("small_dev_shm");
  if (end.exit_status() == kNotHere) GTEST_SKIP() << "this machine gives no namespace for mounts";
  EXPECT_EQ(end.status, 0);
}

// More than any limit here, and less than the machine has.
constexpr std::size_t kGreed = std::size_t{1} << 30;

// Takes memory and fills it, until somebody stops it.
void take_all_memory() {
  for (std::size_t taken = 0; taken < kGreed; taken += 1 << 20) {
    auto* const some = new volatile char[1 << 20];
    for (std::size_t at = 0; at < 1 << 20; at += 4096) some[at] = 1;
  }
  throw std::runtime_error("nobody stopped it");
}

Number greedy_at_bad(const Number& in) {
  if (in.value == kBad) take_all_memory();
  return square(in);
}

class WorkerMemory : public PlacedTest {};

TEST_P(WorkerMemory, UsedUpIsAnErrorWithItsNumber) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's allocator ends the process instead";
  Config config = placed(GetParam(), {"work"});
  try {
    config.set("node.work.worker_memory", "64 MiB", "test");
  } catch (const ConfigError& error) { GTEST_SKIP() << "this build does not know the key: " << error.what(); }
  Line<Number> line{config, CountTo{kAll}, greedy_at_bad};
  const Outcomes outcomes = line.take_all();

  ASSERT_TRUE(all_squares_but_bad(outcomes));
  EXPECT_THAT(outcomes[kBad].failure->reason,
              AllOf(HasSubstr("bad_alloc"), AnyOf(HasSubstr("64 MiB"), HasSubstr("67108864"))));
  line.runtime.stop();
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

TANDEM_FOR_PROCESSES(WorkerMemory);

// ---- a group of processes with little memory -----------------------------------------------------------------

constexpr std::size_t kGroupBytes = std::size_t{128} << 20;

HOST_PROGRAM(greedy_bodies) {
  if (!MemoryGroup::enter()) return 2;
  Line<Number> line{placed({"process", 2}, {"work"}, {{"node.work.attempts", "2"}, {"memory", "16 MiB"}}),
                    CountTo{kAll}, greedy_at_bad};
  const Outcomes outcomes = line.take_all();
  if (!all_squares_but_bad(outcomes)) return 1;
  std::cout << outcomes[kBad].failure->reason << std::flush;
  return 0;
}

class MemoryKiller : public ScarceHost {};

TEST_F(MemoryKiller, TakesTheGreedyWorkerAndNotTheHost) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs more memory than the group gets";
  const MemoryGroup group{kGroupBytes};
  if (!group) GTEST_SKIP() << group.why_not();
  const End end = run("greedy_bodies");
  EXPECT_EQ(end.status, 0);
  EXPECT_THAT(end.printed, StartsWith("killed by signal 9 (SIGKILL)"));
}

HOST_PROGRAM(large_items_in_a_small_group) {
  if (!MemoryGroup::enter()) return 2;
  Line<Arrays> line = line_of_arrays({"process", 2}, 10, 12'582'912, {{"in_flight", "64"}});
  std::cout << thrown_text<MemoryError>([&] { line.stream.next(); }) << std::flush;
  return 0;
}

TEST_F(LittleMemory, OfTheGroupIsAnErrorWithNumbersAtTheStart) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs more memory than the group gets";
  const MemoryGroup group{kGroupBytes};
  if (!group) GTEST_SKIP() << group.why_not();
  const End end = run("large_items_in_a_small_group");
  EXPECT_EQ(end.status, 0);
  EXPECT_THAT(end.printed,
              testing::MatchesRegex("node 'work': output 'pixels' needs 12582912 bytes for each of 64 items, "
                                    "805306368 bytes \\(768 MiB\\) in all, but the machine has [0-9]+ bytes "
                                    "\\([0-9.]+ MiB\\) available; lower in_flight to [1-9] or raise memory"));
}

// Without a wish for so many items there are fewer, and nobody is killed.
HOST_PROGRAM(items_that_fit_a_small_group) {
  if (!MemoryGroup::enter()) return 2;
  constexpr std::uint64_t kItems = 60;
  Line<Arrays> line = line_of_arrays({"process", 2}, kItems, 4'000'000, {});
  std::uint64_t next = 0;
  std::vector<Item<Arrays>> held;  // as many as it may, so that all blocks are in use
  for (const auto& item : line.stream) {
    if (item.attempt() != 1 || item->span<std::uint8_t>("pixels")[0] != next++) return 1;
    held.push_back(item);
    if (held.size() + 1 >= line.runtime.in_flight()) held.clear();
  }
  return next == kItems ? 0 : 3;
}

TEST_F(LittleMemory, OfTheGroupMeansFewerItemsWhenNoneWereAskedFor) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs more memory than the group gets";
  const MemoryGroup group{kGroupBytes};
  if (!group) GTEST_SKIP() << group.why_not();
  EXPECT_EQ(run("items_that_fit_a_small_group").status, 0);
}

// Files that a program has read stay in the group's memory until somebody needs it. They are not missing.
HOST_PROGRAM(items_after_large_files) {
  if (!MemoryGroup::enter()) return 2;
  const std::string path = testing::TempDir() + "scarce_test." + std::to_string(getpid());
  const int file = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  unlink(path.c_str());
  struct statfs system {};
  if (file < 0 || fstatfs(file, &system) != 0 || system.f_type == TMPFS_MAGIC) return kNotHere;
  const std::vector<char> part(1 << 20, 'x');
  for (std::size_t written = 0; written < kGroupBytes; written += part.size()) {
    if (write(file, part.data(), part.size()) < 0) return kNotHere;
  }
  if (fsync(file) != 0) return 4;

  Line<Arrays> line = line_of_arrays({"process", 2}, 10, 4 << 20, {{"in_flight", "10"}});
  std::cout << thrown_text<MemoryError>([&] {
    while (line.stream.next()) {}
  }) << std::flush;
  close(file);
  return 0;
}

TEST_F(LittleMemory, OfTheGroupDoesNotCountFilesThatWereRead) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs more memory than the group gets";
  const MemoryGroup group{kGroupBytes};
  if (!group) GTEST_SKIP() << group.why_not();
  const End end = run("items_after_large_files");
  if (end.exit_status() == kNotHere) GTEST_SKIP() << "no disk for a large file";
  EXPECT_EQ(end.status, 0);
  EXPECT_EQ(end.printed, "nothing was thrown");
}

}  // namespace
}  // namespace tandem::test
