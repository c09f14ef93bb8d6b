#include "table.hpp"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "picture.hpp"
#include "sections.hpp"

namespace bench {
namespace {

struct Goal {
  std::string_view figure, goal;
};
constexpr Goal kGoals[] = {
    {"tiny_process_vs_tbb", "3 at least"},
    {"tiny_thread_vs_tbb", "1.5 at least"},
    {"big_process_vs_limit", "0.95 at least"},
    {"big_vs_python_tokens", "1.2 at least"},
    {"chain_process_vs_limit", "0.9 at least"},
    {"order_process_vs_unordered", "0.95 at least"},
    {"order_thread_vs_unordered", "0.95 at least"},
    {"round_trip_awake", "1 us at most"},
    {"round_trip_asleep_vs_futex", "1.3 at most"},
    {"cpu_per_message_vs_tbb", "1 at most"},
    {"cpu_idle", "0"},
    {"first_item_fork", "5 ms at most"},
    {"stop_fork", "3 ms at most"},
    {"one_core_vs_two_per_core", "0.7 at least"},
    {"scale_messages", "1.15 at most"},
    {"scale_messages_memory", "1.15 at most"},
    {"scale_workers", "1.15 at most"},
    {"scale_in_flight", "1.15 at most"},
    {"scale_nodes", "1.15 at most"},
    {"use_1us", "0.6 at least"},
    {"use_10us", "0.93 at least"},
    {"use_100us", "0.99 at least"},
    {"use_1000us", "0.999 at least"},
};

std::string range(const std::vector<double>& values) {
  if (values.empty()) return "";
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return fmt::format("{} to {}", number(*least), number(*most));
}

std::string middle(const std::vector<double>& values) { return values.empty() ? "" : number(median(values)); }

// How many times better the table's reference is, round by round; none for the reference itself.
std::vector<double> ratios_to_reference(const Table& table, const Row& row) {
  for (const Row& reference : table.rows) {
    if (reference.variant != table.heading.reference || reference.metric.name != row.metric.name) continue;
    if (row.variant == reference.variant) return {};
    // Of metrics beside the first, which are costs, less is better.
    const bool more = table.heading.better == Better::more && row.metric.name.empty();
    return more ? ratios(reference, row) : ratios(row, reference);
  }
  return {};
}

bool is_tandem(const Row& row) {
  return row.variant.find(kProcesses) != std::string::npos || row.variant.find(kThreads) != std::string::npos;
}

// False where a table is about Tandem alone, and so does not say it in each row.
bool has_others(const Table& table) { return std::any_of(table.rows.begin(), table.rows.end(), is_tandem); }

std::string figures(const Report& report) {
  std::string text =
      "\n## Figures\n\n| figure | median | least to most | unit | goal | n |\n|---|---|---|---|---|---|\n";
  for (const Table& table : report.tables()) {
    for (const Figure& figure : table.figures) {
      text += fmt::format("| `{}` | {} | {} | {} | {} | {} |\n", figure.name,
                          figure.values.empty() ? "**failed**" : number(median(figure.values)),
                          range(figure.values), figure.unit, goal_of(figure.name), figure.values.size());
    }
  }
  return text;
}

std::string lines_of(const Table& table) {
  const Heading& heading = table.heading;
  std::string text = fmt::format("\n## {}\n{}.", heading.title, heading.scale);
  if (!heading.reference.empty())
    text += fmt::format(" The ratio is how many times better {} are.", heading.reference);
  text +=
      "\n\n| | unit | median | least to most | ratio | its least to most | n "
      "|\n|---|---|---|---|---|---|---|\n";
  std::string failures;
  for (const Row& row : table.rows) {
    const std::vector<double> ratio = ratios_to_reference(table, row);
    const std::string name = row.metric.name.empty() ? row.variant : row.variant + ": " + row.metric.name;
    text += fmt::format("| {}{} | {} | {} | {} | {} | {} | {} |\n", name,
                        row.failure.empty() ? "" : " **failed**", row.metric.unit, middle(row.values),
                        range(row.values), middle(ratio), range(ratio), row.values.size());
    if (!row.failure.empty() && row.metric.name.empty())
      failures += fmt::format("\n{} failed in {}\n", row.variant, row.failure);
  }
  return text + failures;
}

}  // namespace

std::string goal_of(const std::string& figure) {
  const auto* const found = std::find_if(std::begin(kGoals), std::end(kGoals),
                                         [&](const Goal& goal) { return goal.figure == figure; });
  return found == std::end(kGoals) ? "" : std::string{found->goal};
}

std::string markdown(const Report& report) {
  std::string text = figures(report);
  for (const Table& table : report.tables()) text += lines_of(table);
  return text;
}

std::string drawn(const Report& report) {
  std::vector<Panel> panels;
  for (const Table& table : report.tables()) {
    const Heading& heading = table.heading;
    Panel panel{heading.title, heading.scale + "; logarithmic; at the right the median", {}};
    if (!heading.reference.empty())
      panel.scale += fmt::format(", and how many times better {} are", heading.reference);
    const std::string metric = table.rows.empty() ? "" : table.rows.front().metric.name;
    for (const Row& row : table.rows) {
      if (row.metric.name != metric || row.values.empty()) continue;
      const std::vector<double> ratio = ratios_to_reference(table, row);
      std::string remark = number(median(row.values));
      if (!ratio.empty()) remark += fmt::format("   ({:.3g} x)", median(ratio));
      if (!row.failure.empty()) remark += "   failed";
      const bool ours = !has_others(table) || is_tandem(row);
      panel.bars.push_back({row.variant, row.values, std::move(remark), ours});
    }
    panels.push_back(std::move(panel));
  }
  return picture(panels);
}

}  // namespace bench
