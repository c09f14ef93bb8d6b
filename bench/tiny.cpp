#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <oneapi/tbb/flow_graph.h>

#include <tandem/tandem.hpp>

#include "sections.hpp"
#include "setup.hpp"

// 64-byte results through the same pipeline three times: numbered messages, a producer with two workers,
// order restored, one consumer that looks at every word. At most N messages exist at a time.

namespace bench {
namespace {

namespace flow = oneapi::tbb::flow;

struct Result {
  std::uint64_t number;
  std::uint64_t words[7];
};
static_assert(sizeof(Result) == 64);

// The same body everywhere: the work is next to nothing, so that the way is what is measured.
void make(const Message& message, Result& result) noexcept {
  result.number = message.number;
  for (std::uint64_t i = 0; i < 7; ++i) result.words[i] = message.number * (2 * i + 3);
}

// The same consumer everywhere: checks each result and its place in the order, and takes the time
// from the end of the warm-up to the last message.
class Consumer {
 public:
  explicit Consumer(const Options& options)
      : warm_up_{10 * std::uint64_t{options.in_flight}}, all_{warm_up_ + options.messages} {}

  std::uint64_t all() const noexcept { return all_; }

  void take(const Result& result) noexcept {
    std::uint64_t wrong = result.number ^ next_;
    for (std::uint64_t i = 0; i < 7; ++i) wrong |= result.words[i] ^ (next_ * (2 * i + 3));
    wrong_ += wrong != 0;
    ++next_;
    if (next_ == warm_up_) begin_ = std::chrono::steady_clock::now();
    if (next_ == all_) end_ = std::chrono::steady_clock::now();
  }

  double rate() const {
    if (next_ != all_ || wrong_ != 0) {
      throw std::runtime_error(fmt::format("{} of {} results came, {} of them wrong or out of order", next_,
                                           all_, wrong_));
    }
    return static_cast<double>(all_ - warm_up_) / std::chrono::duration<double>(end_ - begin_).count();
  }

 private:
  const std::uint64_t warm_up_, all_;
  std::uint64_t next_ = 0;
  std::uint64_t wrong_ = 0;
  std::chrono::steady_clock::time_point begin_, end_;
};

double tandem_rate(const Options& options, const char* placement) {
  Consumer consumer{options};
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
  Consumer consumer{options};
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
            const auto messages = static_cast<double>(Consumer{options}.all());
            return std::vector{rate, (after.microseconds - before.microseconds) / messages,
                               (after.switches - before.switches) / messages};
          }};
}

constexpr const char* kProcesses = "tandem processes";
constexpr const char* kThreads = "tandem threads";
constexpr const char* kPlainGraph = "oneTBB graph, plain";
constexpr const char* kGraph = "oneTBB graph";

}  // namespace

void run_tiny(const Options& options, Report& report) {
  const std::vector<Variant> variants{
      variant(kProcesses, options, [&] { return tandem_rate(options, "process"); }),
      variant(kThreads, options, [&] { return tandem_rate(options, "thread"); }),
      variant(kGraph, options, [&] { return graph_rate<flow::queueing_lightweight>(options); }),
      variant(kPlainGraph, options, [&] { return graph_rate<flow::queueing>(options); }),
  };
  const std::string title = fmt::format("tiny: 64-byte results, {} workers, ordered, {} in flight",
                                        options.workers, options.in_flight);
  report.add(title, measure_rounds("tiny", variants, options, options.repetitions));
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
