// A solver with a COMMON block, run for several cases at once: in processes, each with a block of its own, as in sequence;
// on threads, with one block for all, wrong. legacy.expected is the output.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <tandem/tandem.hpp>

#include "burgers.h"
#include "turns.hpp"

namespace {

constexpr int kCases = 8;
constexpr int kWorkers = 4;

struct Case {
  double viscosity;
};

struct Cases {
  int next = 0;
  std::optional<Case> operator()() {
    if (next == kCases) return std::nullopt;
    return Case{0.002 * ++next};
  }
};

struct Result {
  double energy, steepest;
  int steps;
  bool operator==(const Result&) const = default;
};

/// One case, from its beginning to its end. The calls are those of any program that uses this solver.
struct Solve {
  std::shared_ptr<legacy::Turns> turns;  // on threads

  Result operator()(const Case& in, const tandem::Context& context) const {
    const double span = 0.4;
    Result out{};
    call(context, 0, [&] { burgini_(&in.viscosity); });
    call(context, 1, [&] { burgrun_(&span); });
    call(context, 2, [&] { burgout_(&out.energy, &out.steepest, &out.steps); });
    return out;
  }

  template <class Call>
  void call(const tandem::Context& context, std::uint64_t number, Call made) const {
    turns ? turns->take(context.sequence(), number, made) : made();
  }
};

std::vector<Result> solve_all(const std::string& placement, int workers,
                              std::shared_ptr<legacy::Turns> turns = nullptr) {
  tandem::Config config;
  config.set("node.solver.placement", placement, "legacy");
  config.set("node.solver.workers", std::to_string(workers), "legacy");
  tandem::Runtime runtime{config};
  oneapi::tbb::flow::graph graph;
  tandem::commander_node<Case> cases{graph, runtime, "cases", Cases{}};
  tandem::producer_node<Case, Result> solver{graph, runtime, "solver", Solve{std::move(turns)}};
  tandem::sequencer_node<Result> order{graph, runtime};
  tandem::stream_node<Result> results{graph, runtime};
  make_edge(cases, solver);
  make_edge(solver, order);
  make_edge(order, results);
  std::vector<Result> found;
  for (const auto& result : results) found.push_back(*result);
  return found;
}

int count_wrong(const std::vector<Result>& found, const std::vector<Result>& wanted) {
  int wrong = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) wrong += found.at(i) == wanted[i] ? 0 : 1;  // to the last bit
  return wrong;
}

}  // namespace

int main() {
  const auto sequence = solve_all("thread", 1);
  const auto processes = solve_all("process", kWorkers);
  const auto threads = solve_all("thread", kWorkers, std::make_shared<legacy::Turns>(kWorkers, 3));

  std::printf("           energy, steps\nviscosity  in sequence  in processes   on threads\n");
  Cases cases;
  for (std::size_t i = 0; i < sequence.size(); ++i) {
    std::printf("%9.3f", cases()->viscosity);
    for (const auto* results : {&sequence, &processes, &threads})
      std::printf("  %.4f %4d", (*results)[i].energy, (*results)[i].steps);
    std::printf("\n");
  }
  std::printf("wrong in %d processes: %d of %d\n", kWorkers, count_wrong(processes, sequence), kCases);
  std::printf("wrong on %d threads:   %d of %d\n", kWorkers, count_wrong(threads, sequence), kCases);
}
