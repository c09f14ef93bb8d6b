// A worker that crashes, a message that always does, and a stream that goes on: crash.expected is the output.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include <tandem/tandem.hpp>

struct Tile {
  std::uint32_t number;
};

struct Sampler {
  std::uint32_t next = 0;
  std::optional<Tile> operator()() { return next < 6 ? std::optional{Tile{next++}} : std::nullopt; }
};

struct Reader {  // over code that is not to be trusted
  Tile operator()(const Tile& tile, tandem::Context& context) {
    if (tile.number == 1 && context.attempt() == 1) std::_Exit(3);  // once
    if (tile.number == 4) std::_Exit(4);                            // at every attempt
    return {tile.number * 100};
  }
};

int main() {
  auto config = tandem::Config::parse("[node.reader]\nplacement = \"process\"\nworkers = 2");
  tandem::Runtime runtime{config};
  oneapi::tbb::flow::graph graph;
  tandem::commander_node<Tile> sampler{graph, runtime, "sampler", Sampler{}};
  tandem::producer_node<Tile, Tile> reader{graph, runtime, "reader", Reader{}};
  tandem::sequencer_node<Tile> order{graph, runtime};
  tandem::stream_node<Tile> tiles{graph, runtime};
  make_edge(sampler, reader);
  make_edge(reader, order);
  make_edge(order, tiles);
  for (;;) {
    try {
      const auto tile = tiles.next();
      if (!tile) break;
      std::printf("tile %d: %d, attempt %d\n", int(tile->sequence()), int((*tile)->number), tile->attempt());
    } catch (const tandem::ProducerError& error) {  // at its place; the next call goes on with the next tile
      std::printf("tile %d: %s, attempt %d\n", int(error.sequence()), error.reason().c_str(), error.attempt());
    }
  }
}
