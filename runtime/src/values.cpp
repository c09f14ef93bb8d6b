#include <tandem/values.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <optional>
#include <system_error>

#include <fmt/format.h>

#include <tandem/config.hpp>
#include <tandem/error.hpp>

namespace tandem {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 60;  // far from overflow when rounded or added
constexpr std::chrono::hours kLongest{8760};                  // far from overflow when added to a clock's now

struct Unit {
  std::string_view name;
  std::uint64_t size;
};

// "1.5 GiB" is 1.5 and the unit "gib"; the number is digits with at most one point.
struct Quantity {
  std::string_view number;
  std::string unit;
};

std::optional<Quantity> split(std::string_view text) {
  const std::size_t end = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::string_view number = text.substr(0, end);
  const auto points = std::count(number.begin(), number.end(), '.');
  if (number.size() == static_cast<std::size_t>(points) || points > 1) return std::nullopt;
  return Quantity{number, changed_case(trimmed(text.substr(end)), false)};
}

// number * scale, rounded down; nothing when that is more than most. Exact for whole numbers.
std::optional<std::uint64_t> scaled(std::string_view number, std::uint64_t scale, std::uint64_t most) {
  const char* const end = number.data() + number.size();
  if (number.find('.') == std::string_view::npos) {
    std::uint64_t whole = 0;
    if (std::from_chars(number.data(), end, whole).ec != std::errc{} || whole > most / scale)
      return std::nullopt;
    return whole * scale;
  }
  double fraction = 0;
  if (std::from_chars(number.data(), end, fraction, std::chars_format::fixed).ec != std::errc{}) {
    return std::nullopt;
  }
  const double product = fraction * static_cast<double>(scale);
  if (product > static_cast<double>(most)) return std::nullopt;
  return static_cast<std::uint64_t>(product);
}

template <std::size_t Count>
std::uint64_t read_quantity(std::string_view text, const std::array<Unit, Count>& units, std::uint64_t most,
                            const char* not_one, const char* too_much) {
  if (const auto quantity = split(text)) {
    for (const Unit& unit : units) {
      if (unit.name != quantity->unit) continue;
      if (unit.size == 1 && quantity->number.find('.') != std::string_view::npos) break;
      if (const auto value = scaled(quantity->number, unit.size, most)) return *value;
      throw Refused{too_much};
    }
  }
  throw Refused{not_one};
}

}  // namespace

std::string visible(std::string_view text) {
  std::string line;
  for (const char letter : text) {
    const auto code = static_cast<unsigned char>(letter);
    if (code >= 0x20 && code != 0x7f) {
      line += letter;
    } else {
      line += fmt::format("\\x{:02x}", code);
    }
  }
  return line;
}

std::string shown(std::string_view value) {
  const bool number = !value.empty() && value.find_first_not_of("0123456789.+-") == std::string_view::npos;
  if (number || value == "true" || value == "false") return std::string{value};
  return fmt::format("\"{}\"", visible(value));
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::string changed_case(std::string_view text, bool upper) {
  std::string changed{text};
  for (char& letter : changed) {
    const bool changes = upper ? (letter >= 'a' && letter <= 'z') : (letter >= 'A' && letter <= 'Z');
    if (changes)
      letter = static_cast<char>(letter ^ 0x20);  // the two cases of an ASCII letter differ in one bit
  }
  return changed;
}

bool read_bool(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  throw Refused{"not a truth value; write true or false"};
}

std::uint64_t read_whole(std::string_view text, std::uint64_t least, std::uint64_t most) {
  const std::string wanted = fmt::format("write a whole number from {} to {}", least, most);
  const bool negative = text.starts_with('-');
  const std::string_view digits = text.substr(negative ? 1 : 0);
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) {
    throw Refused{"not a whole number; " + wanted};
  }
  std::uint64_t value = 0;
  const bool overflows = std::from_chars(digits.data(), digits.data() + digits.size(), value).ec != std::errc{};
  if (negative || (!overflows && value < least)) {
    throw Refused{fmt::format("must be at least {}; {}", least, wanted)};
  }
  if (overflows || value > most) throw Refused{fmt::format("must be at most {}; {}", most, wanted)};
  return value;
}

std::size_t read_bytes(std::string_view text) {
  constexpr std::uint64_t kKibi = 1024;
  constexpr std::uint64_t kKilo = 1000;
  static constexpr std::array<Unit, 17> kUnits{{
      {"", 1},
      {"b", 1},
      {"kb", kKilo},
      {"mb", kKilo * kKilo},
      {"gb", kKilo * kKilo * kKilo},
      {"tb", kKilo * kKilo * kKilo * kKilo},
      {"pb", kKilo * kKilo * kKilo * kKilo * kKilo},
      {"kib", kKibi},
      {"mib", kKibi * kKibi},
      {"gib", kKibi * kKibi * kKibi},
      {"tib", kKibi * kKibi * kKibi * kKibi},
      {"pib", kKibi * kKibi * kKibi * kKibi * kKibi},
      {"k", kKibi},
      {"m", kKibi * kKibi},
      {"g", kKibi * kKibi * kKibi},
      {"t", kKibi * kKibi * kKibi * kKibi},
      {"p", kKibi * kKibi * kKibi * kKibi * kKibi},
  }};
  return read_quantity(text, kUnits, kMostBytes,
                       "not a size; write a number and a unit, such as \"2 GiB\" or \"512 MiB\"",
                       "must be at most 1 EiB; write a smaller size");
}

std::chrono::nanoseconds read_duration(std::string_view text) {
  static constexpr std::array<Unit, 7> kUnits{{
      {"ns", 1},
      {"us", 1'000},
      {"\xc2\xb5s", 1'000},  // the micro sign, in UTF-8
      {"ms", 1'000'000},
      {"s", 1'000'000'000},
      {"min", 60'000'000'000},
      {"h", 3'600'000'000'000},
  }};
  constexpr auto kMost = static_cast<std::uint64_t>(std::chrono::nanoseconds{kLongest}.count());
  const std::uint64_t value =
      read_quantity(text, kUnits, kMost,
                    "not a span of time; write a number and a unit, such as \"10 s\" or \"250 ms\"",
                    "must be at most 8760 h; write a shorter one");
  return std::chrono::nanoseconds{value};
}

std::size_t parse_bytes(std::string_view text) {
  try {
    return read_bytes(trimmed(text));
  } catch (const Refused& refused) { throw ConfigError{fmt::format("{}: {}", shown(text), refused.what())}; }
}

std::chrono::nanoseconds parse_duration(std::string_view text) {
  try {
    return read_duration(trimmed(text));
  } catch (const Refused& refused) { throw ConfigError{fmt::format("{}: {}", shown(text), refused.what())}; }
}

std::string describe_duration(std::chrono::nanoseconds duration) {
  static constexpr std::array<Unit, 5> kUnits{{{"h", 3'600'000'000'000},
                                               {"min", 60'000'000'000},
                                               {"s", 1'000'000'000},
                                               {"ms", 1'000'000},
                                               {"us", 1'000}}};
  const std::int64_t count = duration.count();
  for (const Unit& unit : kUnits) {
    const auto size = static_cast<std::int64_t>(unit.size);
    if (count != 0 && count % size == 0) return fmt::format("{} {}", count / size, unit.name);
  }
  return fmt::format("{} ns", count);
}

}  // namespace tandem
