#include <optional>

#include <tandem/tandem.hpp>

struct Number {
  int value;
};

int main(int argc, char** argv) {
  tandem::Runtime runtime{argc, argv};
  oneapi::tbb::flow::graph graph;

  tandem::commander_node<Number> numbers{graph, runtime, "numbers",
                                         [next = 0]() mutable -> std::optional<Number> {
                                           if (next == 10) return std::nullopt;
                                           return Number{next++};
                                         }};
  tandem::producer_node<Number, Number> squares{
      graph, runtime, "squares", [](const Number& in, Number& out) { out.value = in.value * in.value; }};
  tandem::sequencer_node<Number> order{graph, runtime};
  tandem::stream_node<Number> results{graph, runtime};
  make_edge(numbers, squares);
  make_edge(squares, order);
  make_edge(order, results);

  int sum = 0;
  for (const auto& square : results) sum += square->value;
  return sum == 285 ? 0 : 1;
}
