#include <tandem/node.hpp>

#include <cxxabi.h>

#include <boost/core/demangle.hpp>

#include <exception>
#include <typeinfo>

namespace tandem {

std::string current_exception_text() {
  try {
    throw;
  } catch (const std::exception& error) { return one_line(error.what()); } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    return one_line("threw " +
                    (type != nullptr ? boost::core::demangle(type->name()) : std::string{"something"}) +
                    ", which is no std::exception");
  }
}

}  // namespace tandem
