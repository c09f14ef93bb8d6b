#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <oneapi/tbb/flow_graph.h>

#include <tandem/tandem.hpp>

#include "fill.hpp"
#include "sections.hpp"
#include "setup.hpp"

// 12.6 MB arrays: two workers fill them, order is restored, one consumer looks at each. Beside it the bare
// limit of the machine: as many threads, each of which fills one warm array of its own over and over.

namespace bench {
namespace {

namespace flow = oneapi::tbb::flow;
using Clock = std::chrono::steady_clock;

double gigabytes_per_second(std::uint64_t arrays, Clock::duration time) {
  return static_cast<double>(arrays) * static_cast<double>(kBigBytes) / 1e9 /
         std::chrono::duration<double>(time).count();
}

class Consumer {
 public:
  explicit Consumer(const Options& options)
      : warm_up_{10 * std::uint64_t{options.big_in_flight}}, all_{warm_up_ + options.arrays} {}

  std::uint64_t all() const noexcept { return all_; }

  void take(const std::byte* array) noexcept {
    if (!is_filled(array, next_)) ++wrong_;
    ++next_;
    if (next_ == warm_up_) begin_ = Clock::now();
    if (next_ == all_) end_ = Clock::now();
  }

  double rate() const {
    if (next_ != all_ || wrong_ != 0) {
      throw std::runtime_error(fmt::format("{} of {} arrays came, {} of them wrong or out of order", next_,
                                           all_, wrong_));
    }
    return gigabytes_per_second(all_ - warm_up_, end_ - begin_);
  }

 private:
  const std::uint64_t warm_up_, all_;
  std::uint64_t next_ = 0;
  std::uint64_t wrong_ = 0;
  Clock::time_point begin_, end_;
};

double tandem_rate(const Options& options, const char* placement) {
  Consumer consumer{options};
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

struct Free {
  void operator()(std::byte* array) const noexcept { std::free(array); }
};
using PrivateArray = std::unique_ptr<std::byte[], Free>;

PrivateArray warm_array() {
  auto* const array = static_cast<std::byte*>(std::aligned_alloc(64, kBigBytes));
  if (array == nullptr) throw std::bad_alloc{};
  fill(array, 0);
  return PrivateArray{array};
}

// As many warm arrays as there can be messages, so taking one never waits; the last one that came back
// goes out first, while it is in cache.
class ArrayPool {
 public:
  explicit ArrayPool(std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
      arrays_.push_back(warm_array());
      free_.push_back(arrays_.back().get());
    }
  }
  std::byte* take() noexcept {
    const std::lock_guard lock{mutex_};
    std::byte* const array = free_.back();
    free_.pop_back();
    return array;
  }
  void give_back(std::byte* array) noexcept {
    const std::lock_guard lock{mutex_};
    free_.push_back(array);
  }

 private:
  std::vector<PrivateArray> arrays_;
  std::mutex mutex_;
  std::vector<std::byte*> free_;
};

struct Filled {
  std::uint64_t number = 0;
  std::byte* array = nullptr;
};

double graph_rate(const Options& options) {
  Consumer consumer{options};
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

double limit_rate(const Options& options) {
  const auto workers = static_cast<std::uint64_t>(options.workers);
  const std::uint64_t each = std::max<std::uint64_t>(options.arrays / workers, 1);
  std::barrier begin{static_cast<std::ptrdiff_t>(workers) + 1};
  std::vector<std::thread> threads;
  for (std::uint64_t worker = 0; worker < workers; ++worker) {
    threads.emplace_back([&begin, each] {
      const PrivateArray array = warm_array();
      for (std::uint64_t number = 0; number < 10; ++number) fill(array.get(), number);
      begin.arrive_and_wait();
      for (std::uint64_t number = 0; number < each; ++number) fill(array.get(), number);
    });
  }
  begin.arrive_and_wait();
  const auto start = Clock::now();
  for (std::thread& thread : threads) thread.join();
  return gigabytes_per_second(each * workers, Clock::now() - start);
}

constexpr const char* kProcesses = "tandem processes";
constexpr const char* kThreads = "tandem threads";
constexpr const char* kGraph = "oneTBB graph, pooled arrays";
constexpr const char* kLimit = "bare limit";

}  // namespace

void run_big(const Options& options, Report& report) {
  const std::vector<Variant> variants{
      {kProcesses, {{"", "GB/s"}}, [&] { return std::vector{tandem_rate(options, "process")}; }},
      {kThreads, {{"", "GB/s"}}, [&] { return std::vector{tandem_rate(options, "thread")}; }},
      {kGraph, {{"", "GB/s"}}, [&] { return std::vector{graph_rate(options)}; }},
      {kLimit, {{"", "GB/s"}}, [&] { return std::vector{limit_rate(options)}; }},
  };
  const std::string title =
      fmt::format("big: arrays of {:.1f} MB, {} workers, ordered, {} in flight",
                  static_cast<double>(kBigBytes) / 1e6, options.workers, options.big_in_flight);
  report.add(title, measure_rounds("big", variants, options, options.repetitions));
  report.ratio("big_process_vs_limit", kProcesses, kLimit);
  report.ratio("big_thread_vs_limit", kThreads, kLimit);
  report.ratio("big_tbb_vs_limit", kGraph, kLimit);
  report.figure("big_process", kProcesses);
  report.figure("big_thread", kThreads);
  report.figure("big_tbb", kGraph);
  report.figure("big_limit", kLimit);
}

}  // namespace bench
