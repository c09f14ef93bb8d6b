// Arrays made by workers, on threads or in processes as tandem.toml says; pull.expected is the output.
#include <cstdint>
#include <cstdio>
#include <optional>

#include <tandem/tandem.hpp>

struct Tile {  // a message
  std::uint32_t number;
};

struct Sampler {  // the commander: one message for each call
  std::uint32_t next = 0;
  std::optional<Tile> operator()() { return next < 8 ? std::optional{Tile{next++}} : std::nullopt; }
};

struct Reader {  // a producer: one instance per worker, wherever it runs
  void operator()(const Tile& tile, tandem::Arrays& out, tandem::Context& context) {
    for (auto& pixel : out.span<std::uint8_t>("pixels"))  // noise, brighter from tile to tile
      pixel = std::uint8_t(10 + 20 * tile.number + context.random()() % 100);
  }
};

int main(int argc, char** argv) {
  tandem::Runtime runtime{argc, argv};  // tandem.toml, then TANDEM_*, then --tandem.*
  oneapi::tbb::flow::graph graph;
  tandem::commander_node<Tile> sampler{graph, runtime, "sampler", Sampler{}};
  tandem::producer_node<Tile, tandem::Arrays> reader{
      graph, runtime, "reader", {tandem::array<std::uint8_t>("pixels", {256, 256})}, Reader{}};
  tandem::sequencer_node<tandem::Arrays> order{graph, runtime};
  tandem::stream_node<tandem::Arrays> tiles{graph, runtime};
  make_edge(sampler, reader);
  make_edge(reader, order);
  make_edge(order, tiles);
  for (const auto& tile : tiles) {                             // starts the workers
    const auto pixels = tile->matrix<std::uint8_t>("pixels");  // no copy: the worker wrote it here
    std::printf("tile %d: first pixel %d, mean %.3f\n", int(tile.sequence()), pixels(0, 0),
                pixels.cast<double>().mean());
  }
}
