#include <chrono>
#include <cstdint>
#include <deque>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <tandem/executor.hpp>

#include "program.hpp"
#include "sections.hpp"
#include "setup.hpp"

// Functions called in workers: small calls beside Python's process pool, and one pass over a large array beside the same loop in
// this process.

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kPythonCalls = 20'000;
constexpr std::size_t kNumbers = 20'000'000;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

int add(int a, int b) { return a + b; }

std::vector<double> submit_each(const Options& options, const char* placement) {
  tandem::Runtime runtime{configure(placement, options.workers, options.in_flight)};
  tandem::Executor calls{runtime, "maker"};
  const std::uint64_t count = std::max<std::uint64_t>(options.messages / 4, 1000);
  const auto run = [&calls](std::uint64_t times) {
    std::deque<tandem::Future<int>> futures;
    for (std::uint64_t i = 0; i < times; ++i) futures.push_back(calls.submit(add, static_cast<int>(i), 1));
    for (std::uint64_t i = 0; i < times; ++i) {
      if (futures.front().get() != static_cast<int>(i) + 1) throw std::runtime_error("a result is wrong");
      futures.pop_front();
    }
  };
  run(1000);
  const auto begin = Clock::now();
  run(count);
  return {static_cast<double>(count) / seconds_since(begin)};
}

int increment(int number) { return number + 1; }

std::vector<double> map_all(const Options& options, std::size_t chunk) {
  tandem::Runtime runtime{configure("process", options.workers, options.in_flight)};
  tandem::Executor calls{runtime, "maker"};
  calls.submit(increment, 1).get();
  const int count = static_cast<int>(std::max<std::uint64_t>(options.messages / 4, 1000));
  const auto begin = Clock::now();
  int next = 0;
  for (const int result : calls.map(increment, std::views::iota(0, count), {.chunk = chunk, .window = 64})) {
    if (result != ++next) throw std::runtime_error("a result is wrong");
  }
  return {static_cast<double>(count) / seconds_since(begin)};
}

// The same in Python: submit all, then take all.
std::vector<double> python(const Options& options) {
  const std::string program = fmt::format(
      "import concurrent.futures, operator, time\n"
      "with concurrent.futures.ProcessPoolExecutor({}) as pool:\n"
      "  pool.submit(operator.add, 1, 1).result()\n"
      "  begin = time.perf_counter()\n"
      "  futures = [pool.submit(operator.add, i, 1) for i in range({})]\n"
      "  assert all(f.result() == i + 1 for i, f in enumerate(futures))\n"
      "  print({} / (time.perf_counter() - begin))\n",
      options.workers, kPythonCalls, kPythonCalls);
  return {number_from({"python3", "-c", program})};
}

tandem::SharedArray<double> add_one(tandem::SharedArray<double> numbers) {
  double* const data = numbers.data();
  for (std::size_t i = 0; i < kNumbers; ++i) data[i] += 1;
  return numbers;
}

// Both alternate, on one array: what they find in the caches is the same.
std::vector<double> add_one_both(const char* placement) {
  tandem::Config config = configure(placement, 1, 8);
  tandem::Runtime runtime{config};
  tandem::Executor adders{runtime, "maker"};
  auto numbers = runtime.array<double>(tandem::Shape{kNumbers}, 0.0);
  constexpr int kTimes = 15;
  std::vector<double> here;
  std::vector<double> there;
  adders.submit(add_one, numbers).get();  // its pages are mapped then
  for (int times = 0; times < kTimes; ++times) {
    auto begin = Clock::now();
    add_one(numbers);
    here.push_back(seconds_since(begin) * 1000);
    begin = Clock::now();
    adders.submit(add_one, numbers).get();
    there.push_back(seconds_since(begin) * 1000);
  }
  if (numbers[kNumbers - 1] != 2 * kTimes + 1) throw std::runtime_error("a number is wrong");
  const double mine = median(here);
  const double theirs = median(there);
  return {mine, theirs, theirs / mine};
}

}  // namespace

void run_executor(const Options& options, Report& report) {
  const std::vector<Metric> rate{{"", "calls/s"}};
  const std::vector<Variant> small{
      {"submit, processes", rate, [&options] { return submit_each(options, "process"); }},
      {"submit, threads", rate, [&options] { return submit_each(options, "thread"); }},
      {"map, processes", rate, [&options] { return map_all(options, 1); }},
      {"map, processes, chunks of 100", rate, [&options] { return map_all(options, 100); }},
      {"Python's process pool", rate, [&options] { return python(options); }},
  };
  report.add({"executor: small calls"},
             measure_rounds("executor: small calls", small, options, options.repetitions));
  report.figure("executor_calls", "submit, processes");
  report.ratio("executor_over_python", "submit, processes", "Python's process pool");

  const std::vector<Metric> passes{{"in this process", "ms"}, {"in a worker", "ms"}, {"ratio", ""}};
  const std::vector<Variant> large{
      {"add_one, a process", passes, [] { return add_one_both("process"); }},
      {"add_one, a thread", passes, [] { return add_one_both("thread"); }},
  };
  report.add({"executor: one pass over 160 MB"},
             measure_rounds("executor: one pass over 160 MB", large, options, options.repetitions));
  report.figure("add_one_ratio", "add_one, a process", "ratio");
}

}  // namespace bench
