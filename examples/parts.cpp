// One message that makes several items: a frame and the spots that are found in it; parts.expected is the output.
#include <cstdint>
#include <cstdio>
#include <optional>

#include <tandem/tandem.hpp>

struct Frame {  // a message
  std::uint32_t number;
};

struct Camera {
  std::uint32_t next = 0;
  std::optional<Frame> operator()() { return next < 6 ? std::optional{Frame{next++}} : std::nullopt; }
};

constexpr std::size_t kMost = 100, kSide = 8;

// As many cut-outs as there are spots, each a row of the array.
void find_spots(const Frame& frame, tandem::Arrays& out, tandem::Context& context) {
  const std::uint32_t spots = frame.number % 3;
  out.set_extent("spots", spots);
  for (auto& level : out.span<float>("spots")) level = float(context.random()() % 100);
}

struct Brightness {
  double mean;
};
Brightness measure(const tandem::Arrays& spot) { return {spot.matrix<float>("spots").mean()}; }

int main(int argc, char** argv) {
  tandem::Runtime runtime{argc, argv};
  oneapi::tbb::flow::graph graph;
  tandem::commander_node<Frame> camera{graph, runtime, "camera", Camera{}};
  tandem::producer_node<Frame, tandem::Arrays> reader{
      graph, runtime, "reader", {tandem::array<float>("spots", {kMost, kSide, kSide}).up_to()}, find_spots};
  tandem::split_node<tandem::Arrays> spots{graph, runtime, "spots"};  // a message of each row; no copy
  tandem::producer_node<tandem::Arrays, Brightness> brightness{graph, runtime, "brightness", measure};
  tandem::sequencer_node<Brightness> order{graph, runtime};
  tandem::stream_node<Brightness> results{graph, runtime};
  make_edge(camera, reader);
  make_edge(reader, spots);
  make_edge(spots, brightness);
  make_edge(brightness, order);
  make_edge(order, results);
  for (const auto& spot : results) {
    std::printf("frame %u, spot %d of %d: %.2f\n", spot.message<Frame>().number, int(spot.part()) + 1,
                int(spot.parts()), spot->mean);
  }
}
