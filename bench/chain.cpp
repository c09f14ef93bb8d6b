#include <cstdint>
#include <memory>
#include <stdexcept>
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

// 12.6 MB arrays through two chained nodes: the first fills one, the second reads all of it, where it lies, and makes
// a small struct. Beside it the bare limit: as many threads, each of which fills and reads one warm array of its own.

namespace bench {
namespace {

constexpr const char* kLimit = "bare limit of fill and read";

struct Sum {
  std::uint64_t number, sum;
};

double tandem_rate(const Options& options, const char* placement) {
  Consumer consumer{big_warm_up(options), options.arrays};
  tandem::Config config = configure(placement, options.workers, options.big_in_flight, {"maker", "reader"});
  tandem::Runtime runtime{config};
  oneapi::tbb::flow::graph graph;
  tandem::commander_node<Message> numbers{graph, runtime, "numbers", Counter{consumer.all()}};
  tandem::producer_node<Message, tandem::Arrays> maker{
      graph,
      runtime,
      "maker",
      {tandem::array<std::uint8_t>("pixels", {64, 256, 256, 3}), tandem::array<std::uint64_t>("number", {1})},
      [](const Message& message, tandem::Arrays& out) {
        fill(out.data("pixels"), message.number);
        out.span<std::uint64_t>("number")[0] = message.number;
      }};
  tandem::producer_node<tandem::Arrays, Sum> reader{
      graph, runtime, "reader", [](const tandem::Arrays& in, Sum& out) {
        out = {in.span<std::uint64_t>("number")[0], read_all(in.data("pixels"))};
      }};
  tandem::sequencer_node<Sum> order{graph, runtime};
  tandem::stream_node<Sum> sums{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, reader);
  make_edge(reader, order);
  make_edge(order, sums);
  const auto take = [&consumer](const Sum& sum) {
    consumer.count(sum.number == consumer.next() && sum.sum == sum_of(sum.number));
  };
  {
    // As in big.cpp: as many items as there may be, so that every block has been touched.
    std::vector<tandem::Item<Sum>> held;
    while (held.size() < options.big_in_flight) held.push_back(sums.next().value());
    for (const auto& item : held) take(*item);
  }
  for (const auto& item : sums) take(*item);
  return consumer.per_second() * static_cast<double>(kBigBytes) / 1e9;
}

double limit(const Options& options) {
  const double rate = limit_rate(options.workers, options.arrays, [] {
    return [array = std::shared_ptr{warm_array()}](std::uint64_t number) {
      fill(array.get(), number);
      if (read_all(array.get()) != sum_of(number)) throw std::runtime_error("the sum is wrong");
    };
  });
  return rate * static_cast<double>(kBigBytes) / 1e9;
}

}  // namespace

void run_chain(const Options& options, Report& report) {
  const std::vector<Variant> variants{
      {kProcesses, {{"", "GB/s"}}, [&options] { return std::vector{tandem_rate(options, "process")}; }},
      {kThreads, {{"", "GB/s"}}, [&options] { return std::vector{tandem_rate(options, "thread")}; }},
      {kLimit, {{"", "GB/s"}}, [&options] { return std::vector{limit(options)}; }},
  };
  report.add(
      {fmt::format("chain: arrays of {:.1f} MB, filled by one node and read by the next, {} workers each, "
                   "ordered, {} in flight",
                   static_cast<double>(kBigBytes) / 1e6, options.workers, options.big_in_flight),
       "GB/s, each array counted once; more is better", Better::more, kProcesses},
      measure_rounds("chain", variants, options, options.repetitions));
  report.ratio("chain_process_vs_limit", kProcesses, kLimit);
  report.ratio("chain_thread_vs_limit", kThreads, kLimit);
}

}  // namespace bench
