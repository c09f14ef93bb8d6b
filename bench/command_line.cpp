#include "command_line.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace bench {

void add_options(CLI::App& app, Options& options) {
  app.add_option("--variants", options.variants, "only variants whose name contains this");
  app.add_option("--repetitions", options.repetitions, "rounds of each section")->check(CLI::Range(1, 1000));
  app.add_option("--messages", options.messages, "tiny messages, timed")->check(CLI::PositiveNumber);
  app.add_option("--in-flight", options.in_flight, "tiny messages at a time")->check(CLI::Range(1, 1'000'000));
  app.add_option("--arrays", options.arrays, "big arrays, timed")->check(CLI::PositiveNumber);
  app.add_option("--big-in-flight", options.big_in_flight, "big arrays at a time")->check(CLI::Range(1, 1000));
  app.add_option("--workers", options.workers, "workers of every variant")->check(CLI::Range(1, 64));
  app.add_option_function<int>(
      "--timeout", [&options](const int& seconds) { options.at_most = std::chrono::seconds{seconds}; },
      "seconds after which one measurement counts as hung");
  app.add_flag("--quick", options.quick, "a smoke run: few repetitions of short runs; its figures mean little");
}

void shorten_if_quick(Options& options) {
  if (!options.quick) return;
  options.repetitions = std::min(options.repetitions, 2);
  options.messages = std::min<std::uint64_t>(options.messages, 50'000);
  options.arrays = std::min<std::uint64_t>(options.arrays, 100);
  options.trips = std::min<std::uint64_t>(options.trips, 2000);
  options.heavy = std::min<std::uint64_t>(options.heavy, 2000);
  options.kills = std::min(options.kills, 100);
}

}  // namespace bench
