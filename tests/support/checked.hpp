#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>

#include <tandem/array.hpp>

#include "line.hpp"

namespace tandem::test {

/// What a message must become, byte by byte.
struct Checked {
  std::uint64_t words[12];
};
inline Checked checked(std::uint64_t value) {
  Checked out;
  for (std::uint64_t& word : out.words) word = value = value * 6364136223846793005U + 1442695040888963407U;
  return out;
}
inline bool is_checked(const Checked& out, std::uint64_t value) {
  const Checked wanted = checked(value);
  return std::equal(std::begin(out.words), std::end(out.words), std::begin(wanted.words));
}

struct CheckedAfterWork {
  std::uint64_t steps;
  Checked operator()(const Number& in) const {
    busy(steps);
    return checked(in.value);
  }
};

/// The same for an array "words".
inline void fill_checked(const Number& in, Arrays& out) {
  std::uint64_t value = in.value;
  for (std::uint64_t& word : out.span<std::uint64_t>("words")) word = value = value * 3 + 1;
}
inline bool is_filled(const Arrays& out, std::uint64_t value) {
  for (const std::uint64_t word : out.span<std::uint64_t>("words")) {
    if (word != (value = value * 3 + 1)) return false;
  }
  return true;
}

}  // namespace tandem::test
