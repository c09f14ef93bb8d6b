// Each worker gets a copy of the body.
// expect: ProducerBody
#include <tandem/tandem.hpp>

#include <memory>

struct Number {
  int value;
};
struct Body {
#ifdef TANDEM_EXPECT_FAIL
  std::unique_ptr<int> state;
#else
  std::shared_ptr<int> state;
#endif
  Number operator()(const Number& in) { return in; }
};

void make(oneapi::tbb::flow::graph& graph, tandem::Runtime& runtime) {
  tandem::producer_node<Number, Number> node{graph, runtime, "node", Body{}};
}
