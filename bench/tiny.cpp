#include <sys/resource.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <oneapi/tbb/flow_graph.h>

#include <tandem/tandem.hpp>

#include "consumer.hpp"
#include "sections.hpp"
#include "setup.hpp"

// 64-byte results through the same pipeline three times: numbered messages, a producer with two workers,
// order restored, one consumer that looks at every word. At most N messages exist at a time.

namespace bench {
namespace {

namespace flow = oneapi::tbb::flow;

double tandem_rate(const Options& options, const char* placement) {
  TinyConsumer consumer{options};
  tandem::Runtime runtime{configure(placement, options.workers, options.in_flight)};
  flow::graph graph;
  tandem::commander_node<Message> numbers{graph, runtime, "numbers", Counter{consumer.all()}};
  tandem::producer_node<Message, Result> maker{graph, runtime, "maker", make};
  tandem::sequencer_node<Result> order{graph, runtime};
  tandem::stream_node<Result> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, order);
  make_edge(order, results);
  for (const auto& item : results) consumer.take(*item);
  return consumer.rate();
}

// The reference: what somebody who knows oneTBB writes for the same job. The caller's thread works in the
// graph too, so it has as many threads as the machine has processors. SinkPolicy: with a lightweight one the
// sink runs in the task of the sequencer instead of in one of its own, which was faster wherever we looked.
// The producer must not be lightweight: its two bodies could never run at the same time.
template <class SinkPolicy>
double graph_rate(const Options& options) {
  TinyConsumer consumer{options};
  flow::graph graph;
  Counter counter{consumer.all()};
  flow::input_node<Message> input{graph, [&counter](oneapi::tbb::flow_control& control) {
                                    const std::optional<Message> message = counter();
                                    if (message) return *message;
                                    control.stop();
                                    return Message{};
                                  }};
  flow::limiter_node<Message> limiter{graph, options.in_flight};
  flow::function_node<Message, Result> maker{graph, static_cast<std::size_t>(options.workers),
                                             [](const Message& message) noexcept {
                                               Result result;
                                               make(message, result);
                                               return result;
                                             }};
  flow::sequencer_node<Result> order{graph, [](const Result& result) noexcept { return result.number; }};
  flow::function_node<Result, flow::continue_msg, SinkPolicy> sink{graph, flow::serial,
                                                                   [&consumer](const Result& result) noexcept {
                                                                     consumer.take(result);
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

// Processor time and context switches of this process and of all that ended under it.
struct Usage {
  double microseconds = 0, switches = 0;
  Usage() {
    for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
      rusage part{};
      getrusage(who, &part);
      microseconds += 1e6 * static_cast<double>(part.ru_utime.tv_sec + part.ru_stime.tv_sec) +
                      static_cast<double>(part.ru_utime.tv_usec + part.ru_stime.tv_usec);
      switches += static_cast<double>(part.ru_nvcsw + part.ru_nivcsw);
    }
  }
};

// The rate, and beside it what hardly depends on who else uses the machine: processor time and context
// switches for each message, with workers, start and stop.
Variant variant(const char* name, const Options& options, std::function<double()> measure) {
  return {name,
          {{"", "1/s"}, {"processor time", "us"}, {"context switches", "1"}},
          [&options, measure = std::move(measure)] {
            const Usage before;
            const double rate = measure();
            const Usage after;
            const auto messages = static_cast<double>(TinyConsumer{options}.all());
            return std::vector{rate, (after.microseconds - before.microseconds) / messages,
                               (after.switches - before.switches) / messages};
          }};
}

constexpr const char* kPlainGraph = "oneTBB graph, plain";
constexpr const char* kGraph = "oneTBB graph";

}  // namespace

std::vector<Variant> tiny_variants(const Options& options) {
  return {
      variant(kProcesses, options, [&options] { return tandem_rate(options, "process"); }),
      variant(kThreads, options, [&options] { return tandem_rate(options, "thread"); }),
      variant(kGraph, options, [&options] { return graph_rate<flow::queueing_lightweight>(options); }),
      variant(kPlainGraph, options, [&options] { return graph_rate<flow::queueing>(options); }),
  };
}

void run_tiny(const Options& options, Report& report) {
  const std::string title = fmt::format("tiny: 64-byte results, {} workers, ordered, {} in flight",
                                        options.workers, options.in_flight);
  report.add(title, measure_rounds("tiny", tiny_variants(options), options, options.repetitions));
  report.ratio("tiny_process_vs_tbb", kProcesses, kGraph);
  report.ratio("tiny_thread_vs_tbb", kThreads, kGraph);
  report.ratio("tiny_process_vs_tbb_plain", kProcesses, kPlainGraph);
  report.figure("tiny_process", kProcesses);
  report.figure("tiny_thread", kThreads);
  report.figure("tiny_tbb", kGraph);
  report.figure("tiny_process_cpu", kProcesses, "processor time");
  report.figure("tiny_thread_cpu", kThreads, "processor time");
  report.figure("tiny_tbb_cpu", kGraph, "processor time");
}

}  // namespace bench
