#include "fill.hpp"

#include <cstring>

namespace bench {
namespace {

unsigned char value_of(std::uint64_t number) noexcept { return static_cast<unsigned char>(number % 251 + 1); }

}  // namespace

void fill(std::byte* array, std::uint64_t number) noexcept { std::memset(array, value_of(number), kBigBytes); }

bool is_filled(const std::byte* array, std::uint64_t number) noexcept {
  const std::byte wanted{value_of(number)};
  bool same = array[kBigBytes - 1] == wanted;
  for (std::size_t image = 0; image < 64; ++image) {
    same = same && array[image * (kBigBytes / 64) + image * 31] == wanted;
  }
  return same;
}

}  // namespace bench
