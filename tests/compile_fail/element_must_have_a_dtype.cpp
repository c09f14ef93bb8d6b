// A view names the element type at compile time: text is not one.
// expect: constraint
#include <tandem/array.hpp>

#include <string>

#ifdef TANDEM_EXPECT_FAIL
using Element = std::string;
#else
using Element = float;
#endif

const tandem::ArraySpec spec = tandem::array<Element>("pixels", {2, 3});
