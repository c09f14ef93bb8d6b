#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <oneapi/tbb/flow_graph.h>

#include <tandem/tandem.hpp>

#include "child.hpp"
#include "fill.hpp"
#include "sections.hpp"
#include "setup.hpp"

// How long a message waits for its second attempt when its worker is killed under it, and what is lost by that.
// Every now and then the commander sends a victim: its first attempt tells the killer that it runs, and spins
// until it is killed; its second attempt writes down when it began.

namespace bench {
namespace {

namespace flow = oneapi::tbb::flow;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kNoVictim = 0xFFFFFFFFU;
constexpr int kBetween = 8;  // other messages, at least, between two victims
constexpr std::chrono::microseconds kWork{50};
constexpr std::chrono::seconds kGoneWithin{5};

/// One way to lose workers.
struct Scene {
  const char* name = nullptr;
  const char* figure = nullptr;
  int workers = 2;
  std::uint32_t in_flight = 64;
  bool arrays = false;  // of 12.6 MB; otherwise 64 bytes
  bool spare = true;    // one started process more than workers
  bool patient = true;  // no kill before all that the last one cost is back, the spare's start() too
  std::chrono::milliseconds start{0};  // what start() takes of a processor
  std::size_t ballast = 0;             // bytes that the host has touched: fork copies their page tables
  int divisor = 1;                     // this part of the kills that were asked for

  int processes() const noexcept { return workers + (spare ? 1 : 0); }
};

struct Order {
  std::uint64_t number;
  std::uint32_t victim;  // which one, or kNoVictim
};

struct Result {
  std::uint64_t words[8];
};

void fill(Result& result, std::uint64_t number) noexcept {
  for (std::uint64_t i = 0; i < 8; ++i) result.words[i] = number * (2 * i + 1) + i;
}
bool is_filled(const Result& result, std::uint64_t number) noexcept {
  Result wanted;
  fill(wanted, number);
  return std::memcmp(&wanted, &result, sizeof wanted) == 0;
}

std::int64_t now() noexcept { return Clock::now().time_since_epoch().count(); }

/// What host, workers and the killer tell each other; in memory that all of them map. Any of the workers can
/// die between any two lines: each word stands alone.
struct Board {
  std::atomic<int> started{0};           // start() of a body has returned; written by workers
  std::atomic<std::uint32_t> killed{0};  // victims; written by the killer
  std::atomic<std::int64_t>* again;      // for each victim: when its second attempt began; written by workers
};

class SharedBoard {
 public:
  explicit SharedBoard(std::uint32_t victims)
      : bytes_{sizeof(Board) + victims * sizeof(std::atomic<std::int64_t>)} {
    void* const memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc{};
    board_ = new (memory) Board;
    board_->again = new (board_ + 1) std::atomic<std::int64_t>[victims];
  }
  ~SharedBoard() { munmap(board_, bytes_); }
  SharedBoard(const SharedBoard&) = delete;
  SharedBoard& operator=(const SharedBoard&) = delete;
  Board& operator*() const noexcept { return *board_; }

 private:
  std::size_t bytes_;
  Board* board_;
};

/// Kills every worker that says that it runs a victim. A thread of its own, which sleeps in a pipe.
class Killer {
 public:
  /// One write of a worker to the pipe.
  struct Announcement {
    pid_t pid;  // 0: no more will come
    std::uint32_t victim;
  };

  Killer(Board& board, std::uint32_t victims) : board_{board}, killed_(victims, 0) {
    if (pipe2(ends_, O_CLOEXEC) != 0) throw std::runtime_error("cannot make a pipe");
    thread_ = std::thread{[this] { run(); }};
  }
  ~Killer() { stop(); }
  Killer(const Killer&) = delete;
  Killer& operator=(const Killer&) = delete;

  void stop() {
    if (!thread_.joinable()) return;
    announce(ends_[1], {0, 0});
    thread_.join();
    for (const int end : ends_) close(end);
  }
  int pipe() const noexcept { return ends_[1]; }
  /// When each victim was killed; 0: never. After stop().
  const std::vector<std::int64_t>& killed() const noexcept { return killed_; }

  static void announce(int pipe, Announcement one) noexcept {
    while (write(pipe, &one, sizeof one) < 0 && errno == EINTR) {}
  }

 private:
  void run() noexcept {
    Announcement one{};
    while (read(ends_[0], &one, sizeof one) == sizeof one && one.pid != 0) {
      killed_[one.victim] = now();
      kill(one.pid, SIGKILL);
      ++board_.killed;
    }
  }

  Board& board_;
  int ends_[2] = {-1, -1};
  std::vector<std::int64_t> killed_;
  std::thread thread_;
};

/// The commander: victims, and other messages between them.
struct Orders {
  Board* board;
  const Scene* scene;
  std::uint32_t kills;
  std::uint64_t next = 0;
  std::uint32_t victims = 0;
  int since = 0;  // the last victim; in a patient scene, since everything was ready again

  std::optional<Order> operator()() {
    if (scene->patient && !all_ready()) since = 0;
    if (victims == kills && since >= kBetween) return std::nullopt;
    if (victims == kills || since < kBetween) {
      ++since;
      return Order{next++, kNoVictim};
    }
    since = 0;
    return Order{next++, victims++};
  }

  // Each victim was killed and has begun again, and for each of them a process was started.
  bool all_ready() const noexcept {
    if (board->killed.load() != victims) return false;
    if (victims > 0 && board->again[victims - 1].load() == 0) return false;
    return board->started.load() >= scene->processes() + static_cast<int>(victims);
  }
};

/// The body, but for what it makes.
class Attempt {
 public:
  Attempt(Board& board, const Scene& scene, int pipe) : board_{&board}, start_{scene.start}, pipe_{pipe} {}

  void start() const {
    timespec used{};
    do {
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    } while (std::chrono::seconds{used.tv_sec} + std::chrono::nanoseconds{used.tv_nsec} < start_);
    ++board_->started;
  }
  /// Returns unless this is where the worker dies.
  void begin(const Order& order, int attempt) const {
    if (order.victim == kNoVictim) return;
    if (attempt == 1) {
      Killer::announce(pipe_, {getpid(), order.victim});
      for (volatile bool alive = true; alive;) {}
    }
    std::int64_t never = 0;
    board_->again[order.victim].compare_exchange_strong(never, now());
  }

 private:
  Board* board_;
  std::chrono::nanoseconds start_;
  int pipe_;
};

struct TinyMaker {
  Attempt attempt;
  void start() const { attempt.start(); }
  void operator()(const Order& order, Result& result, tandem::Context& context) const {
    attempt.begin(order, context.attempt());
    for (const auto end = Clock::now() + kWork; Clock::now() < end;) {}
    fill(result, order.number);
  }
};

struct BigMaker {
  Attempt attempt;
  void start() const { attempt.start(); }
  void operator()(const Order& order, tandem::Arrays& out, tandem::Context& context) const {
    attempt.begin(order, context.attempt());
    bench::fill(out.data("pixels"), order.number);
  }
};

bool is_right(const Result& result, std::uint64_t number) { return is_filled(result, number); }
bool is_right(const tandem::Arrays& arrays, std::uint64_t number) {
  return bench::is_filled(arrays.data("pixels"), number);
}

/// What must not happen, counted over all messages of a run.
struct Faults {
  static constexpr const char* kNames[] = {"lost",          "duplicated",         "reordered",       "blamed",
                                           "leaked_blocks", "leaked_descriptors", "leaked_processes"};
  double lost = 0;        // never came, came as an error, or with the wrong contents
  double duplicated = 0;  // came again
  double reordered = 0;   // came after a later one
  double blamed = 0;      // attempts that messages lost without having been killed
  double blocks = 0, descriptors = 0, processes = 0;

  std::vector<double> all() const {
    return {lost, duplicated, reordered, blamed, blocks, descriptors, processes};
  }
};

/// Notes what comes.
class Consumer {
 public:
  void take(std::uint64_t sequence, int attempt, bool right) {
    if (sequence >= seen_.size()) seen_.resize(sequence + 1, 0);
    if (seen_[sequence] != 0) {
      ++faults.duplicated;
    } else if (sequence < next_) {
      ++faults.reordered;
    }
    if (!right) ++faults.lost;
    seen_[sequence] = 1;
    next_ = std::max(next_, sequence + 1);
    attempts_ += attempt - 1;
  }
  void end(std::uint64_t messages, std::uint32_t kills) {
    seen_.resize(messages, 0);
    faults.lost += static_cast<double>(std::count(seen_.begin(), seen_.end(), 0));
    faults.blamed = std::abs(static_cast<double>(attempts_ - std::int64_t{kills}));
  }

  Faults faults;

 private:
  std::vector<char> seen_;
  std::uint64_t next_ = 0;
  std::int64_t attempts_ = 0;  // beyond the first, of all messages
};

tandem::Config configure(const Scene& scene) {
  tandem::Config config = bench::configure("process", scene.workers, scene.in_flight);
  config.set("node.maker.spares", scene.spare ? "1" : "0", "bench");
  return config;
}

template <class T, class Maker>
void stream_all(tandem::Runtime& runtime, flow::graph& graph, Maker& maker, Orders orders, Consumer& consumer) {
  std::uint64_t messages = 0;
  tandem::commander_node<Order> numbers{graph, runtime, "numbers", [orders, &messages]() mutable {
                                          const std::optional<Order> order = orders();
                                          if (order) ++messages;
                                          return order;
                                        }};
  tandem::sequencer_node<T> order{graph, runtime};
  tandem::stream_node<T> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, order);
  make_edge(order, results);
  for (;;) {
    try {
      const auto item = results.next();
      if (!item) break;
      consumer.take(item->sequence(), item->attempt(), is_right(**item, item->sequence()));
    } catch (const tandem::ProducerError& error) {
      consumer.take(error.sequence(), error.failure().attempt, false);
    }
  }
  runtime.stop();
  consumer.end(messages, orders.kills);
}

void run_graph(const Scene& scene, Board& board, const Killer& killer, std::uint32_t kills,
               Consumer& consumer) {
  tandem::Runtime runtime{configure(scene)};
  {
    flow::graph graph;
    const Orders orders{&board, &scene, kills};
    const Attempt attempt{board, scene, killer.pipe()};
    if (scene.arrays) {
      tandem::producer_node<Order, tandem::Arrays> maker{
          graph,
          runtime,
          "maker",
          {tandem::array<std::uint8_t>("pixels", {64, 256, 256, 3})},
          BigMaker{attempt}};
      stream_all<tandem::Arrays>(runtime, graph, maker, orders, consumer);
    } else {
      tandem::producer_node<Order, Result> maker{graph, runtime, "maker", TinyMaker{attempt}};
      stream_all<Result>(runtime, graph, maker, orders, consumer);
    }
  }
  consumer.faults.blocks = static_cast<double>(runtime.lent_blocks() + runtime.live_messages());
  const tandem::Audit audit = runtime.audit();
  if (!audit.balanced()) throw std::runtime_error("the books do not balance: " + audit.text());
}

double open_descriptors() {
  const std::filesystem::directory_iterator all{"/proc/self/fd"};
  return static_cast<double>(std::distance(begin(all), end(all)));
}

// Children that do not end. Whoever loses its parent becomes a child of this process.
double processes_left() {
  const auto until = Clock::now() + kGoneWithin;
  while (Clock::now() < until) {
    const pid_t ended = waitpid(-1, nullptr, WNOHANG);
    if (ended < 0) return 0;
    if (ended == 0) std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  double left = 0;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/task"}) {
    std::ifstream children{entry.path() / "children"};
    left += static_cast<double>(std::distance(std::istream_iterator<pid_t>{children}, {}));
  }
  return std::max(left, 1.0);
}

// Returns the faults, then the milliseconds of each kill.
std::vector<double> lose_workers(const Scene& scene, std::uint32_t kills) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  // The runtime has a line for each death: it is written, but not here.
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  dup2(nowhere, STDERR_FILENO);
  close(nowhere);
  const std::vector<char> ballast(scene.ballast, 'x');
  const double descriptors = open_descriptors();
  const SharedBoard board{kills};
  Consumer consumer;
  Killer killer{*board, kills};
  run_graph(scene, *board, killer, kills, consumer);
  killer.stop();
  consumer.faults.descriptors = std::abs(open_descriptors() - descriptors);
  consumer.faults.processes = processes_left();

  if (!ballast.empty() && ballast[ballast.size() / 2] != 'x')
    throw std::logic_error("unreachable");  // keeps it alive
  std::vector<double> values = consumer.faults.all();
  for (std::uint32_t victim = 0; victim < kills; ++victim) {
    const std::int64_t killed = killer.killed()[victim];
    const std::int64_t again = (*board).again[victim].load();
    if (killed == 0 || again == 0) {
      throw std::runtime_error(fmt::format("victim {} was {}", victim,
                                           killed == 0 ? "never killed" : "not tried again"));
    }
    values.push_back(static_cast<double>(again - killed) / 1e6);
  }
  return values;
}

// The least value that is not below this part of all (nearest rank).
double percentile(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<std::size_t>(std::ceil(part * static_cast<double>(values.size())));
  return values[std::max<std::size_t>(rank, 1) - 1];
}

constexpr Scene kScenes[] = {
    {.name = "tiny, spare ready", .figure = "recovery"},
    {.name = "tiny, one message at a time", .figure = "recovery_idle", .in_flight = 1},
    {.name = "tiny, no waiting for the spare", .figure = "recovery_impatient", .patient = false},
    {.name = "tiny, no spare", .figure = "recovery_no_spare", .spare = false},
    {.name = "12.6 MB arrays, spare ready",
     .figure = "recovery_big",
     .in_flight = 8,
     .arrays = true,
     .divisor = 10},
    {.name = "12.6 MB arrays, no spare",
     .figure = "recovery_big_no_spare",
     .in_flight = 8,
     .arrays = true,
     .spare = false,
     .divisor = 10},
    {.name = "tiny, host of 1 GiB",
     .figure = "recovery_large_host",
     .ballast = std::size_t{1} << 30,
     .divisor = 20},
    {.name = "tiny, 1 worker, start() of 50 ms",
     .figure = "recovery_slow_start",
     .workers = 1,
     .start = std::chrono::milliseconds{50},
     .divisor = 10},
    {.name = "tiny, 1 worker, start() of 50 ms, no spare",
     .figure = "recovery_slow_start_no_spare",
     .workers = 1,
     .spare = false,
     .start = std::chrono::milliseconds{50},
     .divisor = 10},
};

}  // namespace

void run_recovery(const Options& options, Report& report) {
  constexpr std::size_t kFaults = std::size(Faults::kNames);
  std::vector<const Scene*> scenes;
  for (const Scene& scene : kScenes) {
    if (std::string{scene.name}.find(options.variants) != std::string::npos) scenes.push_back(&scene);
  }
  std::vector<std::vector<double>> times(scenes.size());
  std::vector<double> faults(kFaults, 0);
  for (int round = 0; round < options.repetitions; ++round) {
    fmt::print(stderr, "recovery: round {} of {}\n", round + 1, options.repetitions);
    for (std::size_t step = 0; step < scenes.size(); ++step) {
      const std::size_t i = (step + static_cast<std::size_t>(round)) % scenes.size();
      const Scene& scene = *scenes[i];
      const int share = options.kills / scene.divisor / options.repetitions;
      const auto kills = static_cast<std::uint32_t>(std::max(share, 1));
      std::vector<double> values;
      try {
        values = in_child([&] { return lose_workers(scene, kills); }, options.at_most);
      } catch (const std::exception& error) {
        throw std::runtime_error(fmt::format("recovery, {}, round {}: {}", scene.name, round + 1,
                                             error.what()));
      }
      for (std::size_t fault = 0; fault < kFaults; ++fault) faults[fault] += values.at(fault);
      times[i].insert(times[i].end(), values.begin() + kFaults, values.end());
    }
  }
  std::vector<Row> rows;
  for (std::size_t i = 0; i < scenes.size(); ++i) {
    rows.push_back({scenes[i]->name, {"", "ms"}, times[i]});
    rows.push_back({scenes[i]->name, {"p99", "ms"}, {percentile(times[i], 0.99)}});
    rows.push_back({scenes[i]->name, {"most", "ms"}, {percentile(times[i], 1)}});
  }
  for (std::size_t fault = 0; fault < kFaults; ++fault) {
    rows.push_back({"all", {Faults::kNames[fault], "1"}, {faults[fault]}});
  }
  report.add({"from a kill to the same message running again"}, rows);
  for (const Scene* const scene : scenes) {
    report.figure(fmt::format("{}_p50", scene->figure), scene->name);
    report.figure(fmt::format("{}_p99", scene->figure), scene->name, "p99");
    report.figure(fmt::format("{}_max", scene->figure), scene->name, "most");
  }
  for (const char* const fault : Faults::kNames) report.figure(fmt::format("recovery_{}", fault), "all", fault);
}

}  // namespace bench
