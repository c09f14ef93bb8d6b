// One message's way through the host, in one thread and without a clock, so that its instructions can be counted: see instructions.sh.
//   tandem_instructions PATH   process: commander's credit, crew of worker processes, item, and back; the workers are played here
//                              graph: feeder, sequencer, stream
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string_view>
#include <utility>

#include <tandem/tandem.hpp>

#include "support/played_crew.hpp"

namespace tandem {

constexpr std::uint64_t kBatch = 32;  // messages that come at once
constexpr std::uint64_t kBatches = 1000;

// What is between these two is counted (callgrind's --toggle-collect).
[[gnu::noinline]] void counted(const std::function<void()>& part) { part(); }

void process() {
  test::PlayedCrew played;
  for (std::uint64_t batch = 0; batch < kBatches; ++batch) {
    counted([&] { played.submit(kBatch); });
    while (played.play(kBatch, 1000) > 0) counted([&] { played.crew().drain(); });
    std::uint64_t came = 0;
    counted([&] { came = played.drop(); });
    if (came == kBatch) continue;
    std::fprintf(stderr, "%d items came, and %d were sent\n", static_cast<int>(came), static_cast<int>(kBatch));
    std::exit(1);
  }
}

void graph() {
  Runtime runtime{Config::parse("[tandem]\nin_flight = 64")};
  oneapi::tbb::flow::graph graph;
  feeder_node<std::uint64_t> steps{graph, runtime, "steps"};
  sequencer_node<std::uint64_t> order{graph, runtime};
  stream_node<std::uint64_t> stream{graph, runtime};
  make_edge(steps, order);
  make_edge(order, stream);
  runtime.start();
  for (std::uint64_t batch = 0; batch < kBatches; ++batch) {
    counted([&] {
      for (std::uint64_t i = 0; i < kBatch; ++i) {
        auto step = steps.loan();
        *step = i;
        steps.push(std::move(step));
      }
      for (std::uint64_t i = 0; i < kBatch; ++i) {
        const auto item = stream.next();
        if (!item || **item != i) std::exit(1);
      }
    });
  }
}

}  // namespace tandem

int main(int argc, char** argv) {
  const std::string_view path = argc == 2 ? argv[1] : "";
  if (path == "process") {
    tandem::process();
  } else if (path == "graph") {
    tandem::graph();
  } else {
    std::fprintf(stderr, "usage: tandem_instructions process | graph\n");
    return 2;
  }
  return 0;
}
