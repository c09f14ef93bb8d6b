#include "report.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>
#include <oneapi/tbb/version.h>

#include "child.hpp"

namespace bench {
namespace {

std::string value_in_file(const std::string& path, std::string_view key) {
  std::ifstream file{path};
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t colon = line.find(':');
    return colon == std::string::npos ? line : line.substr(line.find_first_not_of(" \t", colon + 1));
  }
  return "unknown";
}

void print_row(std::string_view name, std::string_view unit, const std::vector<double>& values) {
  if (values.empty()) return;
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  fmt::print("  {:<56}{:>12}{:>12}{:>12}  {:<8}{:>3}\n", name, number(median(values)), number(*least),
             number(*most), unit, values.size());
}

// `rows`: those of the variant.
void measure_once(std::string_view title, const Variant& variant, int round, const Options& options,
                  std::vector<Row>& rows) {
  try {
    const std::vector<double> values = in_child(variant.measure, options.at_most);
    if (values.size() != rows.size()) {
      throw std::runtime_error(fmt::format("gave {} numbers, not {}", values.size(), rows.size()));
    }
    for (std::size_t metric = 0; metric < rows.size(); ++metric) rows[metric].values.push_back(values[metric]);
  } catch (const std::exception& error) {
    for (Row& row : rows) row.failure = fmt::format("round {}: {}", round + 1, error.what());
    fmt::print(stderr, "failed: {}, {}, {}\n", title, variant.name, rows.front().failure);
  }
}

}  // namespace

std::vector<Row> measure_rounds(std::string_view title, const std::vector<Variant>& variants,
                                const Options& options, int repetitions) {
  std::vector<const Variant*> chosen;
  for (const Variant& variant : variants) {
    if (variant.name.find(options.variants) != std::string::npos) chosen.push_back(&variant);
  }
  std::vector<std::vector<Row>> rows(chosen.size());
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    for (const Metric& metric : chosen[i]->metrics) rows[i].push_back({chosen[i]->name, metric, {}});
  }
  for (int round = 0; round < repetitions; ++round) {
    fmt::print(stderr, "{}: round {} of {}\n", title, round + 1, repetitions);
    for (std::size_t step = 0; step < chosen.size(); ++step) {
      const std::size_t i = (step + static_cast<std::size_t>(round)) % chosen.size();
      if (rows[i].front().failure.empty()) measure_once(title, *chosen[i], round, options, rows[i]);
    }
  }
  std::vector<Row> all;
  for (const auto& some : rows) all.insert(all.end(), some.begin(), some.end());
  return all;
}

std::string number(double value) {
  if (value != 0 && (value < 0.01 || value >= 1e7)) return fmt::format("{:.3g}", value);
  return value >= 1000 ? fmt::format("{:.0f}", value) : fmt::format("{:.3f}", value);
}

std::vector<double> ratios(const Row& above, const Row& below) {
  std::vector<double> all;
  for (std::size_t round = 0; round < std::min(above.values.size(), below.values.size()); ++round) {
    all.push_back(above.values[round] / below.values[round]);
  }
  return all;
}

void Report::add(Heading heading, std::vector<Row> rows) {
  fmt::print("\n{}\n  {:<56}{:>12}{:>12}{:>12}  {:<8}{:>3}\n", heading.title, "", "median", "least", "most",
             "unit", "n");
  std::string_view told;  // a variant's metrics fail together
  for (const Row& row : rows) {
    const std::string& metric = row.metric.name;
    print_row(metric.empty() ? row.variant : row.variant + ": " + metric, row.metric.unit, row.values);
    if (row.failure.empty()) continue;
    failed_ = true;
    if (row.variant != told) fmt::print("  {}: failed in {}\n", row.variant, row.failure);
    told = row.variant;
  }
  tables_.push_back({std::move(heading), std::move(rows), {}});
}

const Row* Report::find(std::string_view variant, std::string_view metric) const {
  const std::vector<Row>& rows = tables_.back().rows;
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const Row& row) {
    return row.variant == variant && row.metric.name == metric;
  });
  return found == rows.end() ? nullptr : &*found;
}

void Report::keep(std::string name, std::string unit, std::vector<double> values) {
  tables_.back().figures.push_back({std::move(name), std::move(unit), std::move(values)});
}

void Report::figure(std::string name, std::string_view variant, std::string_view metric) {
  if (const Row* const row = find(variant, metric)) keep(std::move(name), row->metric.unit, row->values);
}

void Report::ratio(std::string name, std::string_view above, std::string_view below, std::string_view metric) {
  const Row* const upper = find(above, metric);
  const Row* const lower = find(below, metric);
  if (upper == nullptr || lower == nullptr) return;
  const std::vector<double> all = ratios(*upper, *lower);
  print_row(fmt::format("{} / {}{}{}", above, below, metric.empty() ? "" : ": ", metric), "x", all);
  keep(std::move(name), "x", all);
}

// Each value as its part of its round: what slows the machine down for a while slows all of a round.
void Report::worst_over_best(std::string name, std::string_view metric) {
  std::vector<const Row*> rows;
  for (const Row& row : tables_.back().rows) {
    if (row.metric.name != metric) continue;
    if (row.values.empty()) return keep(std::move(name), "x", {});
    rows.push_back(&row);
  }
  if (rows.size() < 2) return;
  std::size_t rounds = rows.front()->values.size();
  for (const Row* const row : rows) rounds = std::min(rounds, row->values.size());
  std::vector<std::vector<double>> parts(rows.size());
  for (std::size_t round = 0; round < rounds; ++round) {
    double sum = 0;
    for (const Row* const row : rows) sum += row->values[round];
    for (std::size_t row = 0; row < rows.size(); ++row) parts[row].push_back(rows[row]->values[round] / sum);
  }
  double worst = 0;
  double best = HUGE_VAL;
  for (const std::vector<double>& part : parts) {
    worst = std::max(worst, median(part));
    best = std::min(best, median(part));
  }
  print_row(fmt::format("worst over best{}{}", metric.empty() ? "" : ": ", metric), "x", {worst / best});
  keep(std::move(name), "x", {worst / best});
}

void Report::finish() const {
  fmt::print("\n");
  for (const Table& table : tables_) {
    for (const Figure& figure : table.figures) {
      if (figure.values.empty()) {
        fmt::print("{} failed {}\n", figure.name, figure.unit);
      } else {
        fmt::print("{} {:.4g} {}\n", figure.name, median(figure.values), figure.unit);
      }
    }
  }
}

std::string machine() {
  utsname kernel{};
  uname(&kernel);
  return fmt::format(
      "processor   {}\nprocessors  {}\nkernel      {} {}\ncompiler    {} {}\noneTBB      {} (built with {})\n"
      "huge pages  anonymous {}; shared {}\n",
      value_in_file("/proc/cpuinfo", "model name"), sysconf(_SC_NPROCESSORS_ONLN), kernel.sysname,
      kernel.release,
#ifdef __clang__
      "clang",
#else
      "gcc",
#endif
      __VERSION__, TBB_runtime_version(), TBB_VERSION_STRING,
      value_in_file("/sys/kernel/mm/transparent_hugepage/enabled", ""),
      value_in_file("/sys/kernel/mm/transparent_hugepage/shmem_enabled", ""));
}

}  // namespace bench
