#include "report.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <stdexcept>

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
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  fmt::print("  {:<56}{:>12}{:>12}{:>12}  {:<8}{:>3}\n", name, number(median(values)), number(*least),
             number(*most), unit, values.size());
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
      std::vector<double> values;
      try {
        values = in_child(chosen[i]->measure, options.at_most);
      } catch (const std::exception& error) {
        throw std::runtime_error(fmt::format("{}, {}, round {}: {}", title, chosen[i]->name, round + 1,
                                             error.what()));
      }
      for (std::size_t metric = 0; metric < rows[i].size(); ++metric) {
        rows[i][metric].values.push_back(values.at(metric));
      }
    }
  }
  std::vector<Row> all;
  for (const auto& some : rows) all.insert(all.end(), some.begin(), some.end());
  return all;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
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

void Report::add(std::string_view title, const std::vector<Row>& rows) {
  fmt::print("\n{}\n  {:<56}{:>12}{:>12}{:>12}  {:<8}{:>3}\n", title, "", "median", "least", "most", "unit",
             "n");
  for (const Row& row : rows) {
    const std::string& metric = row.metric.name;
    print_row(metric.empty() ? row.variant : row.variant + ": " + metric, row.metric.unit, row.values);
  }
  rows_ = rows;
}

const Row* Report::find(std::string_view variant, std::string_view metric) const {
  const auto found = std::find_if(rows_.begin(), rows_.end(), [&](const Row& row) {
    return row.variant == variant && row.metric.name == metric && !row.values.empty();
  });
  return found == rows_.end() ? nullptr : &*found;
}

void Report::figure(std::string name, std::string_view variant, std::string_view metric) {
  if (const Row* const row = find(variant, metric)) {
    figures_.push_back({std::move(name), median(row->values), row->metric.unit});
  }
}

void Report::ratio(std::string name, std::string_view above, std::string_view below) {
  const Row* const upper = find(above, {});
  const Row* const lower = find(below, {});
  if (upper == nullptr || lower == nullptr) return;
  const std::vector<double> all = ratios(*upper, *lower);
  print_row(fmt::format("{} / {}", above, below), "x", all);
  figures_.push_back({std::move(name), median(all), "x"});
}

void Report::finish() const {
  fmt::print("\n");
  for (const Figure& figure : figures_) {
    fmt::print("{} {:.4g} {}\n", figure.name, figure.value, figure.unit);
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
