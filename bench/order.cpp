#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <oneapi/tbb/flow_graph.h>

#include <tandem/tandem.hpp>

#include "busy.hpp"
#include "sections.hpp"
#include "setup.hpp"

// What order costs: bodies of which some take much longer than the others, the same ones in every run, with the
// commander's order restored and without. While a long one runs, the other worker goes on as far as the window lets it.

namespace bench {
namespace {

namespace flow = oneapi::tbb::flow;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kWindow = 64;
constexpr std::uint64_t kOneInSoMany = 100;  // messages, a long one
constexpr std::uint64_t kTimesAsLong = 50;
constexpr std::chrono::microseconds kShort{30};

// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
std::uint64_t hash(std::uint64_t number) noexcept {
  number += 0x9E3779B97F4A7C15U;
  number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9U;
  number = (number ^ (number >> 27)) * 0x94D049BB133111EBU;
  return number ^ (number >> 31);
}
bool is_long(std::uint64_t number) noexcept { return hash(number) % kOneInSoMany == 0; }

class Consumer {
 public:
  Consumer(const Options& options, bool ordered) : ordered_{ordered}, all_{kWarmUp + options.heavy} {}

  std::uint64_t all() const noexcept { return all_; }

  void take(std::uint64_t number) noexcept {
    if (ordered_ && number != next_) ++wrong_;
    sum_ += number;
    ++next_;
    if (next_ == kWarmUp) begin_ = Clock::now();
    if (next_ == all_) end_ = Clock::now();
  }

  double rate() const {
    if (next_ != all_ || wrong_ != 0 || sum_ != all_ * (all_ - 1) / 2) {
      throw std::runtime_error(fmt::format("{} of {} items came, {} of them out of order; their sum is {}",
                                           next_, all_, wrong_, sum_));
    }
    return static_cast<double>(all_ - kWarmUp) / std::chrono::duration<double>(end_ - begin_).count();
  }

 private:
  static constexpr std::uint64_t kWarmUp = 1000;
  const bool ordered_;
  const std::uint64_t all_;
  std::uint64_t next_ = 0;
  std::uint64_t wrong_ = 0;
  std::uint64_t sum_ = 0;
  Clock::time_point begin_, end_;
};

std::vector<double> rate(const Options& options, const char* placement, bool ordered, std::uint64_t steps) {
  Consumer consumer{options, ordered};
  tandem::Config config = configure(placement, options.workers, kWindow);
  config.set("deterministic", ordered ? "true" : "false", "bench");
  tandem::Runtime runtime{config};
  flow::graph graph;
  tandem::commander_node<Message> numbers{graph, runtime, "numbers", Counter{consumer.all()}};
  tandem::producer_node<Message, Message> maker{graph, runtime, "maker", [steps](const Message& message) {
                                                  busy(is_long(message.number) ? kTimesAsLong * steps : steps);
                                                  return message;
                                                }};
  tandem::sequencer_node<Message> order{graph, runtime};
  tandem::stream_node<Message> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, order);
  make_edge(order, results);
  for (const auto& item : results) consumer.take(item->number);
  return {consumer.rate()};
}

}  // namespace

void run_order(const Options& options, Report& report) {
  const std::uint64_t steps = steps_in(kShort);
  const auto variant = [&](const char* name, const char* placement, bool ordered) {
    return Variant{name, {{"", "1/s"}}, [&options, placement, ordered, steps] {
                     return rate(options, placement, ordered, steps);
                   }};
  };
  const std::vector<Variant> variants{
      variant("processes, ordered", "process", true),
      variant("processes, first finished first", "process", false),
      variant("threads, ordered", "thread", true),
      variant("threads, first finished first", "thread", false),
  };
  const std::string title =
      fmt::format("order: bodies of {} us, one in {} of {} us, {} workers, {} in flight", kShort.count(),
                  kOneInSoMany, kTimesAsLong * static_cast<std::uint64_t>(kShort.count()), options.workers,
                  kWindow);
  report.add({title}, measure_rounds("order", variants, options, 3 * options.repetitions));
  report.ratio("order_process_vs_unordered", "processes, ordered", "processes, first finished first");
  report.ratio("order_thread_vs_unordered", "threads, ordered", "threads, first finished first");
  report.figure("order_process", "processes, ordered");
  report.figure("order_thread", "threads, ordered");
}

}  // namespace bench
