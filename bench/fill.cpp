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

std::uint64_t read_all(const std::byte* array) noexcept {
  std::uint64_t sum = 0;
  for (std::size_t at = 0; at < kBigBytes; at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, array + at, sizeof word);
    sum += word;
  }
  return sum;
}

std::uint64_t sum_of(std::uint64_t number) noexcept {
  return kBigBytes / sizeof(std::uint64_t) * (0x0101010101010101U * std::uint64_t{value_of(number)});
}

}  // namespace bench
