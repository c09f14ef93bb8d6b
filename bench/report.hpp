#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "median.hpp"

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
  bool full = false;  // what takes minutes, too
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
  std::string failure = {};  // why there are no more of them; empty: all rounds went well
};

/// A figure of the last lines: `name value unit`, where the value is the median.
struct Figure {
  std::string name;
  std::string unit;
  std::vector<double> values;  // none: what it is made of failed
};

enum class Better { more, less };

/// What a table is about.
struct Heading {
  std::string title;
  std::string scale = {};  // what its numbers are
  Better better = Better::more;
  std::string reference = {};  // the variant that all others are compared with; empty: none
};

/// What one section measured and the figures that came of it.
struct Table {
  Heading heading;
  std::vector<Row> rows;
  std::vector<Figure> figures;
};

/// Measures each variant once per round, each in a process of its own, from another first one in each
/// round: what disturbs the machine for a while disturbs all of them. One that fails is named on standard
/// error and in its rows, and is not tried again; the others go on.
std::vector<Row> measure_rounds(std::string_view title, const std::vector<Variant>& variants,
                                const Options& options, int repetitions);

/// A number as the tables show it.
std::string number(double value);
/// Above over below, round by round.
std::vector<double> ratios(const Row& above, const Row& below);

/// Collects tables and figures while the sections run, and prints them.
class Report {
 public:
  /// Prints the table of a section, whose rows the functions below take from then on.
  void add(Heading heading, std::vector<Row> rows);
  /// The median of a row becomes a figure. Nothing happens when the row was not asked for.
  void figure(std::string name, std::string_view variant, std::string_view metric = {});
  /// Above over below, round by round, and the median of that; prints its spread.
  void ratio(std::string name, std::string_view above, std::string_view below, std::string_view metric = {});
  /// The largest median of this metric over the smallest, among all variants; of each value's part of its round.
  void worst_over_best(std::string name, std::string_view metric);
  /// Prints all figures: the last lines. One that failed has "failed" for its value.
  void finish() const;

  const std::vector<Table>& tables() const noexcept { return tables_; }
  /// True when something failed: the program is to end with an error, in the end.
  bool failed() const noexcept { return failed_; }

 private:
  const Row* find(std::string_view variant, std::string_view metric) const;
  void keep(std::string name, std::string unit, std::vector<double> values);

  std::vector<Table> tables_;
  bool failed_ = false;
};

/// Processor, kernel, compiler, oneTBB: what the numbers are about. Lines of a name and a value.
std::string machine();

}  // namespace bench
