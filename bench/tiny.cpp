#include <sys/resource.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <oneapi/tbb/flow_graph.h>

#include <tandem/tandem.hpp>

#include "consumer.hpp"
#include "processors.hpp"
#include "sections.hpp"
#include "setup.hpp"
#include "tiny_stream.hpp"

// 64-byte results through the same pipeline in several forms: numbered messages, a producer with two workers,
// order restored, one consumer that looks at every word. At most N messages exist at a time.

namespace bench {
namespace {

namespace flow = oneapi::tbb::flow;

double tandem_rate(const Options& options, const char* placement) {
  TinyConsumer consumer{options};
  const tandem::Config config = configure(placement, options.workers, options.in_flight);
  return with_tiny_stream(config, Counter{consumer.all()}, [&](tandem::Runtime&, auto& results) {
    for (const auto& item : results) consumer.take(*item);
    return consumer.rate();
  });
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
          {{"", "1/s"}, {kProcessorTime, "us"}, {"context switches", "1"}},
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

std::vector<Variant> variants(const Options& options) {
  return {
      variant(kProcesses, options, [&options] { return tandem_rate(options, "process"); }),
      variant(kThreads, options, [&options] { return tandem_rate(options, "thread"); }),
      variant(kGraph, options, [&options] { return graph_rate<flow::queueing_lightweight>(options); }),
      variant(kPlainGraph, options, [&options] { return graph_rate<flow::queueing>(options); }),
  };
}

// Rates for each processor, so that one is as good as two when nothing is lost.
Variant on_processors(std::string name, const Options& options, const char* placement, int processors) {
  return {std::move(name), {{"", "1/s"}}, [&options, placement, processors] {
            const int used = use_processors(processors);
            if (used != processors)
              throw std::runtime_error(fmt::format("{} processors here, not {}", used, processors));
            return std::vector{tandem_rate(options, placement) / processors};
          }};
}

}  // namespace

void run_tiny(const Options& options, Report& report, const std::vector<Variant>& others) {
  std::vector<Variant> all = variants(options);
  all.insert(all.end(), others.begin(), others.end());
  report.add({fmt::format("tiny: 64-byte results, {} workers, ordered, {} in flight", options.workers,
                          options.in_flight),
              "results per second; more is better", Better::more, kProcesses},
             measure_rounds("tiny", all, options, options.repetitions));
  report.ratio("tiny_process_vs_tbb", kProcesses, kGraph);
  report.ratio("tiny_thread_vs_tbb", kThreads, kGraph);
  report.ratio("tiny_process_vs_tbb_plain", kProcesses, kPlainGraph);
  report.ratio("cpu_per_message_vs_tbb", kProcesses, kGraph, kProcessorTime);
  report.figure("tiny_process", kProcesses);
  report.figure("tiny_thread", kThreads);
  report.figure("tiny_tbb", kGraph);
  report.figure("tiny_process_cpu", kProcesses, kProcessorTime);
  report.figure("tiny_thread_cpu", kThreads, kProcessorTime);
  report.figure("tiny_tbb_cpu", kGraph, kProcessorTime);
}

void run_one_core(const Options& options, Report& report) {
  const std::string one_process = fmt::format("{}, one processor", kProcesses);
  const std::string two_processes = fmt::format("{}, two processors", kProcesses);
  const std::string one_thread = fmt::format("{}, one processor", kThreads);
  const std::string two_threads = fmt::format("{}, two processors", kThreads);
  const std::vector<Variant> all{
      on_processors(one_process, options, "process", 1),
      on_processors(two_processes, options, "process", 2),
      on_processors(one_thread, options, "thread", 1),
      on_processors(two_threads, options, "thread", 2),
  };
  report.add({fmt::format("one_core: the tiny job on one processor and on two, {} workers", options.workers),
              "results per second and processor; more is better", Better::more, one_process},
             measure_rounds("one_core", all, options, options.repetitions));
  report.ratio("one_core_vs_two_per_core", one_process, two_processes);
  report.ratio("one_core_vs_two_per_core_thread", one_thread, two_threads);
}

}  // namespace bench
