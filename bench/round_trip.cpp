#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <oneapi/tbb/flow_graph.h>

#include <tandem/tandem.hpp>

#include "consumer.hpp"
#include "peers/workers.hpp"
#include "sections.hpp"
#include "setup.hpp"
#include "shared_lines.hpp"

// One message there and back, and nothing else in flight: at once after the one before, when everybody is awake, and
// after a pause, when everybody sleeps. Beside it what the machine itself takes for that, between two processes.

namespace bench {
namespace {

namespace flow = oneapi::tbb::flow;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kTripsBeforeAsleep = 10;
constexpr std::chrono::milliseconds kPause{3};

double microseconds(Clock::duration time) { return std::chrono::duration<double, std::micro>(time).count(); }

// Tandem's pipeline; `use` gets a function that sends the message of a number and returns its item.
template <class Use>
double with_tandem(const char* placement, Use use) {
  tandem::Runtime runtime{configure(placement, 1, 1)};
  flow::graph graph;
  tandem::feeder_node<Message> numbers{graph, runtime, "numbers"};
  tandem::producer_node<Message, Result> maker{graph, runtime, "maker", make};
  tandem::stream_node<Result> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, results);
  return use([&](std::uint64_t number) {
    auto message = numbers.loan();
    message->number = number;
    numbers.push(std::move(message));
    return results.next().value();
  });
}

double tandem_trip(const Options& options, const char* placement) {
  TripConsumer consumer{options};
  return with_tandem(placement, [&](const auto& send) {
    while (consumer.next() < consumer.all()) consumer.take(*send(consumer.next()));
    return consumer.trip();
  });
}

std::uint64_t trips_asleep(const Options& options) { return std::max<std::uint64_t>(options.trips / 50, 20); }

double tandem_trip_asleep(const Options& options, const char* placement) {
  TinyConsumer consumer{kTripsBeforeAsleep, trips_asleep(options)};
  std::vector<double> times;
  return with_tandem(placement, [&](const auto& send) {
    while (consumer.next() < consumer.all()) {
      std::this_thread::sleep_for(kPause);
      const auto begin = Clock::now();
      const auto item = send(consumer.next());
      const auto end = Clock::now();
      if (consumer.next() >= kTripsBeforeAsleep) times.push_back(microseconds(end - begin));
      consumer.take(*item);
    }
    consumer.rate();  // throws if one of them was wrong
    return median(times);
  });
}

// Who waits for the graph works in it: no other thread need wake up.
double graph_trip(const Options& options) {
  TripConsumer consumer{options};
  flow::graph graph;
  flow::function_node<Message, Result> maker{graph, flow::serial, [](const Message& message) noexcept {
                                               Result result;
                                               make(message, result);
                                               return result;
                                             }};
  flow::function_node<Result, flow::continue_msg, flow::queueing_lightweight> sink{
      graph, flow::serial, [&consumer](const Result& result) {
        consumer.take(result);
        return flow::continue_msg{};
      }};
  make_edge(maker, sink);
  for (std::uint64_t number = 0; number < consumer.all(); ++number) {
    maker.try_put(Message{number});
    graph.wait_for_all();
  }
  return consumer.trip();
}

// Yields after a while: the other one may be waiting for this processor.
void spin_until(const std::atomic<std::uint32_t>& line, std::uint32_t number) noexcept {
  for (std::uint32_t spins = 1; line.load() != number; ++spins) {
    if (spins % 10'000 == 0) std::this_thread::yield();
  }
}

double core_to_core(const Options& options) {
  const auto trips = static_cast<std::uint32_t>(std::min<std::uint64_t>(10 * options.trips, 100'000'000));
  Lines& lines = shared_lines();
  fork_workers(1, [&lines, trips](int) {
    for (std::uint32_t trip = 1; trip <= trips; ++trip) {
      spin_until(lines.there, trip);
      lines.back.store(trip);
    }
  });
  const std::uint32_t warm_up = trips / 10;
  Clock::time_point begin;
  for (std::uint32_t trip = 1; trip <= trips; ++trip) {
    lines.there.store(trip);
    spin_until(lines.back, trip);
    if (trip == warm_up) begin = Clock::now();
  }
  return microseconds(Clock::now() - begin) / (trips - warm_up);
}

double futex_trip_asleep(const Options& options) {
  const auto trips = static_cast<std::uint32_t>(kTripsBeforeAsleep + trips_asleep(options));
  Lines& lines = shared_lines();
  fork_workers(1, [&lines, trips](int) {
    for (std::uint32_t trip = 1; trip <= trips; ++trip) {
      sleep_until(lines.there, trip);
      store_and_wake(lines.back, trip);
    }
  });
  std::vector<double> times;
  for (std::uint32_t trip = 1; trip <= trips; ++trip) {
    std::this_thread::sleep_for(kPause);
    const auto begin = Clock::now();
    store_and_wake(lines.there, trip);
    sleep_until(lines.back, trip);
    const auto end = Clock::now();
    if (trip > kTripsBeforeAsleep) times.push_back(microseconds(end - begin));
  }
  return median(times);
}

Variant variant(const char* name, const Options& options, double (*measure)(const Options&)) {
  return {name, {{"", "us"}}, [&options, measure] { return std::vector{measure(options)}; }};
}
Variant variant(const char* name, const Options& options, double (*measure)(const Options&, const char*),
                const char* placement) {
  return {
      name, {{"", "us"}}, [&options, measure, placement] { return std::vector{measure(options, placement)}; }};
}

constexpr const char* kGraph = "oneTBB graph";
constexpr const char* kCores = "core to core";
constexpr const char* kFutex = "futex between two processes";

}  // namespace

void run_round_trip(const Options& options, Report& report, const std::vector<Variant>& others) {
  std::vector<Variant> all{
      variant(kProcesses, options, tandem_trip, "process"),
      variant(kThreads, options, tandem_trip, "thread"),
      variant(kGraph, options, graph_trip),
      variant(kCores, options, core_to_core),
  };
  all.insert(all.end(), others.begin(), others.end());
  report.add({"round_trip: one message to a worker, 64 bytes back",
              "microseconds, the median of many trips; less is better", Better::less, kProcesses},
             measure_rounds("round_trip", all, options, options.repetitions));
  report.figure("round_trip_awake", kProcesses);
  report.figure("round_trip_awake_thread", kThreads);
  report.figure("core_to_core", kCores);
  report.ratio("round_trip_vs_tbb_graph", kGraph, kProcesses);
}

void run_asleep(const Options& options, Report& report) {
  const std::vector<Variant> all{
      variant(kProcesses, options, tandem_trip_asleep, "process"),
      variant(kThreads, options, tandem_trip_asleep, "thread"),
      variant(kFutex, options, futex_trip_asleep),
  };
  report.add({fmt::format("round_trip_asleep: one message to a worker, 64 bytes back, after a pause of {} ms",
                          kPause.count()),
              "microseconds, the median of many trips; less is better", Better::less, kProcesses},
             measure_rounds("round_trip_asleep", all, options, options.repetitions));
  report.ratio("round_trip_asleep_vs_futex", kProcesses, kFutex);
  report.ratio("round_trip_asleep_vs_futex_thread", kThreads, kFutex);
  report.figure("round_trip_asleep", kProcesses);
}

}  // namespace bench
