#pragma once

#include <signal.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "line.hpp"

namespace tandem::test {

// Streams of kAll messages whose bodies return the square of the number, and do something else besides: at every
// tenth message, or at kBad.

inline constexpr std::uint64_t kAll = 60;
inline constexpr std::uint64_t kBad = 33;

inline bool acts_at(const Number& in) { return in.value % 10 == 3; }
inline Number square(const Number& in) { return {in.value * in.value}; }

inline void expect_square(const Line<Number>::Outcome& outcome, std::uint64_t number) {
  ASSERT_EQ(outcome.sequence, number);
  ASSERT_TRUE(outcome.value) << "message " << number << ": " << outcome.failure->reason;
  EXPECT_EQ(outcome.value->value, number * number);
}
inline void expect_all_squares(const std::vector<Line<Number>::Outcome>& outcomes) {
  ASSERT_EQ(outcomes.size(), kAll);
  for (std::uint64_t number = 0; number < kAll; ++number) expect_square(outcomes[number], number);
}
inline void expect_only_bad_fails(const std::vector<Line<Number>::Outcome>& outcomes,
                                  const testing::Matcher<std::string>& reason, int attempt) {
  ASSERT_EQ(outcomes.size(), kAll);
  for (std::uint64_t number = 0; number < kAll; ++number) {
    if (number != kBad) expect_square(outcomes[number], number);
  }
  ASSERT_EQ(outcomes[kBad].sequence, kBad);
  ASSERT_TRUE(outcomes[kBad].failure);
  EXPECT_THAT(outcomes[kBad].failure->reason, reason);
  EXPECT_EQ(outcomes[kBad].failure->attempt, attempt);
}
inline void expect_nothing_lent(Runtime& runtime) {
  runtime.stop();
  EXPECT_EQ(runtime.lent_blocks(), 0U);
  EXPECT_EQ(runtime.live_messages(), 0U);
}

/// Throws what the last system call said.
[[noreturn]] inline void complain(const char* what) {
  throw std::runtime_error(std::string{what} + ": " + std::strerror(errno));
}

/// For a crash to come: a sanitizer's own handler would end the process in another way.
inline void crash_plainly() {
  for (const int number : {SIGSEGV, SIGFPE, SIGILL, SIGABRT}) signal(number, SIG_DFL);
}

}  // namespace tandem::test
