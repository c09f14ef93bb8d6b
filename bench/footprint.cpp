#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <tandem/tandem.hpp>

#include "sections.hpp"
#include "setup.hpp"
#include "tiny_stream.hpp"
#include "usage.hpp"

// What a stream takes while it runs: resident memory early and late, and processor time while it has
// nothing to do.

namespace bench {
namespace {

constexpr std::uint64_t kEarly = 10'000;
constexpr auto kIdle = std::chrono::seconds{1};

struct Resident {
  double host = 0, host_shared = 0, workers = 0;
  explicit Resident(const tandem::Runtime& runtime)
      : host{kibibytes_of(getpid(), "VmRSS")}, host_shared{kibibytes_of(getpid(), "RssShmem")} {
    for (const pid_t pid : runtime.worker_pids()) workers += kibibytes_of(pid, "VmRSS");
  }
};

template <class Commander, class Use>
auto with_stream(const Options& options, const char* placement, Commander commander, Use use) {
  return with_tiny_stream(configure(placement, options.workers, options.in_flight), std::move(commander), use);
}

std::vector<double> growth(const Options& options, const char* placement) {
  const std::uint64_t late = 100 * kEarly;
  return with_stream(options, placement, Counter{late}, [late](tandem::Runtime& runtime, auto& results) {
    const auto take = [&results](std::uint64_t from, std::uint64_t to) {
      for (; from < to; ++from) {
        const auto item = results.next();
        if (!item || (*item)->number != from) throw std::runtime_error("an item is missing or wrong");
      }
    };
    take(0, kEarly);
    const Resident first{runtime};
    take(kEarly, late - 1);  // the workers live until the last item is taken
    const Resident last{runtime};
    return std::vector{first.host,
                       last.host,
                       last.host_shared,
                       last.host - first.host,
                       last.host / first.host,
                       first.workers,
                       last.workers - first.workers};
  });
}

// Percent of one processor during a second in which the consumer does not ask: every credit is out.
double idle_consumer(const Options& options, const char* placement) {
  const Counter endless{std::numeric_limits<std::uint64_t>::max()};
  return with_stream(options, placement, endless, [](tandem::Runtime& runtime, auto& results) {
    for (int i = 0; i < 1000; ++i) results.next();
    std::this_thread::sleep_for(std::chrono::milliseconds{100});  // the pipeline fills up and goes to sleep
    const double before = processor_seconds(runtime);
    std::this_thread::sleep_for(kIdle);
    const double after = processor_seconds(runtime);
    results.next();
    runtime.stop();
    return 100 * (after - before);
  });
}

// Percent of one processor during a second in which the commander has no message: every worker waits.
double idle_commander(const Options& options, const char* placement) {
  struct Pausing {
    std::uint64_t next = 0;
    std::optional<Message> operator()() {
      if (next == 1000) std::this_thread::sleep_for(kIdle + std::chrono::milliseconds{400});
      if (next == 2000) return std::nullopt;
      return Message{next++};
    }
  };
  return with_stream(options, placement, Pausing{}, [](tandem::Runtime& runtime, auto& results) {
    for (int i = 0; i < 1000; ++i) results.next();
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
    const double before = processor_seconds(runtime);
    const bool early = results.next_for(kIdle).has_value();
    const double after = processor_seconds(runtime);
    if (early) throw std::runtime_error("an item came while the commander slept");
    std::uint64_t rest = 0;
    while (results.next()) ++rest;
    if (rest != 1000) throw std::runtime_error(fmt::format("{} items after the pause, not 1000", rest));
    return 100 * (after - before);
  });
}

void run_memory(const Options& options, Report& report) {
  const std::vector<Metric> metrics{
      {"host after 10^4", "KiB"}, {"host after 10^6", "KiB"}, {"host, of it shared, 10^6", "KiB"},
      {"host growth", "KiB"},     {"host growth ratio", "x"}, {"workers after 10^4", "KiB"},
      {"workers growth", "KiB"}};
  const std::vector<Variant> variants{
      {"processes", metrics, [&] { return growth(options, "process"); }},
      {"threads", metrics, [&] { return growth(options, "thread"); }},
  };
  report.add({"resident memory (VmRSS): one stream of tiny messages, looked at twice"},
             measure_rounds("memory", variants, options, options.repetitions));
  report.figure("memory_growth", "processes", "host growth ratio");
  report.figure("memory_growth_host", "processes", "host growth");
  report.figure("memory_growth_workers", "processes", "workers growth");
  report.figure("memory_growth_thread", "threads", "host growth ratio");
}

}  // namespace

void run_footprint(const Options& options, Report& report) {
  run_memory(options, report);
  run_idle(options, report);
}

void run_idle(const Options& options, Report& report) {
  const std::vector<Variant> variants{
      {"processes, consumer pauses",
       {{"", "percent"}},
       [&] { return std::vector{idle_consumer(options, "process")}; }},
      {"processes, commander pauses",
       {{"", "percent"}},
       [&] { return std::vector{idle_commander(options, "process")}; }},
      {"threads, consumer pauses",
       {{"", "percent"}},
       [&] { return std::vector{idle_consumer(options, "thread")}; }},
      {"threads, commander pauses",
       {{"", "percent"}},
       [&] { return std::vector{idle_commander(options, "thread")}; }},
  };
  report.add({"idle: processor time of host and workers in an idle second",
              "percent of one processor; less is better", Better::less},
             measure_rounds("idle", variants, options, std::min(options.repetitions, 3)));
  report.figure("cpu_idle", "processes, consumer pauses");
  report.figure("cpu_idle_commander", "processes, commander pauses");
  report.figure("cpu_idle_thread", "threads, consumer pauses");
}

}  // namespace bench
