// A stream of structs takes no arrays.
// expect: make_edge
#include <tandem/tandem.hpp>

struct Number {
  int value;
};
#ifdef TANDEM_EXPECT_FAIL
using Taken = Number;
#else
using Taken = tandem::Arrays;
#endif

void connect(tandem::producer_node<Number, tandem::Arrays>& from, tandem::stream_node<Taken>& to) {
  oneapi::tbb::flow::make_edge(from, to);
}
