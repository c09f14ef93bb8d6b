#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <oneapi/tbb/flow_graph.h>

#include <tandem/tandem.hpp>

#include "consumer.hpp"
#include "sections.hpp"
#include "setup.hpp"
#include "tiny_stream.hpp"
#include "usage.hpp"

// What a message costs as there are more of something: messages, workers, items in flight, nodes. Only the part between
// the warm-up and the last message but one is looked at, as long as all workers live.

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kMemory = "memory";
// Short measurements, whose differences are less than what others on the machine make: the more rounds, the less of it is left.
constexpr int kManyRounds = 5;

// Of one message in the timed part, in microseconds; and the host's VmRSS at its end over that at its beginning.
struct Cost {
  double wall = 0, processor = 0, memory = 0;
};

struct Mark {
  double memory, processor;
  Clock::time_point time;
  explicit Mark(const tandem::Runtime& runtime)
      : memory{kibibytes_of(getpid(), "VmRSS")}, processor{processor_seconds(runtime)}, time{Clock::now()} {}
};

// Until all workers have started: while the consumer does not ask, they are all that uses the processors.
void wait_for_starts(const tandem::Runtime& runtime) {
  constexpr std::chrono::milliseconds kLook{20};
  const Clock::time_point end = Clock::now() + std::chrono::seconds{20};
  for (double before = -1, now = 0; now - before > 0.0005 && Clock::now() < end;) {
    before = processor_seconds(runtime);
    std::this_thread::sleep_for(kLook);
    now = processor_seconds(runtime);
  }
}

// `take` is given each item, and counts it.
template <class Results, class Take>
Cost cost_of(const tandem::Runtime& runtime, Results& results, Consumer& consumer, std::uint64_t warm_up,
             const Take& take) {
  const auto take_until = [&](std::uint64_t number) {
    while (consumer.next() < number) {
      const auto item = results.next();
      if (!item) throw std::runtime_error(fmt::format("nothing came for message {}", consumer.next()));
      take(**item);
    }
  };
  take_until(warm_up / 2);
  wait_for_starts(runtime);
  take_until(warm_up);
  const Mark begin{runtime};
  take_until(consumer.all() - 1);
  const Clock::time_point end_time = Clock::now();
  const Mark end{runtime};
  take_until(consumer.all());
  if (results.next()) throw std::runtime_error("more items came than there were messages");
  consumer.per_second();  // throws if one of them was wrong
  const auto timed = static_cast<double>(consumer.all() - 1 - warm_up);
  return {1e6 * std::chrono::duration<double>(end_time - begin.time).count() / timed,
          1e6 * (end.processor - begin.processor) / timed, end.memory / begin.memory};
}

Cost tiny_cost(int workers, std::uint32_t in_flight, std::uint64_t messages) {
  const std::uint64_t warm_up = 10 * std::uint64_t{in_flight};
  TinyConsumer consumer{warm_up, messages};
  return with_tiny_stream(configure("process", workers, in_flight), Counter{consumer.all()},
                          [&](const tandem::Runtime& runtime, auto& results) {
                            return cost_of(runtime, results, consumer, warm_up,
                                           [&consumer](const Result& result) { consumer.take(result); });
                          });
}

Cost chain_cost(const char* placement, int nodes, std::uint32_t in_flight, std::uint64_t messages) {
  std::vector<std::string> names;
  for (int node = 0; node < nodes; ++node) names.push_back(fmt::format("node{}", node));
  const std::uint64_t warm_up = 10 * std::uint64_t{in_flight};
  Consumer consumer{warm_up, messages};
  tandem::Runtime runtime{configure(placement, 1, in_flight, names)};
  oneapi::tbb::flow::graph graph;
  tandem::commander_node<Message> numbers{graph, runtime, "numbers", Counter{consumer.all()}};
  using Node = tandem::producer_node<Message, Message>;
  std::vector<std::unique_ptr<Node>> chain;
  for (const std::string& name : names) {
    chain.push_back(std::make_unique<Node>(graph, runtime, name,
                                           [](const Message& message) { return message; }));
  }
  tandem::sequencer_node<Message> order{graph, runtime};
  tandem::stream_node<Message> results{graph, runtime};
  make_edge(numbers, *chain.front());
  for (std::size_t node = 1; node < chain.size(); ++node) make_edge(*chain[node - 1], *chain[node]);
  make_edge(*chain.back(), order);
  make_edge(order, results);
  Cost cost = cost_of(runtime, results, consumer, warm_up, [&consumer](const Message& message) {
    consumer.count(message.number == consumer.next());
  });
  cost.wall /= nodes;
  cost.processor /= nodes;
  return cost;
}

const std::vector<Metric> kCosts{{"", "us"}, {kProcessorTime, "us"}};

Variant variant(std::string name, std::function<Cost()> measure) {
  return {std::move(name), kCosts, [measure = std::move(measure)] {
            const Cost cost = measure();
            return std::vector{cost.wall, cost.processor};
          }};
}

Heading heading(std::string title, std::string_view of) {
  return {std::move(title), fmt::format("microseconds of time for each {}; less is better", of), Better::less};
}

// A few messages are over in a moment, so there are several such streams, each with a start and an end.
std::vector<double> message_costs(const Options& options, std::uint64_t messages) {
  std::vector<double> wall, processor, memory;
  const std::uint64_t streams = std::clamp<std::uint64_t>(200'000 / messages, 1, 20);
  for (std::uint64_t stream = 0; stream < streams; ++stream) {
    const Cost cost = tiny_cost(options.workers, options.in_flight, messages);
    wall.push_back(cost.wall);
    processor.push_back(cost.processor);
    memory.push_back(cost.memory);
  }
  return {median(wall), median(processor), median(memory)};
}

void nodes_with(const Options& options, Report& report, const char* placement, const std::vector<int>& counts,
                std::string figure) {
  constexpr std::uint32_t kInFlight = 256;
  const std::uint64_t steps = options.quick ? 20'000 : 400'000;  // of a message through a node
  std::vector<Variant> variants;
  for (const int nodes : counts) {
    const std::uint64_t messages = std::max<std::uint64_t>(steps / static_cast<std::uint64_t>(nodes), 2000);
    variants.push_back(variant(fmt::format("{} nodes", nodes), [placement, nodes, messages] {
      return chain_cost(placement, nodes, kInFlight, messages);
    }));
  }
  report.add(heading(fmt::format("{}: a chain of nodes, each a {} of its own, {} in flight", figure, placement,
                                 kInFlight),
                     "node and message"),
             measure_rounds(figure, variants, options, kManyRounds * options.repetitions));
  report.worst_over_best(std::move(figure), kProcessorTime);
}

}  // namespace

void run_scale_messages(const Options& options, Report& report) {
  std::vector<Metric> metrics = kCosts;
  metrics.push_back({kMemory, "x"});
  std::vector<Variant> variants;
  const std::uint64_t most = options.full ? 100'000'000 : options.quick ? 100'000 : 10'000'000;
  for (std::uint64_t messages = 10'000; messages <= most; messages *= 10) {
    variants.push_back({fmt::format("{} messages", messages), metrics,
                        [&options, messages] { return message_costs(options, messages); }});
  }
  report.add(heading(fmt::format("scale_messages: the tiny job, {} processes, {} in flight", options.workers,
                                 options.in_flight),
                     "message"),
             measure_rounds("scale_messages", variants, options, options.repetitions));
  report.worst_over_best("scale_messages", "");
  report.figure("scale_messages_memory", variants.back().name, kMemory);
}

void run_scale_workers(const Options& options, Report& report) {
  std::vector<Variant> variants;
  for (int workers = 1; workers <= 64; workers *= 2) {
    variants.push_back(variant(fmt::format("{} workers", workers), [&options, workers] {
      return tiny_cost(workers, options.in_flight, std::max<std::uint64_t>(options.messages / 4, 20'000));
    }));
  }
  report.add(heading(fmt::format("scale_workers: the tiny job, processes, {} in flight", options.in_flight),
                     "message"),
             measure_rounds("scale_workers", variants, options, kManyRounds * options.repetitions));
  report.worst_over_best("scale_workers", kProcessorTime);
}

void run_scale_in_flight(const Options& options, Report& report) {
  std::vector<Variant> variants;
  for (const std::uint32_t in_flight : {8U, 64U, 1000U, 10'000U, 100'000U}) {
    const std::uint64_t messages = std::max(options.messages / 4, std::uint64_t{in_flight});
    variants.push_back(variant(fmt::format("{} in flight", in_flight), [&options, in_flight, messages] {
      return tiny_cost(options.workers, in_flight, messages);
    }));
  }
  report.add(heading(fmt::format("scale_in_flight: the tiny job, {} processes", options.workers), "message"),
             measure_rounds("scale_in_flight", variants, options, options.repetitions));
  report.worst_over_best("scale_in_flight", kProcessorTime);
}

void run_scale_nodes(const Options& options, Report& report) {
  nodes_with(options, report, "thread", {1, 2, 5, 10, 50, 100}, "scale_nodes");
  nodes_with(options, report, "process", {1, 2, 5, 10}, "scale_nodes_process");
}

}  // namespace bench
