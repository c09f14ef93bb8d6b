#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <tandem/spawn.hpp>

#include "command_line.hpp"
#include "sections.hpp"

namespace {

struct Section {
  const char* name;
  void (*run)(const bench::Options&, bench::Report&);
};

constexpr Section kSections[] = {
    {"tiny", [](const bench::Options& options, bench::Report& report) { bench::run_tiny(options, report); }},
    {"big", [](const bench::Options& options, bench::Report& report) { bench::run_big(options, report); }},
    {"order", bench::run_order},
    {"lifecycle", bench::run_lifecycle},
    {"recovery", bench::run_recovery},
    {"executor", bench::run_executor},
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
  CLI::App app{"Tandem beside hand-written oneTBB graphs and the limits of the machine"};
  app.add_option("--only", only, "sections to run: tiny, big, order, lifecycle, recovery, executor, footprint")
      ->delimiter(',');
  bench::add_options(app, options);
  app.add_option("--heavy", options.heavy, "messages of order, timed")->check(CLI::PositiveNumber);
  app.add_option("--kills", options.kills,
                 "workers killed in each variant of recovery; a part of it in the slow ones")
      ->check(CLI::Range(1, 1'000'000));
  CLI11_PARSE(app, argc, argv);
  bench::shorten_if_quick(options);
  fmt::print("{}", bench::machine());
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
  return report.failed() ? 1 : 0;
}
