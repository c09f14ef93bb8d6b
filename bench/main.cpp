#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <tandem/spawn.hpp>

#include "sections.hpp"

namespace {

struct Section {
  const char* name;
  void (*run)(const bench::Options&, bench::Report&);
};

constexpr Section kSections[] = {
    {"tiny", bench::run_tiny},           {"big", bench::run_big},           {"order", bench::run_order},
    {"lifecycle", bench::run_lifecycle}, {"recovery", bench::run_recovery}, {"executor", bench::run_executor},
    {"footprint", bench::run_footprint},
};

}  // namespace

int main(int argc, char** argv) {
  if (tandem::Spawned::here() != nullptr) {
    bench::run_spawned_lifecycle(argv);
    return 1;  // it never gets there
  }
  bench::Options options;
  std::vector<std::string> only;
  bool quick = false;
  int at_most_seconds = static_cast<int>(options.at_most.count());
  CLI::App app{"Tandem beside hand-written oneTBB graphs and the limits of the machine"};
  app.add_option("--only", only, "sections to run: tiny, big, order, lifecycle, recovery, executor, footprint")
      ->delimiter(',');
  app.add_option("--variants", options.variants, "only variants whose name contains this");
  app.add_option("--repetitions", options.repetitions, "rounds of each section")->check(CLI::Range(1, 1000));
  app.add_option("--messages", options.messages, "tiny messages, timed")->check(CLI::PositiveNumber);
  app.add_option("--in-flight", options.in_flight, "tiny messages at a time")->check(CLI::Range(1, 1'000'000));
  app.add_option("--arrays", options.arrays, "big arrays, timed")->check(CLI::PositiveNumber);
  app.add_option("--big-in-flight", options.big_in_flight, "big arrays at a time")->check(CLI::Range(1, 1000));
  app.add_option("--heavy", options.heavy, "messages of order, timed")->check(CLI::PositiveNumber);
  app.add_option("--workers", options.workers, "workers of every variant")->check(CLI::Range(1, 64));
  app.add_option("--kills", options.kills,
                 "workers killed in each variant of recovery; a part of it in the slow ones")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--timeout", at_most_seconds, "seconds after which one measurement counts as hung");
  app.add_flag("--quick", quick, "a smoke run: few repetitions of short runs; its figures mean little");
  CLI11_PARSE(app, argc, argv);
  options.at_most = std::chrono::seconds{at_most_seconds};
  if (quick) {
    options.repetitions = std::min(options.repetitions, 2);
    options.messages = std::min<std::uint64_t>(options.messages, 50'000);
    options.arrays = std::min<std::uint64_t>(options.arrays, 100);
    options.heavy = std::min<std::uint64_t>(options.heavy, 2000);
    options.kills = std::min(options.kills, 100);
  }
  bench::print_machine();
  bench::Report report;
  try {
    for (const Section& section : kSections) {
      if (only.empty() || std::find(only.begin(), only.end(), section.name) != only.end()) {
        section.run(options, report);
      }
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "tandem_bench: {}\n", error.what());
    return 1;
  }
  report.finish();
  return 0;
}
