// Chained producers, a struct as a result, and oneTBB's own nodes in between: chain.expected is the output.
#include <cstdint>
#include <cstdio>
#include <optional>

#include <tandem/tandem.hpp>

namespace flow = oneapi::tbb::flow;

struct Tile {  // a message
  std::uint32_t number;
};

struct Moments {  // trivially copyable: lives in the shared block itself
  double mean[3], variance[3];
};

struct Sampler {
  std::uint32_t next = 0;
  std::optional<Tile> operator()() { return next < 6 ? std::optional{Tile{next++}} : std::nullopt; }
};

struct Reader {
  void operator()(const Tile& tile, tandem::Arrays& out, tandem::Context& context) {
    std::uint32_t channel = 0;
    for (auto& level : out.span<std::uint8_t>("pixels"))  // noise, wider from tile to tile
      level = std::uint8_t(10 * (channel++ % 3) + context.random()() % (100 + 20 * tile.number));
  }
};

int main(int argc, char** argv) {
  tandem::Runtime runtime{argc, argv};
  flow::graph graph;
  tandem::commander_node<Tile> sampler{graph, runtime, "sampler", Sampler{}};
  tandem::producer_node<Tile, tandem::Arrays> reader{
      graph, runtime, "reader", {tandem::array<std::uint8_t>("pixels", {64 * 64, 3})}, Reader{}};
  tandem::producer_node<tandem::Arrays, Moments> moments{
      graph, runtime, "moments", [](const tandem::Arrays& in, Moments& out) {
        const auto pixels = in.matrix<std::uint8_t>("pixels");  // no copy, also from process to process
        for (int channel = 0; channel < 3; ++channel) {
          const Eigen::ArrayXd levels = pixels.col(channel).cast<double>();
          out.mean[channel] = levels.mean();
          out.variance[channel] = (levels - levels.mean()).square().mean();
        }
      }};
  tandem::sequencer_node<Moments> order{graph, runtime};
  flow::function_node<tandem::Item<Moments>> print{
      graph, 1, [](const tandem::Item<Moments>& item) {
        if (!item.ok()) return;
        std::printf("tile %d: mean (variance)", int(item.sequence()));
        for (int i = 0; i < 3; ++i) std::printf("  %.2f (%.1f)", item->mean[i], item->variance[i]);
        std::printf("\n");
      }};
  make_edge(sampler, reader);
  make_edge(reader, moments);
  make_edge(moments, order);
  make_edge(order, print);
  sampler.activate();  // starts the workers: no stream_node does it here
  graph.wait_for_all();
}
