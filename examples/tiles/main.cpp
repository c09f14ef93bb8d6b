// requests -> reader -> normalise -> order -> batches, and reader -> sheet.
// The same stream with threads and with processes, 1, 2 and 4 workers: the same bytes each time.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <tandem/tandem.hpp>

#include "image.hpp"
#include "options.hpp"
#include "producers.hpp"
#include "progress.hpp"
#include "statistics.hpp"

namespace {

using tandem::Arrays;
using tandem::Item;

volatile std::sig_atomic_t interrupted = 0;

struct Interrupted {};

// oneTBB wants its nodes idle before they go, also when an exception takes them.
struct EndBeforeNodes {
  tandem::Runtime& runtime;
  oneapi::tbb::flow::graph& graph;
  ~EndBeforeNodes() {
    runtime.stop();
    graph.wait_for_all();
  }
};

struct Result {
  double seconds = 0;
  tiles::Consumer consumer;
  tiles::Image sheet;
};

/// One run, with a runtime of its own.
Result measure(const tiles::Options& options, const std::shared_ptr<const tiles::Image>& image,
               const std::string& placement, const std::string& workers) {
  tandem::Config config = options.config;
  for (const std::string node : {"node.reader", "node.normalise"}) {
    config.set(node + ".placement", placement, "tiles");
    config.set(node + ".workers", workers, "argument --workers");
  }
  Result result;
  tandem::Runtime runtime{config};
  oneapi::tbb::flow::graph graph;

  tandem::commander_node<tiles::Request> requests{graph, runtime, "requests", tiles::Requests{options.batches}};
  tandem::producer_node<tiles::Request, Arrays> reader{graph, runtime, "reader", tiles::Reader::outputs(),
                                                       tiles::Reader{image}};
  tandem::producer_node<Arrays, Arrays> normalise{graph, runtime, "normalise", tiles::Normalise::outputs(),
                                                  tiles::Normalise{levels(*image)}};
  tandem::sequencer_node<Arrays> order{graph, runtime};
  tandem::stream_node<Arrays> batches{graph, runtime};
  // A plain oneTBB node beside the stream: it sees what the reader made before it is normalised.
  oneapi::tbb::flow::function_node<Item<Arrays>> sheet{
      graph, 1, [&result](const Item<Arrays>& item) {
        if (item.sequence() != 0 || !item.ok()) return;
        result.sheet = tiles::contact_sheet(item->span<std::uint8_t>("pixels"), tiles::kSide, 8);
      }};
  const EndBeforeNodes end{runtime, graph};
  make_edge(requests, reader);
  make_edge(reader, normalise);
  make_edge(reader, sheet);
  make_edge(normalise, order);
  make_edge(order, batches);

  tiles::Progress progress{fmt::format("{}, workers: {}", placement, workers), options.batches};
  const auto begin = std::chrono::steady_clock::now();
  for (const auto& batch : batches) {
    if (interrupted != 0) throw Interrupted{};
    result.consumer.add(*batch);
    progress.update(batch.sequence() + 1);
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  graph.wait_for_all();  // for the sheet: the stream may end before it
  return result;
}

void print_row(const tiles::Options& options, const std::string& placement, const std::string& workers,
               const Result& result) {
  fmt::print("{:<9} {:>8} {:>9.1f} {:>8.2f}  {:016x}\n", placement, workers,
             static_cast<double>(options.batches) / result.seconds,
             static_cast<double>(result.consumer.bytes()) / result.seconds / 1e9, result.consumer.checksum());
  static_cast<void>(std::fflush(stdout));
}

void print_statistics(const tiles::ChannelStatistics& statistics) {
  fmt::print("\nchannel        mean  deviation\n");
  constexpr const char* kNames[] = {"red", "green", "blue"};
  for (Eigen::Index channel = 0; channel < 3; ++channel) {
    fmt::print("{:<9} {:>9.5f}  {:>9.5f}\n", kNames[channel], statistics.mean()[channel],
               statistics.deviation()[channel]);
  }
}

/// Returns true when all runs agree.
bool run_all(const tiles::Options& options) {
  const auto image = std::make_shared<const tiles::Image>(tiles::load_image(options.image, tiles::kSide));
  tiles::prepare_output(options);
  std::vector<Result> results;
  for (const std::string placement : {"thread", "process"}) {
    for (const std::string& workers : options.workers) {
      results.push_back(measure(options, image, placement, workers));
      if (results.size() == 1) {
        fmt::print("{}: {} x {} pixels; {} batches of {} patches for each line\n\n", options.image,
                   image->width, image->height, options.batches, tiles::kPatches);
        fmt::print("placement  workers   items/s     GB/s  checksum\n");
      }
      print_row(options, placement, workers, results.back());
    }
  }
  const Result& first = results.front();
  print_statistics(first.consumer.statistics());
  tiles::write_png(options.sheet(), first.sheet);
  fmt::print("\ncontact sheet of the first batch: {}\n", options.sheet());
  bool identical = true;
  for (const Result& result : results) {
    identical = identical && result.consumer.checksum() == first.consumer.checksum();
  }
  fmt::print("identical: {}\n", identical ? "yes" : "no");
  return identical;
}

// The first Ctrl-C ends the run in order, a second one at once.
void watch_for_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigaction(SIGINT, &action, nullptr);
}

int refused(const char* what, int status) {
  fmt::print(stderr, "tiles: {}\n", what);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto options = tiles::read_options(argc, argv);
    if (!options) return 0;
    watch_for_interrupt();
    return run_all(*options) ? 0 : 1;
  } catch (const Interrupted&) {
    fmt::print(stderr, "tiles: interrupted\n");
    std::signal(SIGINT, SIG_DFL);
    return std::raise(SIGINT);  // so that a calling shell knows
  } catch (const tandem::ProducerError& error) {
    return refused(error.what(), 1);
  } catch (const tandem::Error& error) {
    return refused(error.what(), 2);
  } catch (const std::exception& error) { return refused(error.what(), 1); }
}
