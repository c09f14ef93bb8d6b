#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tandem {

// How the values of the configuration are read. Users include config.hpp.

/// A value that its key does not take; carries only what is wrong and what to write instead.
class Refused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throw Refused. Numbers are digits alone; what parse_bytes() and parse_duration() take is said there.
[[nodiscard]] bool read_bool(std::string_view text);
[[nodiscard]] std::uint64_t read_whole(std::string_view text, std::uint64_t least, std::uint64_t most);
[[nodiscard]] std::size_t read_bytes(std::string_view text);
[[nodiscard]] std::chrono::nanoseconds read_duration(std::string_view text);

/// Text of any origin, on one line: control characters as \x0a.
[[nodiscard]] std::string visible(std::string_view text);
/// A value as it would be written in the file: 64, true, "lots".
[[nodiscard]] std::string shown(std::string_view value);
/// Without blanks and tabs at its ends.
[[nodiscard]] std::string_view trimmed(std::string_view text);
/// Its ASCII letters in upper or lower case.
[[nodiscard]] std::string changed_case(std::string_view text, bool upper);

}  // namespace tandem
