// A body that takes something else than the message is refused where the node is made.
// expect: ProducerBody
#include <tandem/tandem.hpp>

#include <string>

struct Number {
  int value;
};
#ifdef TANDEM_EXPECT_FAIL
using Taken = std::string;
#else
using Taken = Number;
#endif

void make(oneapi::tbb::flow::graph& graph, tandem::Runtime& runtime) {
  tandem::producer_node<Number, Number> node{graph, runtime, "node", [](const Taken&) { return Number{1}; }};
}
