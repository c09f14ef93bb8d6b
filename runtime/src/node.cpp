#include <tandem/node.hpp>

#include <cxxabi.h>

#include <exception>
#include <typeinfo>

namespace tandem {
namespace {

std::string current_type() {
  const std::type_info* const type = abi::__cxa_current_exception_type();
  return type != nullptr ? type_name(*type) : "something";
}

}  // namespace

std::string current_exception_text() {
  try {
    throw;
  } catch (const std::exception& error) {
    const char* const text = error.what();  // of a user's type, and so possibly null
    return one_line(text != nullptr ? text : "threw " + current_type() + ", which has no text");
  } catch (...) { return one_line("threw " + current_type() + ", which is no std::exception"); }
}

}  // namespace tandem
