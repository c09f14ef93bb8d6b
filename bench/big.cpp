#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <oneapi/tbb/flow_graph.h>

#include <tandem/tandem.hpp>

#include "array_pool.hpp"
#include "consumer.hpp"
#include "fill.hpp"
#include "limit.hpp"
#include "sections.hpp"
#include "setup.hpp"

// 12.6 MB arrays: two workers fill them, order is restored, one consumer looks at each. Beside it the bare
// limit of the machine: as many threads, each of which fills one warm array of its own over and over.

namespace bench {
namespace {

namespace flow = oneapi::tbb::flow;

double tandem_rate(const Options& options, const char* placement) {
  BigConsumer consumer{options};
  tandem::Runtime runtime{configure(placement, options.workers, options.big_in_flight)};
  flow::graph graph;
  tandem::commander_node<Message> numbers{graph, runtime, "numbers", Counter{consumer.all()}};
  tandem::producer_node<Message, tandem::Arrays> maker{
      graph,
      runtime,
      "maker",
      {tandem::array<std::uint8_t>("pixels", {64, 256, 256, 3})},
      [](const Message& message, tandem::Arrays& out) { fill(out.data("pixels"), message.number); }};
  tandem::sequencer_node<tandem::Arrays> order{graph, runtime};
  tandem::stream_node<tandem::Arrays> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, order);
  make_edge(order, results);
  {
    // All blocks are lent once before the clock starts: first touch is no part of this figure.
    std::vector<tandem::Item<tandem::Arrays>> held;
    while (held.size() < options.big_in_flight) held.push_back(results.next().value());
    for (const auto& item : held) consumer.take(item->data("pixels"));
  }
  for (const auto& item : results) consumer.take(item->data("pixels"));
  return consumer.rate();
}

struct Filled {
  std::uint64_t number = 0;
  std::byte* array = nullptr;
};

double graph_rate(const Options& options) {
  BigConsumer consumer{options};
  ArrayPool pool{options.big_in_flight};
  flow::graph graph;
  Counter counter{consumer.all()};
  flow::input_node<Message> input{graph, [&counter](oneapi::tbb::flow_control& control) {
                                    const std::optional<Message> message = counter();
                                    if (message) return *message;
                                    control.stop();
                                    return Message{};
                                  }};
  flow::limiter_node<Message> limiter{graph, options.big_in_flight};
  flow::function_node<Message, Filled> maker{graph, static_cast<std::size_t>(options.workers),
                                             [&pool](const Message& message) noexcept {
                                               std::byte* const array = pool.take();
                                               fill(array, message.number);
                                               return Filled{message.number, array};
                                             }};
  flow::sequencer_node<Filled> order{graph, [](const Filled& filled) noexcept { return filled.number; }};
  flow::function_node<Filled> sink{graph, flow::serial, [&](const Filled& filled) noexcept {
                                     consumer.take(filled.array);
                                     pool.give_back(filled.array);
                                     return flow::continue_msg{};
                                   }};
  make_edge(input, limiter);
  make_edge(limiter, maker);
  make_edge(maker, order);
  make_edge(order, sink);
  make_edge(sink, limiter.decrementer());
  input.activate();
  graph.wait_for_all();
  return consumer.rate();
}

double fill_limit(const Options& options) {
  const double rate = limit_rate(options.workers, options.arrays, [] {
    return [array = std::shared_ptr{warm_array()}](std::uint64_t number) { fill(array.get(), number); };
  });
  return rate * static_cast<double>(kBigBytes) / 1e9;
}

constexpr const char* kGraph = "oneTBB graph, pooled arrays";
constexpr const char* kLimit = "bare limit";

std::vector<Variant> variants(const Options& options) {
  return {
      {kProcesses, {{"", "GB/s"}}, [&options] { return std::vector{tandem_rate(options, "process")}; }},
      {kThreads, {{"", "GB/s"}}, [&options] { return std::vector{tandem_rate(options, "thread")}; }},
      {kGraph, {{"", "GB/s"}}, [&options] { return std::vector{graph_rate(options)}; }},
      {kLimit, {{"", "GB/s"}}, [&options] { return std::vector{fill_limit(options)}; }},
  };
}

}  // namespace

void run_big(const Options& options, Report& report, const std::vector<Variant>& others) {
  std::vector<Variant> all = variants(options);
  all.insert(all.end(), others.begin(), others.end());
  report.add({fmt::format("big: arrays of {:.1f} MB, {} workers, ordered, {} in flight",
                          static_cast<double>(kBigBytes) / 1e6, options.workers, options.big_in_flight),
              "GB/s; more is better", Better::more, kProcesses},
             measure_rounds("big", all, options, options.repetitions));
  report.ratio("big_process_vs_limit", kProcesses, kLimit);
  report.ratio("big_thread_vs_limit", kThreads, kLimit);
  report.ratio("big_tbb_vs_limit", kGraph, kLimit);
  report.figure("big_process", kProcesses);
  report.figure("big_thread", kThreads);
  report.figure("big_tbb", kGraph);
  report.figure("big_limit", kLimit);
}

}  // namespace bench
