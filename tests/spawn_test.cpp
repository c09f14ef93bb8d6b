// Workers that are fresh processes of this program (start = "spawn"): each runs main, and so the test that asked for it,
// up to where its graph starts. Spawned::here() tells a test on which side it is.
// labels: no_tsan
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>

#include <tandem/spawn.hpp>

#include "support/line.hpp"
#include "support/sanitized.hpp"
#include "support/squares.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using testing::HasSubstr;

const Place kSpawn{"spawn", 2};
constexpr std::size_t kProcesses = 3;  // two workers and a spare

bool in_worker() { return Spawned::here() != nullptr; }

// What the first message became, and why; for starts that fail, where all messages become the same.
std::string first_failure(Line<Number>& line) {
  const auto all = line.take_all();
  if (all.empty()) return "no items";
  return all.front().failure ? all.front().failure->reason : "no failure";
}

class SpawnedWorker : public TandemTest {};

TEST_F(SpawnedWorker, DoesTheMessages) {
  Line<Number> line{placed(kSpawn, {"work"}), CountTo{kAll}, square};
  expect_all_squares(line.take_all());
}

TEST_F(SpawnedWorker, IsAnotherProcessOfTheSameProgram) {
  const pid_t host = in_worker() ? 0 : getpid();
  Line<Number> line{placed(kSpawn, {"work"}), CountTo{kAll}, [host](const Number&) {
                      const bool fresh = host == 0;  // a forked one would have a copy of the host's
                      const auto program = std::filesystem::read_symlink("/proc/self/exe");
                      return Number{fresh && program.filename() == "spawn_test" ? 1U : 0U};
                    }};
  for (const auto& item : line.stream) ASSERT_EQ(item->value, 1U);
}

TEST_F(SpawnedWorker, IsKnownByItsMain) {
  Runtime runtime{placed(kSpawn, {"work"})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{10}};
  producer_node<Number, Number> work{
      graph, runtime, "work", [is_worker = runtime.is_worker()](const Number&) { return Number{is_worker}; }};
  stream_node<Number> stream{graph, runtime};
  make_edge(numbers, work);
  make_edge(work, stream);
  EXPECT_FALSE(runtime.is_worker());
  for (const auto& item : stream) EXPECT_EQ(item->value, 1U);
  EXPECT_FALSE(runtime.is_worker());
}

TEST_F(SpawnedWorker, HasItsNameAndAKeeper) {
  struct TellsItsStart {
    Gate* gate;
    void start() { gate->open(); }
    Number operator()(const Number& in) { return in; }
  };
  Shared<Gate> started;
  Line<Number> line{placed(kSpawn, {"work"}), CountForEver{}, TellsItsStart{started.get()}};
  line.runtime.start();
  ASSERT_TRUE(started->wait(kProcesses));
  std::multiset<std::string> names;
  for (const Process& process : descendants_named("tandem:")) names.insert(process.name);
  EXPECT_EQ(names,
            (std::multiset<std::string>{"tandem:forks", "tandem:memory", "tandem:memory", "tandem:memory",
                                        "tandem:work#0", "tandem:work#1", "tandem:work#+"}));
}

TEST_F(SpawnedWorker, HasTheProgramsEnvironmentAndNoVariableOfItsOwn) {
  setenv("SET_BY_THE_TEST", in_worker() ? "by the worker" : "by the host", 1);
  Line<Number> line{placed(kSpawn, {"work"}), CountTo{10}, [](const Number&) {
                      const bool clean = getenv("TANDEM_SPAWNED") == nullptr;
                      const bool own = std::string{getenv("SET_BY_THE_TEST")} == "by the worker";
                      const bool same = getenv("PATH") != nullptr;
                      const bool child = std::system("env | grep -q TANDEM_SPAWNED") != 0;
                      return Number{clean && own && same && child};
                    }};
  for (const auto& item : line.stream) EXPECT_EQ(item->value, 1U);
  unsetenv("SET_BY_THE_TEST");
}

TEST_F(SpawnedWorker, HasNoDescriptorsOfTheHost) {
  std::vector<int> many;
  for (int count = 0; count < 20 && !in_worker(); ++count) many.push_back(open("/dev/null", O_RDONLY));
  Line<Number> line{placed(kSpawn, {"work"}), CountTo{10}, [](const Number&) {
                      std::uint64_t others = 0;  // beside the three, and the way to the host, which is high
                      for (int number = 3; number < 1000; ++number)
                        others += fcntl(number, F_GETFD) != -1 ? 1 : 0;
                      return Number{others};
                    }};
  for (const auto& item : line.stream) EXPECT_EQ(item->value, 0U);
  for (const int one : many) close(one);
}

TEST_F(SpawnedWorker, FindsNothingOnStandardInput) {
  Line<Number> line{placed(kSpawn, {"work"}), CountTo{10}, [](const Number&) {
                      char byte = 0;
                      return Number{static_cast<std::uint64_t>(read(STDIN_FILENO, &byte, 1) + 1)};
                    }};
  for (const auto& item : line.stream) EXPECT_EQ(item->value, 1U);
}

TEST_F(SpawnedWorker, LeavesCtrlCToTheHostWhateverItsMainDidAboutIt) {
  const auto before = signal(SIGINT, in_worker() ? [](int) {} : SIG_DFL);
  Line<Number> line{placed(kSpawn, {"work"}), CountTo{10}, [](const Number&) {
                      struct sigaction now {};
                      sigaction(SIGINT, nullptr, &now);
                      return Number{now.sa_handler == SIG_IGN};
                    }};
  for (const auto& item : line.stream) EXPECT_EQ(item->value, 1U);
  line.runtime.stop();
  signal(SIGINT, before);
}

TEST_F(SpawnedWorker, MayWriteItsOwnPartOfTheMemoryAlone) {
  Line<Number> line{placed(kSpawn, {"work"}, {{"node.work.spares", "0"}}), CountTo{kAll}, [](const Number&) {
                      std::ifstream maps{"/proc/self/maps"};
                      std::uint64_t writable = 0;
                      for (std::string one; std::getline(maps, one);) {
                        const bool ours = one.find("memfd:tandem") != one.npos;
                        writable += ours && one.find(" rw") != one.npos ? 1 : 0;
                      }
                      return Number{writable};
                    }};
  for (const auto& item : line.stream) EXPECT_EQ(item->value, 2U);  // its replies, and the blocks of its number
}

TEST_F(SpawnedWorker, IsReplacedWhenItIsKilled) {
  Line<Number> line{placed(kSpawn, {"work"}, {{"node.work.attempts", "100"}}), CountTo{kAll},
                    [](const Number& in, Context& context) {
                      if (in.value % 10 == 3 && context.attempt() == 1) raise(SIGKILL);
                      return square(in);
                    }};
  expect_all_squares(line.take_all());
}

TEST_F(SpawnedWorker, ComesAgainWithAnotherForkServer) {
  Line<Number> line{placed(kSpawn, {"work"}, {{"node.work.attempts", "100"}}), CountTo{kAll}, square};
  std::uint64_t number = 0;
  for (const auto& item : line.stream) {
    EXPECT_EQ(item->value, number * number);
    if (number % 20 == 10)
      for (const Process& server : fork_servers()) kill(server.pid, SIGKILL);
    ++number;
  }
  EXPECT_EQ(number, kAll);
}

TEST_F(SpawnedWorker, OfEachRuntimeServesItsOwn) {
  const auto add = [](std::uint64_t more) {
    return [more](const Number& in) { return Number{in.value + more}; };
  };
  for (const std::uint64_t more : {100U, 200U}) {  // the same plan: only the order tells them apart
    Line<Number> line{placed(kSpawn, {"work"}), CountTo{20}, add(more)};
    std::uint64_t number = 0;
    for (const auto& item : line.stream) EXPECT_EQ(item->value, more + number++);
    EXPECT_EQ(number, in_worker() ? 0U : 20U);  // in a worker of the second, the first ends at once
  }
  Line<Number> third{placed(kSpawn, {"work"}), CountTo{20}, add(300)};
  Line<Number> fourth{placed(kSpawn, {"work"}, {{"seed", "4"}}), CountTo{20}, add(400)};
  const auto next_of = [](Line<Number>& line) {
    const auto item = line.stream.next();
    return item ? (*item)->value : 0;
  };
  for (std::uint64_t number = 0; number < 20; ++number) {
    EXPECT_EQ(next_of(fourth), 400 + number);
    EXPECT_EQ(next_of(third), 300 + number);
  }
}

// The plans of host and worker.
struct Difference {
  const char* name;
  const char* key;  // set in the worker alone
  const char* value;
  const char* text;
};
void PrintTo(const Difference& one, std::ostream* out) { *out << one.name; }

class SpawnedFromAnotherPlan : public TandemTest, public testing::WithParamInterface<Difference> {};

TEST_P(SpawnedFromAnotherPlan, IsRefused) {
  Config config = placed(kSpawn, {"work"});
  if (in_worker()) config.set(GetParam().key, GetParam().value, "test");
  Line<Number> line{config, CountTo{5}, square};
  EXPECT_THAT(first_failure(line), HasSubstr(GetParam().text));
}

INSTANTIATE_TEST_SUITE_P(
    , SpawnedFromAnotherPlan,
    testing::Values(
        Difference{"seed", "seed", "7",
                   "the configuration: seed = 7 in this process and 0 in the program that started it"},
        Difference{"workers", "node.work.workers", "3",
                   "node 'work': workers = 3 in this process and 2 in the program that started it"},
        Difference{"placement", "node.work.placement", "thread",
                   "node 'work': placement = thread in this process and process in"},
        Difference{"unknown", "node.wark.workers", "3", "no node has this name"}),
    [](const auto& one) { return one.param.name; });

TEST_F(SpawnedWorker, IsRefusedWhenItsMainGivesTheNodeAnotherName) {
  Runtime runtime{placed(kSpawn, {}, {{"node.reader.placement", "process"}, {"node.reader.start", "spawn"}})};
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{5}};
  std::optional<producer_node<Number, Number>> first;
  if (in_worker()) first.emplace(graph, runtime, "another", square);
  producer_node<Number, Number> reader{graph, runtime, "reader", square};
  stream_node<Number> stream{graph, runtime};
  make_edge(numbers, reader);
  make_edge(reader, stream);
  EXPECT_THAT(
      thrown_text<ProducerError>([&] { stream.next(); }),
      HasSubstr("node 0: name = 'another' in this process and 'reader' in the program that started it"));
}

TEST_F(SpawnedWorker, IsRefusedWhenItsArraysDiffer) {
  const Shape shape = in_worker() ? Shape{4, 4} : Shape{4, 5};
  Line<Arrays> line{
      placed(kSpawn, {"work"}), CountTo{5}, {array<float>("pixels", shape)}, [](const Number&, Arrays& out) {
        out.span<float>("pixels")[0] = 1;
      }};
  EXPECT_THAT(thrown_text<ProducerError>([&] { line.stream.next(); }),
              HasSubstr("node 'work': bytes of an output = 64"));
}

TEST_F(SpawnedWorker, ThatTheSystemRefusesToExecuteIsAFailedStart) {
  spawn_with({"test", std::string(1 << 20, 'x')});  // longer than an argument may be (execve(2))
  Line<Number> line{placed(kSpawn, {"work"}), CountTo{5}, square};
  EXPECT_THAT(first_failure(line),
              HasSubstr("start: cannot execute the program again (/proc/self/exe): Argument list too long"));
}

// main in the worker, which does not come to the graph.
using Act = void (*)();
struct Astray {
  const char* name;
  Act act;
  const char* text;
  const char* start_within = "1 min";
};
void PrintTo(const Astray& one, std::ostream* out) { *out << one.name; }

class SpawnedMain : public TandemTest, public testing::WithParamInterface<Astray> {};

TEST_P(SpawnedMain, ThatDoesNotArriveIsAFailedStart) {
  if (in_worker()) {
    GetParam().act();
    return;
  }
  Line<Number> line{placed(kSpawn, {"work"}, {{"node.work.start_within", GetParam().start_within}}), CountTo{5},
                    square};
  EXPECT_THAT(first_failure(line), testing::AllOf(testing::StartsWith("start: "), HasSubstr(GetParam().text)));
}

const Astray kAstray[] = {
    {"Returns", [] {}, "exited with status 0 before its main got to the graph"},
    {"Exits", [] { std::exit(7); }, "exited with status 7 before its main got to the graph"},
    {"Leaves", [] { _exit(8); }, "exited with status 8 before its main got to the graph"},
    {"Throws", [] { throw std::runtime_error("lost"); },
     "exited with status 1 before its main got to the graph"},
    {"Crashes",
     [] {
       crash_plainly();
       raise(SIGSEGV);
     },
     "killed by signal 11 (SIGSEGV) before its main got to the graph"},
    {"LoopsForEver",
     [] {
       for (std::atomic<int> steps{0};; ++steps) {}
     },
     "its main did not get to the graph within start_within = 300 ms", "300 ms"},
    {"Blocks",
     [] {
       for (;;) pause();
     },
     "its main did not get to the graph within start_within = 300 ms", "300 ms"},
};
INSTANTIATE_TEST_SUITE_P(, SpawnedMain, testing::ValuesIn(kAstray),
                         [](const auto& one) { return one.param.name; });

TEST_F(SpawnedWorker, WhoseMainNeverArrivesIsEndedByStop) {
  Shared<Gate> in_main;
  if (in_worker()) {
    in_main->open();
    for (;;) pause();
  }
  Line<Number> line{placed(kSpawn, {"work"}), CountTo{5}, square};
  line.runtime.start();
  ASSERT_TRUE(in_main->wait(2));
  line.runtime.stop();
  EXPECT_EQ(describe(wait_no_descendants_but({}, 20)), "none");
}

TEST_F(SpawnedWorker, IsReplacedWhenItIsKilledInItsMain) {
  Shared<Gate> in_main;
  Shared<Gate> go_on;
  if (in_worker()) {
    in_main->open();
    go_on->wait();
  }
  Line<Number> line{placed(kSpawn, {"work"}), CountTo{kAll}, square};
  line.runtime.start();
  ASSERT_TRUE(in_main->wait(2));
  for (const Process& one : descendants_named("tandem:work")) kill(one.pid, SIGKILL);
  ASSERT_TRUE(in_main->wait(4));
  go_on->open();
  expect_all_squares(line.take_all());
}

// The host's stop() is what counts, and it is not this one.
TEST_F(SpawnedWorker, GoesOnWhenAnotherThreadOfItsMainStopsTheRuntime) {
  Line<Number> line{placed(kSpawn, {"work"}), CountTo{kAll}, square};
  std::atomic<bool> over{false};
  std::thread stopper{[&] {
    while (!over && in_worker()) line.runtime.stop();
  }};
  expect_all_squares(line.take_all());
  over = true;
  stopper.join();
}

TEST_F(SpawnedWorker, IsNotWaitedForByWhatItsMainLeftBehind) {
  Shared<Gate> forked;
  if (in_worker()) {  // it keeps what main had open
    if (fork() == 0) {
      forked->open();
      sleep(1);
      _exit(0);
    }
  }
  Line<Number> line{placed(kSpawn, {"work"}), CountTo{kAll}, square};
  expect_all_squares(line.take_all());
  line.runtime.stop();
  EXPECT_GT(forked->count(), 0U);
}

TEST_F(SpawnedWorker, ComesFromAHostWithManyThreadsAtWork) {
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (int count = 0; count < 200 && !in_worker(); ++count) {
    threads.emplace_back([&over] {  // allocator, output and locale have locks
      while (!over) {
        std::vector<std::string> words(20, std::string(100, 'x'));
        std::fflush(stdout);
        usleep(1000);
      }
    });
  }
  Line<Number> line{placed(kSpawn, {"work"}, {{"node.work.attempts", "100"}}), CountTo{kAll},
                    [](const Number& in, Context& context) {
                      if (in.value % 20 == 3 && context.attempt() == 1) raise(SIGKILL);
                      return square(in);
                    }};
  expect_all_squares(line.take_all());
  over = true;
  for (std::thread& one : threads) one.join();
}

TEST_F(SpawnedWorker, MayUseThreadsOfOneTBB) {  // a forked one may not
  Line<Number> line{placed(kSpawn, {"work"}), CountTo{kAll}, [](const Number& in) {
                      std::atomic<std::uint64_t> sum{0};
                      oneapi::tbb::flow::graph graph;
                      oneapi::tbb::flow::function_node<std::uint64_t> add{
                          graph, oneapi::tbb::flow::unlimited, [&](std::uint64_t one) { sum += one; }};
                      for (std::uint64_t one = 0; one < in.value; ++one) add.try_put(in.value);
                      graph.wait_for_all();
                      return Number{sum};
                    }};
  expect_all_squares(line.take_all());
}

TEST_F(SpawnedWorker, IsForkedBesideOneThatIsSpawned) {
  Config config = placed(kSpawn, {"spawned"});
  config.set("node.forked.placement", "process", "test");
  Runtime runtime{config};
  const bool host = !in_worker();
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{kAll}};
  producer_node<Number, Number> forked{
      graph, runtime, "forked", [host](const Number& in) { return Number{host ? in.value : 1'000'000}; }};
  producer_node<Number, Number> spawned{graph, runtime, "spawned", [host](const Number& in) {
                                          return Number{host ? 2'000'000 : in.value * in.value};
                                        }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  make_edge(numbers, forked);
  make_edge(forked, spawned);
  make_edge(spawned, order);
  make_edge(order, stream);
  std::uint64_t number = 0;
  for (const auto& item : stream) {
    EXPECT_EQ(item->value, number * number);
    ++number;
  }
  EXPECT_EQ(number, kAll);
}

// Whole programs: what they print is what came out of their streams.
int print_line(const char* attempts = "3") {
  Line<Number> line{placed(kSpawn, {"work"}, {{"node.work.attempts", attempts}}), CountTo{10}, square};
  try {
    for (const auto& item : line.stream) std::printf("%d ", static_cast<int>(item->value));
  } catch (const ProducerError& error) { std::printf("%s", error.reason().c_str()); }
  std::fflush(stdout);
  return 0;
}

HOST_PROGRAM(prints_squares) { return print_line(); }

// The program's file is gone when the workers come.
HOST_PROGRAM(loses_its_file) {
  if (!in_worker()) std::filesystem::remove(std::filesystem::read_symlink("/proc/self/exe"));
  return print_line();
}

// Started by way of the loader, so that /proc/self/exe is the loader, and the file is looked up again.
HOST_PROGRAM(is_built_again) {
  if (!in_worker()) {
    const std::string program = std::getenv("COPY_OF_PROGRAM");
    std::filesystem::rename(program + ".new", program);
  }
  return print_line("1");
}

HOST_PROGRAM(has_a_variable_that_nobody_set) {
  try {
    Runtime runtime;
  } catch (const ConfigError& error) { std::printf("%s", error.what()); }
  std::fflush(stdout);
  return 0;
}

// The host is killed while its workers' mains do not come to their graph.
HOST_PROGRAM(has_workers_in_main) {
  if (in_worker()) {
    std::fputs("w", stdout);
    std::fflush(stdout);
    for (;;) pause();
  }
  return print_line();
}

class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tandem-spawn-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) complain("mkdtemp");
    path_ = pattern;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::filesystem::path file(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::filesystem::path copy_of_this_program(const Folder& folder, const char* name) {
  const auto copy = folder.file(name);
  std::filesystem::copy_file("/proc/self/exe", copy);
  return copy;
}

// What a host program prints, to its end.
std::string output_of(const std::string& command) {
  FILE* const out = popen(command.c_str(), "re");
  if (out == nullptr) complain("popen");
  std::string text;
  char part[256];
  while (std::fgets(part, sizeof part, out) != nullptr) text += part;
  EXPECT_EQ(pclose(out), 0) << command;
  return text;
}

constexpr const char* kSquares = "0 1 4 9 16 25 36 49 64 81 ";

class SpawningHost : public TandemTest {};

TEST_F(SpawningHost, GivesWorkersItsOwnCommandLineAndEnvironment) {
  EXPECT_EQ(output_of("HOST_PROGRAM_OF_TEST=prints_squares /proc/" + std::to_string(getpid()) +
                      "/exe --any argument"),
            kSquares);
}

TEST_F(SpawningHost, MayLoseItsFile) {
  const Folder folder;
  const auto copy = copy_of_this_program(folder, "copy");
  EXPECT_EQ(output_of("HOST_PROGRAM_OF_TEST=loses_its_file " + copy.string()), kSquares);
}

TEST_F(SpawningHost, RefusesAProgramThatWasBuiltAgain) {
  if (kSanitized)
    GTEST_SKIP() << "the leak checker blames a program that its loader starts for the loader's memory";
  const Folder folder;
  const auto copy = copy_of_this_program(folder, "copy");
  const auto other = copy_of_this_program(folder, "copy.new");
  const std::string id = program_id();
  ASSERT_TRUE(id.starts_with("build id ")) << id;
  std::string bytes;
  for (std::size_t at = 9; at < id.size(); at += 2)
    bytes += static_cast<char>(std::stoi(id.substr(at, 2), nullptr, 16));
  std::string text;
  {
    std::ifstream file{other, std::ios::binary};
    text.assign(std::istreambuf_iterator<char>{file}, {});
  }
  const std::size_t place = text.find(bytes);
  ASSERT_NE(place, text.npos);
  text[place] = static_cast<char>(text[place] ^ 1);
  std::ofstream{other, std::ios::binary} << text;

  std::string loader;
  std::ifstream maps{"/proc/self/maps"};
  for (std::string one; std::getline(maps, one);) {
    if (one.find("/ld-linux") != one.npos) loader = one.substr(one.find('/'));
  }
  ASSERT_FALSE(loader.empty());
  EXPECT_THAT(output_of("HOST_PROGRAM_OF_TEST=is_built_again COPY_OF_PROGRAM=" + copy.string() + " " + loader +
                        " " + copy.string()),
              testing::AllOf(HasSubstr("start: the program is another now (build id "),
                             HasSubstr("start it again")));
}

TEST_F(SpawningHost, IsNotTakenForAWorkerBecauseOfAVariable) {
  EXPECT_THAT(output_of("TANDEM_SPAWNED='0 1 2' HOST_PROGRAM_OF_TEST=has_a_variable_that_nobody_set /proc/" +
                        std::to_string(getpid()) + "/exe"),
              HasSubstr("TANDEM_SPAWNED = \"0 1 2\" (environment): no such setting"));
}

TEST_F(SpawningHost, TakesItsWorkersWithItWhenItIsKilled) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const pid_t host = start_host_program("has_workers_in_main", ends[1]);
  close(ends[1]);
  char letters[2];
  for (char& letter : letters) ASSERT_EQ(read(ends[0], &letter, 1), 1);
  kill(host, SIGKILL);
  waitpid(host, nullptr, 0);
  char more = 0;
  pollfd end{ends[0], POLLIN, 0};
  ASSERT_EQ(poll(&end, 1, 20'000), 1);
  EXPECT_EQ(read(ends[0], &more, 1), 0) << "somebody still has its standard output";
  close(ends[0]);
}

}  // namespace
}  // namespace tandem::test
