// Token passing between a loader and a processor, each in a process of its own if tokens.toml says so: the loader fills
// arrays that are there already, the processor reads them where they lie, and only tokens travel. tokens.expected is the
// output.
#include <algorithm>
#include <atomic>
#include <complex>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <vector>

#include <tandem/tandem.hpp>

constexpr std::uint64_t kArray = 1'000;  // samples

enum class Bails { nobody, loader, processor, host };

struct Token {
  std::uint64_t number;
};

struct Tokens {  // as long as the loader has not come to the end
  const std::atomic<bool>* ended;
  std::uint64_t next = 0;
  std::optional<Token> operator()() { return *ended ? std::nullopt : std::optional{Token{next++}}; }
};

// Reads from the place that its token says, so there may be several loaders, and a new one for one that died.
struct Loader {
  tandem::Runtime* runtime;
  std::uint64_t recorded;  // samples that there are; nobody else knows
  bool bails;

  void operator()(const Token& token, tandem::Arrays& out, tandem::Context& context) const {
    if (bails && token.number == 3) runtime->stop();  // in a process too: it asks the host
    const std::uint64_t first = token.number * kArray;
    if (first >= recorded) return context.skip();  // a token that was made before the end was known
    const std::uint64_t count = std::min(kArray, recorded - first);
    out.set_extent("samples", count);  // the end is in the middle of an array
    out.set_extent("marks", count);
    auto samples = out.span<std::complex<float>>("samples");
    auto marks = out.span<std::uint8_t>("marks");
    for (std::uint64_t i = 0; i < count; ++i) {
      samples[i] = {static_cast<float>((first + i) % 7), 1.0F};
      marks[i] = (first + i) % 100 == 0;
    }
    out.scalar<bool>("last") = first + count == recorded;
  }
};

struct Summary {
  std::uint64_t samples, marks;
  double energy;
  bool last;
};

struct Processor {
  tandem::Runtime* runtime;
  bool bails;

  Summary operator()(const tandem::Arrays& in, const tandem::Context& context) const {
    if (bails && context.sequence() == 5) runtime->stop();
    Summary out{0, 0, 0, in.scalar<bool>("last")};
    for (const auto& sample : in.span<std::complex<float>>("samples")) out.energy += std::norm(sample);
    for (const std::uint8_t mark : in.span<std::uint8_t>("marks")) out.marks += mark;
    out.samples = in.span<std::uint8_t>("marks").size();
    return out;
  }
};

void run(const tandem::Config& config, Bails bails) {
  tandem::Runtime runtime{config};
  oneapi::tbb::flow::graph graph;
  std::atomic<bool> ended{false};
  tandem::commander_node<Token> tokens{graph, runtime, "tokens", Tokens{&ended}};
  const std::uint64_t recorded =
      bails == Bails::nobody ? 10'500 : std::uint64_t{1} << 60;  // no end without a bail
  const std::vector<tandem::ArraySpec> arrays{tandem::array<std::complex<float>>("samples", {kArray}).up_to(),
                                              tandem::array<std::uint8_t>("marks", {kArray}).up_to(),
                                              tandem::array<bool>("last", {})};
  tandem::producer_node<Token, tandem::Arrays> loader{graph, runtime, "loader", arrays,
                                                      Loader{&runtime, recorded, bails == Bails::loader}};
  tandem::producer_node<tandem::Arrays, Summary> processor{graph, runtime, "processor",
                                                           Processor{&runtime, bails == Bails::processor}};
  tandem::sequencer_node<Summary> order{graph, runtime};
  tandem::stream_node<Summary> summaries{graph, runtime};
  make_edge(tokens, loader);
  make_edge(loader, processor);
  make_edge(processor, order);
  make_edge(order, summaries);

  for (const auto& summary : summaries) {
    if (bails == Bails::host && summary.sequence() == 4) break;  // and runtime.stop(), below
    if (bails == Bails::nobody)
      std::printf("array %2d: %d samples, %d marks, energy %.0f\n", int(summary.sequence()),
                  int(summary->samples), int(summary->marks), summary->energy);
    if (summary->last) ended = true;  // no further tokens; those that are under way are skipped
  }
  runtime.stop();
  std::printf("ended; arrays lent: %d\n", int(runtime.lent_blocks()));
}

int main(int argc, char** argv) {
  const auto config = tandem::Config::load(argc, argv);
  run(config, Bails::nobody);
  for (const auto bails : {Bails::loader, Bails::processor, Bails::host}) {
    std::printf("%s bails: ", bails == Bails::loader      ? "loader"
                              : bails == Bails::processor ? "processor"
                                                          : "host");
    run(config, bails);
  }
}
