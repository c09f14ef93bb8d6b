// An output lives in shared memory, where a pointer into a heap would be lost.
// expect: output must be Arrays or trivially copyable
#include <tandem/tandem.hpp>

#include <string>

struct Number {
  int value;
};
#ifdef TANDEM_EXPECT_FAIL
using Text = std::string;
#else
struct Text {
  char letters[16];
};
#endif

void make(oneapi::tbb::flow::graph& graph, tandem::Runtime& runtime) {
  tandem::producer_node<Number, Text> node{graph, runtime, "node", [](const Number&, Text&) {}};
}
