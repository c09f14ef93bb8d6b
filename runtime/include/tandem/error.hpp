#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <typeinfo>
#include <type_traits>
#include <vector>

namespace tandem {

/// Something that cannot be set up or was asked for wrongly; what() is written for the user.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A setting that is unknown, malformed or out of range; what() names its source.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// An array asked for under a wrong name, dtype or rank; what() holds the wanted and the found type.
class TypeError : public Error {
 public:
  using Error::Error;
};

/// Memory that the budget or the machine does not have; what() holds the sizes.
class MemoryError : public Error {
 public:
  using Error::Error;
};

/// What went wrong with one message; a plain record in the host's private memory.
struct Failure {
  std::string node;
  std::uint64_t sequence = 0;
  int worker = -1;  ///< -1: no worker had the message
  int attempt = 1;
  std::string reason;
  /// Of a message that was over its deadline: where its worker stood, a line for each call, the innermost first.
  std::string stack{};
};

/// A failure in one line: "node 'reader', message 881, worker 3, attempt 2: REASON".
[[nodiscard]] std::string describe(const Failure& failure);

/// One message that ended as an error: thrown at its place in the order.
/// what() reads "node 'reader', message 881, worker 3, attempt 2: REASON".
class ProducerError : public Error {
 public:
  explicit ProducerError(Failure failure);

  /// The whole record.
  /// Lifetime  as long as this exception or a copy of it.
  [[nodiscard]] const Failure& failure() const noexcept { return *failure_; }
  /// The name of the node that failed.
  [[nodiscard]] const std::string& node() const noexcept { return failure_->node; }
  /// The message's sequence number.
  [[nodiscard]] std::uint64_t sequence() const noexcept { return failure_->sequence; }
  /// The worker's index from 0, or -1 where no worker was involved.
  [[nodiscard]] int worker() const noexcept { return failure_->worker; }
  /// The attempt that failed, from 1.
  [[nodiscard]] int attempt() const noexcept { return failure_->attempt; }
  /// The body's own text, or how its worker died.
  [[nodiscard]] const std::string& reason() const noexcept { return failure_->reason; }

 private:
  std::shared_ptr<const Failure> failure_;  // shared: copying an exception must not throw
};

/// More items of a node carried an error than its max_errors lets a stream skip: thrown at the place of the first
/// such item, and again at each later one; the next call goes on with the next item. what() says in one line of
/// bounded length how many there were and why.
/// Not a ProducerError: a loop that catches that one and goes on must not go on over a budget that is spent.
class TooManyErrors : public Error {
 public:
  /// Most records that are kept.
  static constexpr std::size_t kKept = 100;

  /// What is known of one node's failures in one stream.
  struct Record {
    std::string node;
    std::uint64_t max_errors = 0;
    std::uint64_t failed = 0;       ///< the skipped ones, and those at whose place this was thrown
    std::vector<Failure> failures;  ///< the first of them, and the last
  };

  /// For streams.
  TooManyErrors(const std::string& text, Record record);

  /// The name of the node that failed.
  [[nodiscard]] const std::string& node() const noexcept { return record_->node; }
  /// How many items the stream was to skip at most.
  [[nodiscard]] std::uint64_t max_errors() const noexcept { return record_->max_errors; }
  /// How many items of the node carried an error, this one included.
  [[nodiscard]] std::uint64_t failed() const noexcept { return record_->failed; }
  /// The failures in the order of delivery: all of them up to kKept; else the first kKept - 1 and the last,
  /// which is always the one at whose place this was thrown.
  /// Lifetime  as long as this exception or a copy of it.
  [[nodiscard]] std::span<const Failure> failures() const noexcept { return record_->failures; }

 private:
  std::shared_ptr<const Record> record_;  // shared: copying an exception must not throw
};

/// The one of the known words that a mistyped word most likely meant; empty when none is near.
/// Letter case does not count. A swap of neighbours counts as one edit (Damerau, CACM 7(3), 1964).
[[nodiscard]] std::string nearest(std::string_view word, std::span<const std::string> known);

/// Text for the end of an error: "did you mean 'b'? " when one is near (else nothing), then the label
/// and all known words: "known keys: 'a', 'b'".
[[nodiscard]] std::string suggestion(std::string_view word, std::span<const std::string> known,
                                     std::string_view label);

/// Longest reason of a Failure, in bytes, on threads as in processes.
inline constexpr std::size_t kReasonBytes = 512;

/// A type's name as it is written in C++.
[[nodiscard]] std::string type_name(const std::type_info& type);

/// One line of at most kReasonBytes: control characters become spaces, what is too long ends in "...".
[[nodiscard]] std::string one_line(std::string text);

/// Prints one line about a broken invariant to stderr and aborts. Use TANDEM_CHECK.
[[noreturn]] void check_failed(const char* file, int line, const char* expression, const std::string& left,
                               const std::string& right, std::string_view text) noexcept;

namespace detail {

[[nodiscard]] std::string printed_pointer(const volatile void* pointer);

/// A value as a failed check prints it: numbers, bool, enums, pointers, text; "?" for any other type.
template <class T>
[[nodiscard]] std::string printed(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_enum_v<T>) {
    return std::to_string(static_cast<std::underlying_type_t<T>>(value));
  } else if constexpr (std::is_arithmetic_v<T>) {
    return std::to_string(value);
  } else if constexpr (std::is_null_pointer_v<T>) {
    return "nullptr";
  } else if constexpr (std::is_convertible_v<const T&, std::string_view> && !std::is_pointer_v<T>) {
    return std::string{std::string_view{value}};
  } else if constexpr (std::is_pointer_v<T> && !std::is_function_v<std::remove_pointer_t<T>>) {
    return printed_pointer(value);
  } else {
    return "?";
  }
}

}  // namespace detail
}  // namespace tandem

/// Aborts with file, line, expression, both values and the text unless `left op right` holds; on in every
/// build. Each operand is evaluated once and copied.
#define TANDEM_CHECK(left, op, right, text)                                     \
  do {                                                                          \
    const auto tandem_left_ = (left);                                           \
    const auto tandem_right_ = (right);                                         \
    if (!(tandem_left_ op tandem_right_)) [[unlikely]] {                        \
      ::tandem::check_failed(__FILE__, __LINE__, #left " " #op " " #right,      \
                             ::tandem::detail::printed(tandem_left_),           \
                             ::tandem::detail::printed(tandem_right_), (text)); \
    }                                                                           \
  } while (false)
