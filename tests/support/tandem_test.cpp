#include "tandem_test.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <tandem/audit.hpp>
#include <tandem/runtime.hpp>
#include <tandem/spawn.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "sanitized.hpp"

namespace tandem::test {
namespace {

// How long what a test dropped may take to be gone: threads of oneTBB may hold the last handle of an item
// for a moment, and the kernel ends processes in its own time.
constexpr double kGoneWithinSeconds = 5;
constexpr const char* kHostVariable = "HOST_PROGRAM_OF_TEST";

class LogSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  std::vector<std::string> lines() {
    const std::lock_guard lock{mutex_};
    return lines_;
  }
  void clear() {
    const std::lock_guard lock{mutex_};
    lines_.clear();
  }
  std::string wait(const std::string& part) {
    std::unique_lock lock{mutex_};
    for (std::size_t next = 0;; ++next) {
      more_.wait(lock, [&] { return next < lines_.size(); });
      if (lines_[next].find(part) != std::string::npos) return lines_[next];
    }
  }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    lines_.emplace_back(message.payload.data(), message.payload.size());
    more_.notify_all();
  }
  void flush_() override {}

  std::vector<std::string> lines_;
  std::condition_variable_any more_;
};

LogSink& log_sink() {
  static const auto sink = [] {
    auto made = std::make_shared<LogSink>();
    spdlog::register_logger(std::make_shared<spdlog::logger>("tandem", made));
    return made;
  }();
  return *sink;
}

std::vector<std::string> open_descriptors() {
  std::vector<std::string> open;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) {
    std::error_code error;
    const auto target = std::filesystem::read_symlink(entry.path(), error);
    // The directory iterator's own descriptor is gone by the time that anybody looks at the list.
    if (error || target.string().find("/proc/") == 0) continue;
    open.push_back(entry.path().filename().string() + " -> " + target.string());
  }
  std::sort(open.begin(), open.end());
  return open;
}

std::vector<std::string> shared_mappings() {
  std::vector<std::string> mappings;
  std::ifstream file{"/proc/self/maps"};
  for (std::string line; std::getline(file, line);) {
    if (line.find("memfd:tandem") != line.npos) mappings.push_back(line);
  }
  return mappings;
}

std::vector<std::string> difference(const std::vector<std::string>& now,
                                    const std::vector<std::string>& before) {
  std::vector<std::string> more;
  std::set_difference(now.begin(), now.end(), before.begin(), before.end(), std::back_inserter(more));
  return more;
}

// Nothing announces the last close() or munmap(), so this looks again and again, for a bounded time.
template <class Look>
std::vector<std::string> left_after_a_while(Look look) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(kGoneWithinSeconds);
  for (;;) {
    std::vector<std::string> left = look();
    if (left.empty() || std::chrono::steady_clock::now() >= until) return left;
    std::this_thread::yield();
  }
}

std::map<std::string, HostMain>& host_programs() {
  static std::map<std::string, HostMain> programs;
  return programs;
}

}  // namespace

namespace {

// The books of every run that a test made must balance at its end.
std::mutex broken_mutex;
std::vector<std::string> broken_books;
void hear_audit(const Audit& audit) {
  if (audit.balanced()) return;
  const std::lock_guard lock{broken_mutex};
  broken_books.push_back(audit.text());
}

}  // namespace

// A worker that the test spawns runs this test alone, and finds what the test shares.
void run_this_test_in_spawned_workers() {
  const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
  const std::string name = std::string{test.test_suite_name()} + "." + test.name();
  share_with_spawned(name.find("spawn") != name.npos || name.find("Spawn") != name.npos);
  spawn_with({"test", "--gtest_filter=" + name, "--gtest_also_run_disabled_tests", "--gtest_repeat=1",
              "--gtest_output=", "--test_host=" + std::to_string(getpid())});
}

std::vector<Place> places(std::initializer_list<const char*> placements) {
  std::vector<Place> places;
  for (const char* const placement : placements) {
    for (const int workers : {1, 2, 8}) {
      if (!kAddressSanitized || workers == 2) places.push_back({placement, workers});
    }
  }
  return places;
}

TandemTest::TandemTest() { run_this_test_in_spawned_workers(); }

void TandemTest::SetUp() {
  audit_at_end.store(hear_audit);
  // A worker that outlives the fork server shall come to us, not to init, so that TearDown() sees it.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  log_sink().clear();
  processes_ = descendants_of(getpid());
  descriptors_ = open_descriptors();
}

void TandemTest::TearDown() {
  if (Spawned::here() != nullptr) return;  // a worker, whose host has the rest
  EXPECT_EQ(describe(wait_no_descendants_but(processes_, kGoneWithinSeconds)), "none")
      << "processes that the test left behind";
  EXPECT_EQ(left_after_a_while([&] { return difference(open_descriptors(), descriptors_); }),
            std::vector<std::string>{})
      << "descriptors that the test left open";
  EXPECT_EQ(left_after_a_while(shared_mappings), std::vector<std::string>{})
      << "shared memory that the test left mapped";
  {
    const std::lock_guard lock{broken_mutex};
    EXPECT_EQ(std::exchange(broken_books, {}), std::vector<std::string>{}) << "books that do not balance";
  }
  if (HasFailure()) {
    for (const std::string& line : log_lines()) std::cout << "logged: " << line << '\n';
  }
}

std::mt19937_64 TandemTest::random_generator() {
  const char* const wanted = std::getenv("TANDEM_TEST_SEED");
  const std::uint64_t seed = wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : std::random_device{}();
  std::cout << "seed: TANDEM_TEST_SEED=" << seed << std::endl;
  return std::mt19937_64{seed};
}

std::ostream& operator<<(std::ostream& out, const Place& place) {
  const char* const kind = place.is_spawned()   ? "spawned processes"
                           : place.is_process() ? "processes"
                                                : "threads";
  return out << place.workers << ' ' << kind;
}

std::string place_name(const testing::TestParamInfo<Place>& place) {
  return std::string{place.param.placement} + "_" + std::to_string(place.param.workers);
}

Config config_of(const Settings& settings) {
  Config config;
  for (const auto& [key, value] : settings) config.set(key, value, "test");
  return config;
}

Config placed(const Place& place, std::initializer_list<const char*> nodes, const Settings& settings) {
  Config config = config_of(settings);
  for (const std::string node : nodes) {
    config.set("node." + node + ".placement", place.is_spawned() ? "process" : place.placement, "test");
    if (place.is_spawned()) config.set("node." + node + ".start", "spawn", "test");
    config.set("node." + node + ".workers", std::to_string(place.workers), "test");
  }
  return config;
}

Config two_processes(const std::string& in_flight, std::initializer_list<const char*> nodes) {
  Settings settings{{"in_flight", in_flight}};
  for (const char* const node : nodes) settings.emplace_back(std::string{"node."} + node + ".attempts", "100");
  return placed({"process", 2}, nodes, settings);
}

void expect_right_books(Runtime& runtime) {
  runtime.stop();
  EXPECT_EQ(runtime.live_messages(), 0U);
  EXPECT_TRUE(runtime.audit().broken.empty());
}

std::vector<std::string> log_lines() { return log_sink().lines(); }
std::string wait_log_line(const std::string& part) { return log_sink().wait(part); }

HostProgram::HostProgram(const char* name, HostMain main) { host_programs()[name] = main; }

std::optional<int> HostProgram::run_if_asked() {
  const char* const name = std::getenv(kHostVariable);
  if (name == nullptr) return std::nullopt;
  log_sink();
  return host_programs().at(name)();
}

pid_t start_host_program(const std::string& name, int standard_output) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, standard_output, STDOUT_FILENO);
  char program[] = "/proc/self/exe";
  char* const arguments[] = {program, nullptr};
  std::string asked = kHostVariable;
  asked.append("=").append(name);
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.push_back(*entry);
  environment.push_back(asked.data());
  environment.push_back(nullptr);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, program, &actions, nullptr, arguments, environment.data());
  posix_spawn_file_actions_destroy(&actions);
  EXPECT_EQ(error, 0);
  return pid;
}

}  // namespace tandem::test
