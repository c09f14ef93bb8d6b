// An input may cross a process boundary.
// expect: input must be Arrays or trivially copyable
#include <tandem/tandem.hpp>

#include <vector>

struct Number {
  int value;
};
#ifdef TANDEM_EXPECT_FAIL
using In = std::vector<int>;
#else
using In = Number;
#endif

void make(oneapi::tbb::flow::graph& graph, tandem::Runtime& runtime) {
  tandem::producer_node<In, Number> node{graph, runtime, "node", [](const In&) { return Number{1}; }};
}
