// What travels is an Item, for the user's own nodes too.
// expect: make_edge
#include <tandem/tandem.hpp>

struct Number {
  int value;
};
#ifdef TANDEM_EXPECT_FAIL
using Taken = Number;
#else
using Taken = tandem::Item<Number>;
#endif

void connect(tandem::sequencer_node<Number>& from, oneapi::tbb::flow::function_node<Taken>& to) {
  oneapi::tbb::flow::make_edge(from, to);
}
