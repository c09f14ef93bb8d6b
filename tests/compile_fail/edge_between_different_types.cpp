// An edge joins ports of one type.
// expect: make_edge
#include <tandem/tandem.hpp>

struct Number {
  int value;
};
struct Other {
  int value;
};
#ifdef TANDEM_EXPECT_FAIL
using Taken = Other;
#else
using Taken = Number;
#endif

void connect(tandem::commander_node<Number>& from, tandem::producer_node<Taken, Number>& to) {
  oneapi::tbb::flow::make_edge(from, to);
}
