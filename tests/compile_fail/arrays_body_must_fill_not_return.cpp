// Arrays are filled where they lie; a body cannot return them.
// expect: a producer of Arrays fills them
#include <tandem/tandem.hpp>

struct Number {
  int value;
};
#ifdef TANDEM_EXPECT_FAIL
tandem::Arrays body(const Number&) { return {}; }
#else
void body(const Number&, tandem::Arrays&) {}
#endif

void make(oneapi::tbb::flow::graph& graph, tandem::Runtime& runtime) {
  tandem::producer_node<Number, tandem::Arrays> node{
      graph, runtime, "node", {tandem::array<float>("a", {3})}, body};
}
