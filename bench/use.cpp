#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <oneapi/tbb/flow_graph.h>

#include <tandem/tandem.hpp>

#include "busy.hpp"
#include "consumer.hpp"
#include "limit.hpp"
#include "peers/workers.hpp"
#include "sections.hpp"
#include "setup.hpp"
#include "shared_lines.hpp"

// How much of the processors the bodies get: bodies of a given number of steps of arithmetic through the pipeline, and
// beside it as many threads as workers that do the same number of them between them, and nothing else.

namespace bench {
namespace {

namespace flow = oneapi::tbb::flow;

constexpr const char* kTold = "bodies, and a sleeper that is told";

struct Body {
  std::chrono::microseconds time;
  std::uint64_t steps;
  std::uint64_t count;      // timed
  std::uint32_t in_flight;  // about ten milliseconds of them, 64 to 1000
};

Body body_of(const Options& options, std::uint64_t steps_per_millisecond, std::uint64_t microseconds) {
  const std::uint64_t all = options.quick ? 100'000 : 1'000'000;  // microseconds of bodies
  return {std::chrono::microseconds{microseconds}, steps_per_millisecond * microseconds / 1000,
          std::max<std::uint64_t>(all / microseconds, 200),
          static_cast<std::uint32_t>(std::clamp<std::uint64_t>(10'000 / microseconds, 64, 1000))};
}

double tandem_rate(const Options& options, const char* placement, const Body& body) {
  Consumer consumer{body.count / 10, body.count};
  tandem::Runtime runtime{configure(placement, options.workers, body.in_flight)};
  flow::graph graph;
  tandem::commander_node<Message> numbers{graph, runtime, "numbers", Counter{consumer.all()}};
  tandem::producer_node<Message, Message> maker{graph, runtime, "maker",
                                                [steps = body.steps](const Message& message) {
                                                  busy(steps);
                                                  return message;
                                                }};
  tandem::sequencer_node<Message> order{graph, runtime};
  tandem::stream_node<Message> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, order);
  make_edge(order, results);
  for (const auto& item : results) consumer.count(item->number == consumer.next());
  return consumer.per_second();
}

// A consumer that sleeps until the next one is done keeps up with these.
bool is_told(const Body& body) { return body.time >= std::chrono::microseconds{100}; }

// The least that it costs to wake somebody for each: as many processes as workers, which wait for nobody, and such a consumer.
double told_rate(const Options& options, const Body& body) {
  Consumer consumer{body.count / 10, body.count};
  const auto workers = static_cast<std::uint64_t>(options.workers);
  std::vector<Count> counts(workers);
  fork_workers(options.workers, [&](int worker) {
    const auto first = static_cast<std::uint64_t>(worker);
    for (std::uint64_t number = first; number < consumer.all(); number += workers) {
      busy(body.steps);
      counts[first].tell(static_cast<std::uint32_t>(number / workers + 1));
    }
  });
  while (consumer.next() < consumer.all()) {
    counts[consumer.next() % workers].sleep_until_told(static_cast<std::uint32_t>(consumer.next() / workers +
                                                                                  1));
    consumer.count(true);
  }
  return consumer.per_second();
}

double ideal_rate(const Options& options, const Body& body) {
  return limit_rate(options.workers, body.count,
                    [&body] { return [steps = body.steps](std::uint64_t) { busy(steps); }; });
}

}  // namespace

void run_use(const Options& options, Report& report) {
  const std::uint64_t steps = steps_in(std::chrono::milliseconds{1});
  std::vector<Body> bodies;
  for (const std::uint64_t microseconds : {1, 10, 100, 1000})
    bodies.push_back(body_of(options, steps, microseconds));
  const auto name = [](const Body& body, const char* who) {
    return fmt::format("{} us: {}", body.time.count(), who);
  };
  std::vector<Variant> variants;
  for (const Body& body : bodies) {
    const std::vector<Metric> rate{{"", "1/s"}};
    variants.push_back({name(body, kProcesses), rate,
                        [&options, &body] { return std::vector{tandem_rate(options, "process", body)}; }});
    variants.push_back({name(body, kThreads), rate,
                        [&options, &body] { return std::vector{tandem_rate(options, "thread", body)}; }});
    if (is_told(body))
      variants.push_back({name(body, kTold), rate,
                          [&options, &body] { return std::vector{told_rate(options, body)}; }});
    variants.push_back({name(body, "bodies alone"), rate,
                        [&options, &body] { return std::vector{ideal_rate(options, body)}; }});
  }
  report.add({fmt::format("use: bodies of arithmetic, {} workers, ordered", options.workers),
              "bodies per second; more is better"},
             measure_rounds("use", variants, options, options.repetitions));
  for (const Body& body : bodies) {
    const std::string figure = fmt::format("use_{}us", body.time.count());
    report.ratio(figure, name(body, kProcesses), name(body, "bodies alone"));
    report.ratio(figure + "_thread", name(body, kThreads), name(body, "bodies alone"));
    if (is_told(body)) report.ratio(figure + "_told", name(body, kTold), name(body, "bodies alone"));
  }
}

}  // namespace bench
