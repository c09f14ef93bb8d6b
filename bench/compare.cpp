#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "command_line.hpp"
#include "peers/peer.hpp"
#include "picture.hpp"
#include "sections.hpp"

// Tandem beside other ways to do the same job: all in one run, interleaved; a table, a picture, and `name ratio x`.

namespace {

using bench::Kind;
using bench::Options;
using bench::Peer;
using bench::Row;
using bench::Variant;

struct Section {
  Kind kind;
  std::string title;
  std::string scale;
  bool more_is_better;
  std::vector<Row> rows = {};
};

std::vector<Section> sections(const Options& options, const std::vector<std::string>& only) {
  const std::vector<Section> all{
      {Kind::tiny,
       fmt::format("tiny: 64-byte results, {} workers, in order, {} in flight", options.workers,
                   options.in_flight),
       "results per second; more is better", true},
      {Kind::big,
       fmt::format("big: arrays of 12.6 MB, {} workers, in order, {} in flight", options.workers,
                   options.big_in_flight),
       "GB/s; more is better", true},
      {Kind::round_trip, "round_trip: one message to a worker, 64 bytes back", "microseconds; less is better",
       false},
  };
  std::vector<Section> chosen;
  for (const Section& section : all) {
    if (only.empty() || std::count(only.begin(), only.end(), name_of(section.kind)) != 0)
      chosen.push_back(section);
  }
  return chosen;
}

// Tandem's and oneTBB's own, as tandem_bench has them, and those of the peers; with their first figure alone.
std::vector<Variant> variants(Kind kind, const Options& options, const std::vector<Peer>& peers) {
  std::vector<Variant> all = kind == Kind::tiny  ? bench::tiny_variants(options)
                             : kind == Kind::big ? bench::big_variants(options)
                                                 : bench::round_trip_variants(options);
  const std::string unit = all.front().metrics.front().unit;
  for (Variant& variant : all) variant.metrics.resize(1);
  for (const Peer& peer : peers) {
    if (std::count(peer.kinds.begin(), peer.kinds.end(), kind) == 0) continue;
    all.push_back({peer.name, {{"", unit}}, [&peer, kind, &options] {
                     return std::vector{peer.measure(kind, options)};
                   }});
  }
  return all;
}

// In the names of figures.
std::string key_of(const std::string& variant, const std::vector<Peer>& peers) {
  for (const Peer& peer : peers) {
    if (peer.name == variant) return peer.key;
  }
  if (variant == bench::kThreads) return "tandem_threads";
  if (variant == "bare limit") return "limit";
  return variant == "oneTBB graph, plain" ? "tbb_graph_plain" : "tbb_graph";
}

// How many times better Tandem's worker processes are, round by round; empty when either was not measured.
std::vector<double> ratios_to_tandem(const Section& section, const Row& row) {
  for (const Row& tandem : section.rows) {
    if (tandem.variant != bench::kProcesses) continue;
    return section.more_is_better ? ratios(tandem, row) : ratios(row, tandem);
  }
  return {};
}

std::string range(const std::vector<double>& values) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return fmt::format("{} to {}", bench::number(*least), bench::number(*most));
}

std::string table(const std::vector<Section>& sections, const std::vector<Peer>& peers,
                  const Options& options) {
  std::string text =
      "# Tandem and others\n\nWritten by `bench/run.sh --compare`; bench/README.md says what is measured.";
  if (options.quick) text += " **A run with --quick: its figures mean little.**";
  text += fmt::format("\n```\n{}", bench::machine());
  for (const Peer& peer : peers) {
    if (!peer.version.empty()) text += fmt::format("{:<30} {}\n", peer.name, peer.version);
  }
  text += "```\n";
  for (const Section& section : sections) {
    if (section.rows.empty()) continue;
    text += fmt::format(
        "\n## {}\n{}; median of {} rounds. The ratio is how many times better tandem processes are.\n\n"
        "| | median | least to most | ratio | its least to most |\n|---|---|---|---|---|\n",
        section.title, section.scale, section.rows.front().values.size());
    for (const Row& row : section.rows) {
      const std::vector<double> ratio = ratios_to_tandem(section, row);
      text += fmt::format("| {} | {} | {} | {} | {} |\n", row.variant, bench::number(bench::median(row.values)),
                          range(row.values), ratio.empty() ? "" : bench::number(bench::median(ratio)),
                          ratio.empty() ? "" : range(ratio));
    }
  }
  text += "\n## Left out\n\n";
  const std::size_t before = text.size();
  for (const Peer& peer : peers) {
    if (!peer.left_out.empty()) text += fmt::format("- {}: {}\n", peer.name, peer.left_out);
  }
  if (text.size() == before) text += "Nothing.\n";
  return text;
}

std::string drawn(const std::vector<Section>& sections) {
  std::vector<bench::Panel> panels;
  for (const Section& section : sections) {
    bench::Panel panel{
        section.title,
        section.scale +
            "; logarithmic; at the right the median, and how many times better tandem processes are",
        {}};
    for (const Row& row : section.rows) {
      const std::vector<double> ratio = ratios_to_tandem(section, row);
      const bool ours = row.variant == bench::kProcesses || row.variant == bench::kThreads;
      std::string remark = bench::number(bench::median(row.values));
      if (!ratio.empty() && row.variant != bench::kProcesses) {
        remark += fmt::format("   ({:.3g} x)", bench::median(ratio));
      }
      panel.bars.push_back({row.variant, row.values, std::move(remark), ours});
    }
    panels.push_back(std::move(panel));
  }
  return bench::picture(panels);
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file{path};
  file << text;
  if (!file.flush()) throw std::runtime_error(fmt::format("cannot write {}", path.string()));
  fmt::print("written: {}\n", path.string());
}

void compare(const Options& options, const std::vector<std::string>& only,
             const std::filesystem::path& results) {
  const std::vector<Peer> peers = bench::all_peers();
  for (const Peer& peer : peers) {
    if (!peer.left_out.empty()) fmt::print("left out    {}: {}\n", peer.name, peer.left_out);
  }
  bench::Report report;
  std::vector<Section> chosen = sections(options, only);
  for (Section& section : chosen) {
    const std::vector<Variant> measured = variants(section.kind, options, peers);
    section.rows = measure_rounds(section.title, measured, options, options.repetitions);
    report.add(section.title, section.rows);
    for (const Row& row : section.rows) {
      if (row.variant == bench::kProcesses) continue;
      const std::string name = fmt::format("{}_vs_{}", name_of(section.kind), key_of(row.variant, peers));
      if (section.more_is_better) {
        report.ratio(name, bench::kProcesses, row.variant);
      } else {
        report.ratio(name, row.variant, bench::kProcesses);
      }
    }
  }
  std::filesystem::create_directories(results);
  const std::string name = options.quick ? "compare-quick" : "compare";
  fmt::print("\n");
  write(results / (name + ".md"), table(chosen, peers, options));
  write(results / (name + ".svg"), drawn(chosen));
  report.finish();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  std::vector<std::string> only;
  std::string results = "bench/results";
  CLI::App app{"Tandem beside other ways to do the same job"};
  app.add_option("--only", only, "jobs: tiny, big, round_trip")
      ->delimiter(',')
      ->check(CLI::IsMember({"tiny", "big", "round_trip"}));
  bench::add_options(app, options);
  app.add_option("--trips", options.trips, "round trips, timed")->check(CLI::PositiveNumber);
  app.add_option("--results", results, "the folder for table and picture");
  CLI11_PARSE(app, argc, argv);
  bench::shorten_if_quick(options);
  fmt::print("{}", bench::machine());
  try {
    compare(options, only, results);
  } catch (const std::exception& error) {
    fmt::print(stderr, "tandem_compare: {}\n", error.what());
    return 1;
  }
  return 0;
}
