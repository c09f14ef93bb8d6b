#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

/// What is asked for on the command line.
struct Options {
  int repetitions = 5;
  std::uint64_t messages = 1'000'000;  // tiny ones, timed
  std::uint32_t in_flight = 1000;      // of tiny messages
  std::uint64_t arrays = 800;          // big ones, timed
  std::uint32_t big_in_flight = 8;
  std::uint64_t trips = 20'000;  // of one message there and back, timed
  std::uint64_t heavy = 30'000;  // messages of which some take long, timed
  int workers = 2;
  int kills = 2000;                   // of workers
  std::chrono::seconds at_most{120};  // for one measurement
  std::string variants;               // only those whose name contains this
  bool quick = false;
};

struct Metric {
  std::string name;  // empty when there is only one
  std::string unit;
};

/// One way to do the job. measure() returns one number for each metric.
struct Variant {
  std::string name;
  std::vector<Metric> metrics;
  std::function<std::vector<double>()> measure;
};

/// All numbers of one variant and metric, in the order of the rounds.
struct Row {
  std::string variant;
  Metric metric;
  std::vector<double> values;
};

/// A figure of the last lines: `name value unit`.
struct Figure {
  std::string name;
  double value;
  std::string unit;
};

/// Measures each variant once per round, each in a process of its own, from another first one in each
/// round: what disturbs the machine for a while disturbs all of them.
std::vector<Row> measure_rounds(std::string_view title, const std::vector<Variant>& variants,
                                const Options& options, int repetitions);

double median(std::vector<double> values);
/// A number as the tables show it.
std::string number(double value);
/// Above over below, round by round.
std::vector<double> ratios(const Row& above, const Row& below);

/// Collects rows and figures while the sections run, and prints them.
class Report {
 public:
  /// Prints the table of a section, whose rows figure() and ratio() take from then on.
  void add(std::string_view title, const std::vector<Row>& rows);
  /// The median of a row becomes a figure. Nothing happens when the row was not measured.
  void figure(std::string name, std::string_view variant, std::string_view metric = {});
  /// Above over below, round by round, and the median of that; prints its spread. For variants
  /// with one metric.
  void ratio(std::string name, std::string_view above, std::string_view below);
  /// Prints all figures: the last lines.
  void finish() const;

 private:
  const Row* find(std::string_view variant, std::string_view metric) const;

  std::vector<Row> rows_;
  std::vector<Figure> figures_;
};

/// Processor, kernel, compiler, oneTBB: what the numbers are about. Lines of a name and a value.
std::string machine();

}  // namespace bench
