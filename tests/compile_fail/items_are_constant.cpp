// An item is constant once it has left its producer.
// expect: read-only|const
#include <tandem/item.hpp>

struct Number {
  int value;
};

#ifdef TANDEM_EXPECT_FAIL
int& value(const tandem::Item<Number>& item) { return item->value; }
#else
const int& value(const tandem::Item<Number>& item) { return item->value; }
#endif
