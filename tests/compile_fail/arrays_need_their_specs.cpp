// A producer of Arrays says what they are.
// expect: no matching function
#include <tandem/tandem.hpp>

struct Number {
  int value;
};
void fill(const Number&, tandem::Arrays&) {}

void make(oneapi::tbb::flow::graph& graph, tandem::Runtime& runtime) {
#ifdef TANDEM_EXPECT_FAIL
  tandem::producer_node<Number, tandem::Arrays> node{graph, runtime, "node", fill};
#else
  tandem::producer_node<Number, tandem::Arrays> node{
      graph, runtime, "node", {tandem::array<float>("a", {3})}, fill};
#endif
}
