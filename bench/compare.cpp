#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "command_line.hpp"
#include "peers/peer.hpp"
#include "processors.hpp"
#include "sections.hpp"
#include "table.hpp"

// Tandem beside other ways to do the same job, beside the machine's limits, and beside itself with more of everything: all in
// one run, interleaved; a table, a picture, and `name value unit`.

namespace {

using bench::Kind;
using bench::Options;
using bench::Peer;
using bench::Report;
using bench::Variant;

using RunBeside = void (*)(const Options&, Report&, const std::vector<Variant>&);

// One job with all peers that can do it, and a figure for each of them: how many times better Tandem's processes are.
void beside_peers(Kind kind, RunBeside run, const Options& options, const std::vector<Peer>& peers,
                  Report& report) {
  const char* const unit = kind == Kind::tiny ? "1/s" : kind == Kind::big ? "GB/s" : "us";
  std::vector<Variant> others;
  std::vector<const Peer*> able;
  for (const Peer& peer : peers) {
    if (std::count(peer.kinds.begin(), peer.kinds.end(), kind) == 0) continue;
    able.push_back(&peer);
    others.push_back({peer.name, {{"", unit}}, [&peer, kind, &options] {
                        return std::vector{peer.measure(kind, options)};
                      }});
  }
  run(options, report, others);
  for (const Peer* const peer : able) {
    const std::string name = fmt::format("{}_vs_{}", name_of(kind), peer->key);
    if (kind == Kind::round_trip) {
      report.ratio(name, peer->name, bench::kProcesses);
    } else {
      report.ratio(name, bench::kProcesses, peer->name);
    }
  }
}

struct Section {
  const char* name;
  std::function<void(const Options&, const std::vector<Peer>&, Report&)> run;
};

std::vector<Section> sections() {
  const auto with_peers = [](Kind kind, RunBeside run) {
    return [kind, run](const Options& options, const std::vector<Peer>& peers, Report& report) {
      beside_peers(kind, run, options, peers, report);
    };
  };
  const auto alone = [](void (*run)(const Options&, Report&)) {
    return [run](const Options& options, const std::vector<Peer>&, Report& report) { run(options, report); };
  };
  return {
      {"tiny", with_peers(Kind::tiny, bench::run_tiny)},
      {"big", with_peers(Kind::big, bench::run_big)},
      {"chain", alone(bench::run_chain)},
      {"round_trip", with_peers(Kind::round_trip, bench::run_round_trip)},
      {"asleep", alone(bench::run_asleep)},
      {"use", alone(bench::run_use)},
      {"one_core", alone(bench::run_one_core)},
      {"idle", alone(bench::run_idle)},
      {"first_item", alone(bench::run_first_item)},
      {"scale_messages", alone(bench::run_scale_messages)},
      {"scale_workers", alone(bench::run_scale_workers)},
      {"scale_in_flight", alone(bench::run_scale_in_flight)},
      {"scale_nodes", alone(bench::run_scale_nodes)},
  };
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file{path};
  file << text;
  if (!file.flush()) throw std::runtime_error(fmt::format("cannot write {}", path.string()));
  fmt::print("written: {}\n", path.string());
}

std::string page(const Report& report, const std::vector<Peer>& peers, const Options& options, int processors) {
  std::string text =
      "# Tandem and others\n\nWritten by `bench/run.sh --compare`; bench/README.md says what is measured.";
  if (options.quick) text += " **A run with --quick: its figures mean little.**";
  text += fmt::format("\n```\n{}used        {} processors, {} rounds\n", bench::machine(), processors,
                      options.repetitions);
  for (const Peer& peer : peers) {
    if (!peer.version.empty()) text += fmt::format("{:<30} {}\n", peer.name, peer.version);
  }
  text += "```\n" + markdown(report) + "\n## Left out\n\n";
  const std::size_t before = text.size();
  for (const Peer& peer : peers) {
    if (!peer.left_out.empty()) text += fmt::format("- {}: {}\n", peer.name, peer.left_out);
  }
  if (text.size() == before) text += "Nothing.\n";
  return text;
}

// Returns whether all went well.
bool compare(const Options& options, const std::vector<std::string>& only, const std::filesystem::path& results,
             int processors) {
  processors = bench::use_processors(processors);
  fmt::print("used        {} processors\n", processors);
  const std::vector<Peer> peers = bench::all_peers();
  for (const Peer& peer : peers) {
    if (!peer.left_out.empty()) fmt::print("left out    {}: {}\n", peer.name, peer.left_out);
  }
  Report report;
  for (const Section& section : sections()) {
    if (only.empty() || std::count(only.begin(), only.end(), section.name) != 0)
      section.run(options, peers, report);
  }
  std::filesystem::create_directories(results);
  const std::string name = options.quick ? "compare-quick" : "compare";
  fmt::print("\n");
  write(results / (name + ".md"), page(report, peers, options, processors));
  write(results / (name + ".svg"), drawn(report));
  report.finish();
  return !report.failed();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  std::vector<std::string> only;
  std::string results = "bench/results";
  int processors = 2;
  std::vector<std::string> names;
  for (const Section& section : sections()) names.emplace_back(section.name);
  CLI::App app{"Tandem beside other ways to do the same job, and with more of everything"};
  app.add_option("--only", only, "sections to run: " + CLI::detail::join(names, ", "))
      ->delimiter(',')
      ->check(CLI::IsMember(names));
  bench::add_options(app, options);
  app.add_option("--trips", options.trips, "round trips, timed")->check(CLI::PositiveNumber);
  app.add_option("--processors", processors, "how many of the machine's are used")->check(CLI::Range(1, 1024));
  app.add_flag("--full", options.full, "what takes minutes, too: 10^8 messages in one stream");
  app.add_option("--results", results, "the folder for table and picture");
  CLI11_PARSE(app, argc, argv);
  bench::shorten_if_quick(options);
  if (options.full) options.at_most = std::max(options.at_most, std::chrono::seconds{900});
  fmt::print("{}", bench::machine());
  try {
    return compare(options, only, results, processors) ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "tandem_compare: {}\n", error.what());
    return 1;
  }
}
