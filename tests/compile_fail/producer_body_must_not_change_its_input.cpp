// The message may be read by others at the same time.
// expect: ProducerBody
#include <tandem/tandem.hpp>

struct Number {
  int value;
};
#ifdef TANDEM_EXPECT_FAIL
using Taken = Number&;
#else
using Taken = const Number&;
#endif

void make(oneapi::tbb::flow::graph& graph, tandem::Runtime& runtime) {
  tandem::producer_node<Number, Number> node{graph, runtime, "node", [](Taken in) { return Number{in.value}; }};
}
