// Arrays whose size nobody knows before they are made: the bright pixels of noise. points.expected is the output.
#include <cstdint>
#include <cstdio>
#include <optional>

#include <tandem/tandem.hpp>

struct Picture {
  std::uint32_t number;
};

struct Pictures {
  std::uint32_t next = 0;
  std::optional<Picture> operator()() { return next < 6 ? std::optional{Picture{next++}} : std::nullopt; }
};

struct Reader {
  void operator()(const Picture& picture, tandem::Arrays& out, tandem::Context& context) {
    std::size_t found = 0;
    for (std::int32_t pixel = 0; pixel < 256 * 256; ++pixel) {
      if (context.random()() % 1000 >= picture.number * 10) continue;
      out.grow("points", ++found);  // keeps those that are there; a larger place for them only now and then
      out.matrix<std::int32_t>("points").bottomRows<1>() << pixel % 256, pixel / 256;
    }
  }
};

int main(int argc, char** argv) {
  tandem::Runtime runtime{argc, argv};
  oneapi::tbb::flow::graph graph;
  tandem::commander_node<Picture> pictures{graph, runtime, "pictures", Pictures{}};
  tandem::producer_node<Picture, tandem::Arrays> reader{
      graph, runtime, "reader", {tandem::array<std::int32_t>("points", {0, 2}).grows()}, Reader{}};
  tandem::sequencer_node<tandem::Arrays> order{graph, runtime};
  tandem::stream_node<tandem::Arrays> found{graph, runtime};
  make_edge(pictures, reader);
  make_edge(reader, order);
  make_edge(order, found);
  for (const auto& item : found) {
    const auto points = item->matrix<std::int32_t>("points");  // no copy, as ever
    std::printf("picture %d: %d points", int(item.sequence()), int(points.rows()));
    if (points.rows() > 0)
      std::printf(", on average at %.1f, %.1f", points.col(0).cast<double>().mean(),
                  points.col(1).cast<double>().mean());
    std::printf("\n");
  }
}
