// Only what has parts can be split.
// expect: takes Arrays or a Several
#include <tandem/tandem.hpp>

struct Number {
  int value;
};
#ifdef TANDEM_EXPECT_FAIL
using Whole = Number;
#else
using Whole = tandem::Several<Number, 4>;
#endif

void make(oneapi::tbb::flow::graph& graph, tandem::Runtime& runtime) {
  tandem::split_node<Whole> node{graph, runtime, "node"};
}
