#include <tandem/node.hpp>

#include <cxxabi.h>

#include <exception>
#include <typeinfo>

#include <tandem/growing_arrays.hpp>

namespace tandem {
namespace {

std::string current_type() {
  const std::type_info* const type = abi::__cxa_current_exception_type();
  return type != nullptr ? type_name(*type) : "something";
}

}  // namespace

void run_body(Body& body, const NodeInfo& node, const void* input, std::byte* output, Context& context) {
  if (!node.output_is_arrays()) return body.run(input, output, context);
  const ArraysLayout& layout = *node.layout.arrays;
  if (!layout.grows()) {
    Arrays arrays{layout, output};
    arrays.make_whole();
    return body.run(input, &arrays, context);
  }
  GrowingArrays growing{layout, context};
  Arrays arrays = growing.arrays(output);
  body.run(input, &arrays, context);
  growing.write(output);
}

std::string current_exception_text() {
  try {
    throw;
  } catch (const std::exception& error) {
    const char* const text = error.what();  // of a user's type, and so possibly null
    return one_line(text != nullptr ? text : "threw " + current_type() + ", which has no text");
  } catch (...) { return one_line("threw " + current_type() + ", which is no std::exception"); }
}

}  // namespace tandem
