#pragma once

#include <cstddef>
#include <cstdint>

namespace bench {

inline constexpr std::size_t kBigBytes =
    std::size_t{64} * 256 * 256 * 3;  // 12.6 MB: 64 images of 256 x 256 x 3

/// The body of every big variant: writes each byte of the array, with a value that is the message's own.
/// In a source file of its own, so that no variant can have it optimised differently or away.
void fill(std::byte* array, std::uint64_t number) noexcept;

/// True when the array is the one of this message: looks at one byte in each of 64 images.
bool is_filled(const std::byte* array, std::uint64_t number) noexcept;

/// Reads each byte of the array: the sum of its 64-bit words.
std::uint64_t read_all(const std::byte* array) noexcept;

/// What read_all() returns for the array of this message.
std::uint64_t sum_of(std::uint64_t number) noexcept;

}  // namespace bench
