#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <fmt/format.h>
#include <oneapi/tbb/flow_graph.h>
#include <oneapi/tbb/parallel_pipeline.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/version.h>

#include <tandem/tandem.hpp>

#include "../array_pool.hpp"
#include "../consumer.hpp"
#include "../sections.hpp"
#include "../setup.hpp"
#include "peer.hpp"

// oneTBB's parallel_pipeline; and the round trip through graphs. The graphs for the other jobs are those of
// tandem_bench.

namespace bench {
namespace {

namespace flow = oneapi::tbb::flow;
namespace tbb = oneapi::tbb;

// As many threads as workers: each carries its message through all three stages, the two serial ones among them.
template <class Product, class Make, class Take>
void pipeline(int workers, std::uint32_t in_flight, std::uint64_t all, const Make& make_one,
              const Take& take_one) {
  Counter counter{all};
  tbb::task_arena arena{workers};
  arena.execute([&] {
    tbb::parallel_pipeline(in_flight,
                           tbb::make_filter<void, Message>(tbb::filter_mode::serial_in_order,
                                                           [&](tbb::flow_control& control) {
                                                             const std::optional<Message> message = counter();
                                                             if (message) return *message;
                                                             control.stop();
                                                             return Message{};
                                                           }) &
                               tbb::make_filter<Message, Product>(tbb::filter_mode::parallel, make_one) &
                               tbb::make_filter<Product, void>(tbb::filter_mode::serial_in_order, take_one));
  });
}

double pipeline_rate(Kind kind, const Options& options) {
  if (kind == Kind::big) {
    BigConsumer consumer{options};
    ArrayPool pool{options.big_in_flight};
    pipeline<std::byte*>(
        options.workers, options.big_in_flight, consumer.all(),
        [&](const Message& message) {
          std::byte* const array = pool.take();
          fill(array, message.number);
          return array;
        },
        [&](std::byte* array) {
          consumer.take(array);
          pool.give_back(array);
        });
    return consumer.rate();
  }
  TinyConsumer consumer{options};
  pipeline<Result>(
      options.workers, options.in_flight, consumer.all(),
      [](const Message& message) {
        Result result;
        make(message, result);
        return result;
      },
      [&](const Result& result) { consumer.take(result); });
  return consumer.rate();
}

double tandem_trip(const Options& options, const char* placement) {
  TinyConsumer consumer{kTripsBefore, options.trips};
  tandem::Runtime runtime{configure(placement, 1, 1)};
  flow::graph graph;
  tandem::feeder_node<Message> numbers{graph, runtime, "numbers"};
  tandem::producer_node<Message, Result> maker{graph, runtime, "maker", make};
  tandem::stream_node<Result> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, results);
  for (std::uint64_t number = 0; number < consumer.all(); ++number) {
    auto message = numbers.loan();
    message->number = number;
    numbers.push(std::move(message));
    consumer.take(*results.next().value());
  }
  return 1e6 / consumer.rate();
}

// Who waits for the graph works in it: no other thread need wake up.
double graph_trip(const Options& options) {
  TinyConsumer consumer{kTripsBefore, options.trips};
  flow::graph graph;
  flow::function_node<Message, Result> maker{graph, flow::serial, [](const Message& message) noexcept {
                                               Result result;
                                               make(message, result);
                                               return result;
                                             }};
  flow::function_node<Result, flow::continue_msg, flow::queueing_lightweight> sink{
      graph, flow::serial, [&consumer](const Result& result) noexcept {
        consumer.take(result);
        return flow::continue_msg{};
      }};
  make_edge(maker, sink);
  for (std::uint64_t number = 0; number < consumer.all(); ++number) {
    maker.try_put(Message{number});
    graph.wait_for_all();
  }
  return 1e6 / consumer.rate();
}

}  // namespace

Peer pipeline_peer() {
  return {"oneTBB parallel_pipeline", "tbb_pipeline", {}, {}, pipeline_rate, {Kind::tiny, Kind::big}};
}

std::vector<Variant> round_trip_variants(const Options& options) {
  return {
      {kProcesses, {{"", "us"}}, [&options] { return std::vector{tandem_trip(options, "process")}; }},
      {kThreads, {{"", "us"}}, [&options] { return std::vector{tandem_trip(options, "thread")}; }},
      {"oneTBB graph", {{"", "us"}}, [&options] { return std::vector{graph_trip(options)}; }},
  };
}

}  // namespace bench
