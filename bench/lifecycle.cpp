#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <oneapi/tbb/flow_graph.h>

#include <tandem/spawn.hpp>
#include <tandem/tandem.hpp>

#include "fill.hpp"
#include "sections.hpp"
#include "setup.hpp"

// How long a user waits at both ends: from the beginning of the loop, which starts the workers, to the first
// item; and for stop(), with workers and commander in full swing.

namespace bench {
namespace {

namespace flow = oneapi::tbb::flow;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kEndless = std::numeric_limits<std::uint64_t>::max();
constexpr int kItemsBeforeStop = 100;

constexpr const char* kForked = "forked processes";
constexpr const char* kOnThreads = "threads";
constexpr const char* kFirstItem = "first item";
constexpr const char* kStop = "stop";

double milliseconds(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

// Returns {first item, stop}.
template <class T, class Maker>
std::vector<double> both_ends(tandem::Runtime& runtime, flow::graph& graph, Maker& maker) {
  tandem::commander_node<Message> numbers{graph, runtime, "numbers", Counter{kEndless}};
  tandem::sequencer_node<T> order{graph, runtime};
  tandem::stream_node<T> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, order);
  make_edge(order, results);
  const auto begin = Clock::now();
  auto item = results.next();
  const auto first = Clock::now();
  for (int i = 1; i < kItemsBeforeStop; ++i) item = results.next();
  const auto stop = Clock::now();
  runtime.stop();
  const auto end = Clock::now();
  if (!item || item->sequence() != kItemsBeforeStop - 1) throw std::runtime_error("items are missing");
  return {milliseconds(first - begin), milliseconds(end - stop)};
}

// A spawned worker runs main again, which comes straight back here: run_spawned_lifecycle().
std::vector<double> tiny_ends(const Options& options, const char* placement, const char* start = "fork") {
  tandem::Config config = configure(placement, options.workers, options.in_flight);
  config.set("node.maker.start", start, "bench");
  tandem::spawn_with({"tandem_bench", std::to_string(options.workers), std::to_string(options.in_flight)});
  tandem::Runtime runtime{config};
  flow::graph graph;
  tandem::producer_node<Message, Message> maker{graph, runtime, "maker",
                                                [](const Message& message) { return message; }};
  return both_ends<Message>(runtime, graph, maker);
}

std::vector<double> big_ends(const Options& options, const char* placement) {
  tandem::Runtime runtime{configure(placement, options.workers, options.big_in_flight)};
  flow::graph graph;
  tandem::producer_node<Message, tandem::Arrays> maker{
      graph,
      runtime,
      "maker",
      {tandem::array<std::uint8_t>("pixels", {64, 256, 256, 3})},
      [](const Message& message, tandem::Arrays& out) { fill(out.data("pixels"), message.number); }};
  return both_ends<tandem::Arrays>(runtime, graph, maker);
}

// A host that has touched this much: fork copies its page tables.
std::vector<double> ends_in_large_host(const Options& options, const char* start) {
  const std::vector<char> ballast(std::size_t{1} << 30, 'x');
  std::vector<double> values = tiny_ends(options, "process", start);
  if (ballast[ballast.size() / 2] != 'x') values.clear();  // keeps it alive
  return values;
}

void forked_figures(Report& report) {
  report.figure("first_item_fork", kForked, kFirstItem);
  report.figure("stop_fork", kForked, kStop);
  report.figure("first_item_thread", kOnThreads, kFirstItem);
  report.figure("stop_thread", kOnThreads, kStop);
}

}  // namespace

void run_spawned_lifecycle(char** arguments) {
  Options options;
  options.workers = std::atoi(arguments[1]);
  options.in_flight = static_cast<std::uint32_t>(std::atoi(arguments[2]));
  tiny_ends(options, "process", "spawn");
}

void run_first_item(const Options& options, Report& report) {
  const std::vector<Metric> ends{{kFirstItem, "ms"}, {kStop, "ms"}};
  const std::vector<Variant> variants{
      {kForked, ends, [&] { return tiny_ends(options, "process"); }},
      {kOnThreads, ends, [&] { return tiny_ends(options, "thread"); }},
  };
  report.add({fmt::format("first_item: the first item and stop(), {} workers", options.workers),
              "milliseconds; less is better", Better::less, kForked},
             measure_rounds("first_item", variants, options, 5 * options.repetitions));
  forked_figures(report);
}

void run_lifecycle(const Options& options, Report& report) {
  const std::vector<Metric> ends{{kFirstItem, "ms"}, {kStop, "ms"}};
  const std::vector<Variant> variants{
      {kForked, ends, [&] { return tiny_ends(options, "process"); }},
      {"spawned processes", ends, [&] { return tiny_ends(options, "process", "spawn"); }},
      {kOnThreads, ends, [&] { return tiny_ends(options, "thread"); }},
      {"forked processes, 12.6 MB arrays", ends, [&] { return big_ends(options, "process"); }},
      {"threads, 12.6 MB arrays", ends, [&] { return big_ends(options, "thread"); }},
  };
  const std::vector<Variant> large{
      {"forked processes, host of 1 GiB", ends, [&] { return ends_in_large_host(options, "fork"); }},
      {"spawned processes, host of 1 GiB", ends, [&] { return ends_in_large_host(options, "spawn"); }}};
  std::vector<Row> rows = measure_rounds("lifecycle", variants, options, 5 * options.repetitions);
  const std::vector<Row> more = measure_rounds("lifecycle", large, options, options.repetitions);
  rows.insert(rows.end(), more.begin(), more.end());
  report.add({fmt::format("first item and stop, {} workers", options.workers)}, rows);
  forked_figures(report);
  report.figure("first_item_spawn", "spawned processes", kFirstItem);
  report.figure("stop_spawn", "spawned processes", kStop);
  report.figure("first_item_fork_big", "forked processes, 12.6 MB arrays", kFirstItem);
  report.figure("stop_fork_big", "forked processes, 12.6 MB arrays", kStop);
  report.figure("first_item_fork_large_host", "forked processes, host of 1 GiB", kFirstItem);
  report.figure("first_item_spawn_large_host", "spawned processes, host of 1 GiB", kFirstItem);
}

}  // namespace bench
