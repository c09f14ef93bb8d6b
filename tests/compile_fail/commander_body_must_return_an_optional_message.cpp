// A commander says when it has no more: it returns std::optional of its message.
// expect: CommanderBody
#include <tandem/tandem.hpp>

#include <optional>
#include <string>

struct Number {
  int value;
};
#ifdef TANDEM_EXPECT_FAIL
using Made = std::string;
#else
using Made = Number;
#endif

void make(oneapi::tbb::flow::graph& graph, tandem::Runtime& runtime) {
  tandem::commander_node<Number> node{graph, runtime, "node", [] { return std::optional<Made>{}; }};
}
