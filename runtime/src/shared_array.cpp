#include <tandem/shared_array.hpp>

#include <fmt/format.h>

#include <tandem/error.hpp>

namespace tandem {

void detail::refuse_slice(const Shape& shape, std::size_t first, std::size_t last) {
  throw Error(fmt::format("an array of shape {} has no slice from {} to {}", to_string(shape), first, last));
}

void detail::refuse_rank(const Shape& shape, std::size_t rank) {
  throw Error(fmt::format("an array of shape {} is not of rank {}", to_string(shape), rank));
}

void detail::refuse_elements(const Shape& shape, std::size_t found) {
  throw Error(fmt::format("an array of shape {} was to be made from {} elements", to_string(shape), found));
}

void detail::refuse_nothing() {
  throw Error("this handle holds no shared array: it was made without one, or moved from");
}

}  // namespace tandem
