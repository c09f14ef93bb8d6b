#include <tandem/error.hpp>

#include <boost/core/demangle.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

namespace tandem {
namespace {

char lower(char letter) { return static_cast<char>(std::tolower(static_cast<unsigned char>(letter))); }

// Damerau-Levenshtein distance in its restricted form (optimal string alignment), over three rows of the table.
std::size_t distance(std::string_view left, std::string_view right) {
  std::vector<std::size_t> before(right.size() + 1);
  std::vector<std::size_t> above(right.size() + 1);
  std::vector<std::size_t> row(right.size() + 1);
  for (std::size_t j = 0; j <= right.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= left.size(); ++i) {
    std::swap(before, above);
    std::swap(above, row);
    row[0] = i;
    for (std::size_t j = 1; j <= right.size(); ++j) {
      const char a = lower(left[i - 1]);
      const char b = lower(right[j - 1]);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a == b ? 0U : 1U)});
      if (i > 1 && j > 1 && a == lower(right[j - 2]) && b == lower(left[i - 2])) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
  }
  return row[right.size()];
}

}  // namespace

std::string describe(const Failure& failure) {
  const std::string worker = failure.worker < 0 ? "" : fmt::format(", worker {}", failure.worker);
  return fmt::format("node '{}', message {}{}, attempt {}: {}", failure.node, failure.sequence, worker,
                     failure.attempt, failure.reason);
}

ProducerError::ProducerError(Failure failure)
    : Error{describe(failure)}, failure_{std::make_shared<const Failure>(std::move(failure))} {}

TooManyErrors::TooManyErrors(const std::string& text, Record record)
    : Error{text}, record_{std::make_shared<const Record>(std::move(record))} {}

std::string nearest(std::string_view word, std::span<const std::string> known) {
  constexpr std::size_t kLongestWord = 256;  // bounds the table; nobody mistypes a name that long
  if (word.size() > kLongestWord) return {};
  std::string best;
  std::size_t best_distance = std::numeric_limits<std::size_t>::max();
  for (const std::string& candidate : known) {
    if (candidate.size() > kLongestWord) continue;
    const std::size_t longer = std::max(word.size(), candidate.size());
    const std::size_t edits = distance(word, candidate);
    const std::size_t tolerated = std::max<std::size_t>(1, longer / 3);
    if (edits <= tolerated && edits < longer && edits < best_distance) {
      best = candidate;
      best_distance = edits;
    }
  }
  return best;
}

std::string suggestion(std::string_view word, std::span<const std::string> known, std::string_view label) {
  std::string text;
  if (const std::string near = nearest(word, known); !near.empty()) {
    text = fmt::format("did you mean '{}'? ", near);
  }
  if (known.empty()) return fmt::format("{}{}: none", text, label);
  text += label;
  const char* separator = ": ";
  for (const std::string& name : known) {
    text += fmt::format("{}'{}'", separator, name);
    separator = ", ";
  }
  return text;
}

std::string type_name(const std::type_info& type) { return boost::core::demangle(type.name()); }

std::string one_line(std::string text) {
  constexpr std::string_view kCut = "...";
  if (text.size() > kReasonBytes) {
    text.resize(kReasonBytes - kCut.size());
    text += kCut;
  }
  for (char& letter : text) {
    const auto code = static_cast<unsigned char>(letter);
    if (code < 0x20 || code == 0x7F) letter = ' ';  // it may go to a terminal
  }
  return text;
}

void check_failed(const char* file, int line, const char* expression, const std::string& left,
                  const std::string& right, std::string_view text) noexcept {
  std::fprintf(stderr, "%s:%d: broken invariant: %s (%s against %s): %.*s\n", file, line, expression,
               left.c_str(), right.c_str(), static_cast<int>(text.size()), text.data());
  std::abort();
}

namespace detail {

std::string printed_pointer(const volatile void* pointer) {
  return fmt::format("{:#x}", reinterpret_cast<std::uintptr_t>(pointer));
}

}  // namespace detail
}  // namespace tandem
