// A simulation pushes its steps; a worker process reads them where they lie, and crashes at every third without the
// simulation noticing. push.expected is the output.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include <tandem/tandem.hpp>

// Heat in a square plate: explicit Euler, the border is kept cold.
struct Solver {
  Eigen::MatrixXd heat = Eigen::MatrixXd::Zero(64, 64);
  Solver() { heat.block(24, 24, 16, 16).setConstant(100); }
  template <class Field>
  void advance(Field&& to) {
    to = heat;
    to.block(1, 1, 62, 62) +=
        0.2 * (heat.block(0, 1, 62, 62) + heat.block(2, 1, 62, 62) + heat.block(1, 0, 62, 62) +
               heat.block(1, 2, 62, 62) - 4 * heat.block(1, 1, 62, 62));
    heat = to;
  }
};

struct Summary {
  double hottest, mean;
};

struct Analysis {
  Summary operator()(const tandem::Arrays& in, tandem::Context& context) {
    if (context.sequence() % 3 == 1 && context.attempt() == 1) std::abort();
    const auto field = in.matrix<double>("temperature");
    return {field.maxCoeff(), field.mean()};
  }
};

int main() {
  auto config = tandem::Config::parse("[node.analysis]\nplacement = \"process\"\nworkers = 2");
  tandem::Runtime runtime{config};
  oneapi::tbb::flow::graph graph;
  tandem::feeder_node<tandem::Arrays> steps{
      graph, runtime, "steps", {tandem::array<double>("temperature", {64, 64})}};
  tandem::producer_node<tandem::Arrays, Summary> analysis{graph, runtime, "analysis", Analysis{}};
  tandem::sequencer_node<Summary> order{graph, runtime};
  tandem::stream_node<Summary> summaries{graph, runtime};
  make_edge(steps, analysis);
  make_edge(analysis, order);
  make_edge(order, summaries);

  const auto log = [](const tandem::Item<Summary>& item) {
    if (item.sequence() % 20 != 0) return;
    std::printf("step %3d: hottest %.3f, mean %.3f\n", int(item.sequence()), item->hottest, item->mean);
  };
  Solver solver;
  for (int step = 0; step < 100; ++step) {
    auto frame = steps.loan();                             // waits for a free buffer; try_loan() does not
    solver.advance(frame->matrix<double>("temperature"));  // written where the workers read it
    steps.push(std::move(frame));
    while (auto summary = summaries.try_next()) log(*summary);
  }
  steps.finish();
  for (const auto& summary : summaries) log(summary);
}
