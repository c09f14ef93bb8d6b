// A simulation pushes every tenth of its steps to an analysis beside it, which is slower than the simulation, and crashes
// at every hundredth frame. The loop neither waits for it nor notices. simulation.expected is the output of a check run.
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <tandem/tandem.hpp>

#include "analysis.hpp"
#include "options.hpp"
#include "solver.hpp"
#include "timing.hpp"

namespace {

using simulation::Options;
using tandem::Arrays;
using tandem::Item;

tandem::Config configuration(const Options& options) {
  auto config = tandem::Config::parse(R"(
    [tandem]
    in_flight = 8

    [node.spectrum]
    placement = "process"   # what crashes there does not crash here
    attempts  = 1           # a frame is not worth a second crash
    on_error  = "deliver"   # the loop looks at what failed, and goes on

    [node.pictures]
    placement = "process"
  )");
  // With "drop_newest", what the analysis has no room for is dropped, and the loop never waits. With "block" every frame
  // is analysed, and the loop is as slow as the analysis.
  config.set("node.steps.full", options.full, "argument --full");
  return config;
}

/// A loop that does not wait for its analysis is to have the processor before it, where there are too few.
int niceness(const Options& options) { return options.full == "block" ? 0 : 10; }

/// The nodes, and the loop's side of them.
class Analysis {
 public:
  explicit Analysis(const Options& options)
      : talks_{options.turns == 0},
        runtime_{configuration(options)},
        steps_{graph_, runtime_, "steps", simulation::frame(options.cells)},
        spectrum_{graph_, runtime_, "spectrum",
                  simulation::Spectrometer{options.cells, options.crash_every, niceness(options)}},
        pictures_{graph_, runtime_, "pictures", simulation::Painter{options.output, niceness(options)}},
        order_{graph_, runtime_},
        spectra_{graph_, runtime_} {
    make_edge(steps_, spectrum_);
    make_edge(steps_, pictures_);
    make_edge(spectrum_, order_);
    make_edge(order_, spectra_);
    runtime_.start();  // else the first step does
  }

  void push(const simulation::Solver& solver, int step) {
    auto frame = steps_.loan();
    frame->matrix<float>("v") = solver.field().matrix();  // written where the workers read it
    frame->scalar<std::int64_t>("step") = step;
    const simulation::Stopwatch watch;
    const bool entered = steps_.push(std::move(frame));
    const double seconds = watch.seconds();
    (entered ? entered_ : dropped_).push_back(seconds);
  }

  void take_results() {
    while (const auto spectrum = spectra_.try_next()) count(*spectrum);
  }

  /// Until nothing is under way.
  void wait_results() {
    while (runtime_.live_messages() > 0) {
      if (const auto spectrum = spectra_.next_for(std::chrono::milliseconds{1})) count(*spectrum);
    }
  }

  void finish() {
    steps_.finish();
    for (const auto& spectrum : spectra_) count(spectrum);
  }

  void print_counts() const {
    fmt::print("{} frames: {} spectra, {} crashes; {} dropped\n", steps_.entered() + steps_.dropped(),
               spectra_seen_, crashes_, steps_.dropped());
  }

  /// Seconds of each push of a frame that entered the graph, and of each that was dropped.
  const std::vector<double>& entered() const { return entered_; }
  const std::vector<double>& dropped() const { return dropped_; }

 private:
  void count(const Item<simulation::Spectrum>& item) {
    if (!item.ok()) {
      ++crashes_;
      if (talks_) fmt::print("frame {}: {}\n", item.sequence(), item.error()->reason);
      return;
    }
    ++spectra_seen_;
    if (talks_ && item.sequence() % 25 == 0)
      fmt::print("step {}: mean {:.4f}, wavelength {:.1f} cells\n", item->step, item->mean, item->wavelength);
  }

  const bool talks_;  // of each result
  tandem::Runtime runtime_;
  oneapi::tbb::flow::graph graph_;
  tandem::feeder_node<Arrays> steps_;
  tandem::producer_node<Arrays, simulation::Spectrum> spectrum_;
  tandem::producer_node<Arrays, void> pictures_;
  tandem::sequencer_node<simulation::Spectrum> order_;
  tandem::stream_node<simulation::Spectrum> spectra_;
  std::vector<double> entered_;
  std::vector<double> dropped_;
  int spectra_seen_ = 0;
  int crashes_ = 0;
};

void run(const Options& options) {
  simulation::Solver solver{options.cells};
  Analysis analysis{options};
  for (int step = 0; step < options.steps; ++step) {
    solver.advance();
    if (step % options.every == 0) analysis.push(solver, step);
    analysis.take_results();
  }
  analysis.finish();
  analysis.print_counts();
}

void print_steps(const char* what, const std::vector<double>& alone, const std::vector<double>& beside) {
  const double before = simulation::median(alone);
  const double after = simulation::median(beside);
  fmt::print("a step, {}: {:.1f} us without the analysis, {:.1f} us with it ({:+.1f} %)\n", what, 1e6 * before,
             1e6 * after, 100 * (after / before - 1));
}

void print_pushes(const char* what, const std::vector<double>& times) {
  if (!times.empty())
    fmt::print("push: {:.2f} us for a frame that {} ({})\n", 1e6 * simulation::median(times), what,
               times.size());
}

/// The loop's own time for a step, without and with the analysis, turn about; medians.
void measure(const Options& options) {
  simulation::Solver solver{options.cells};
  Analysis analysis{options};
  simulation::Turns alone;
  simulation::Turns beside;
  for (int turn = 0; turn < options.turns; ++turn) {
    alone.add(options.steps, [&] {
      for (int step = 0; step < options.steps; ++step) solver.advance();
    });
    beside.add(options.steps, [&] {
      for (int step = 0; step < options.steps; ++step) {
        solver.advance();
        if (step % options.every == 0) analysis.push(solver, turn * options.steps + step);
        analysis.take_results();
      }
    });
    analysis.wait_results();  // so that the next turn has the machine to itself
  }
  analysis.finish();
  print_steps("by the clock", alone.elapsed, beside.elapsed);
  print_steps("of processor time", alone.processor, beside.processor);
  print_pushes("entered", analysis.entered());
  print_pushes("was dropped", analysis.dropped());
  analysis.print_counts();
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = simulation::read_options(argc, argv);
  options.turns > 0 ? measure(options) : run(options);
}
