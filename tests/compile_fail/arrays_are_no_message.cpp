// A commander makes messages; arrays come from producers.
// expect: Arrays come from producers
#include <tandem/tandem.hpp>

#include <optional>

struct Number {
  int value;
};
#ifdef TANDEM_EXPECT_FAIL
using Message = tandem::Arrays;
#else
using Message = Number;
#endif

void make(oneapi::tbb::flow::graph& graph, tandem::Runtime& runtime) {
  tandem::commander_node<Message> node{graph, runtime, "node", [] { return std::optional<Message>{}; }};
}
