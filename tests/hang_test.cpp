// A body that runs past its deadline in a process: its worker is ended and replaced, and the error says where it stood.
// labels: no_tsan
#include <signal.h>
#include <unistd.h>

#include <string>

#include <gmock/gmock.h>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {

// With names of their own in the symbol table, which a stack is read with.
__attribute__((noinline)) void spin_for_ever() {
  for (;;) busy(1000);
}
__attribute__((noinline)) void sleep_for_ever() {
  for (;;) pause();
}

namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct Hang {
  const char* name;
  void (*hang)();
  const char* function;
};
void PrintTo(const Hang& hang, std::ostream* out) { *out << hang.name; }

class Hanging : public TandemTest, public testing::WithParamInterface<Hang> {
 protected:
  static Config config() {
    return placed({"process", 2}, {"work"}, {{"node.work.deadline", "60 ms"}, {"node.work.attempts", "2"}});
  }
};

TEST_P(Hanging, BodyBecomesAnErrorThatHoldsItsStack) {
  Line<Number> line{config(), CountTo{20}, [hang = GetParam().hang](const Number& in) {
                      if (in.value == 7) hang();
                      return in;
                    }};
  const auto outcomes = line.take_all();

  ASSERT_EQ(outcomes.size(), 20U);
  for (std::uint64_t number = 0; number < 20; ++number) {
    EXPECT_EQ(outcomes[number].value.has_value(), number != 7) << number;
  }
  const Failure& failure = *outcomes[7].failure;
  EXPECT_EQ(failure.attempt, 2);
  EXPECT_THAT(failure.reason, StartsWith("ran longer than its deadline of 60 ms and was killed; it was in "));
  EXPECT_THAT(failure.stack, HasSubstr(GetParam().function));
  EXPECT_THAT(failure.stack, HasSubstr("hang_test"));
  EXPECT_THAT(failure.stack, testing::Not(HasSubstr("Worker::work")));
}

INSTANTIATE_TEST_SUITE_P(, Hanging,
                         testing::Values(Hang{"InALoop", spin_for_ever, "spin_for_ever()"},
                                         Hang{"InASystemCall", sleep_for_ever, "sleep_for_ever()"},
                                         Hang{"Stopped", [] { raise(SIGSTOP); }, "raise"},
                                         Hang{"WithAllSignalsBlocked",
                                              [] {
                                                sigset_t all;
                                                sigfillset(&all);
                                                sigprocmask(SIG_SETMASK, &all, nullptr);
                                                spin_for_ever();
                                              },
                                              "spin_for_ever()"}),
                         [](const auto& case_info) { return std::string{case_info.param.name}; });

class HangingOnce : public TandemTest {};

TEST_F(HangingOnce, BodyIsTriedAgain) {
  Line<Number> line{placed({"process", 2}, {"work"}, {{"node.work.deadline", "60 ms"}}), CountTo{100},
                    [](const Number& in, Context& context) {
                      if (in.value % 20 == 0 && context.attempt() == 1) spin_for_ever();
                      return in;
                    }};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item->value, next);
    ASSERT_EQ(item.attempt(), next % 20 == 0 ? 2 : 1);
    ++next;
  }
  EXPECT_EQ(next, 100U);
}

TEST_F(HangingOnce, BodyDoesNotHoldUpStop) {
  Shared<Gate> hangs;
  Line<Number> line{placed({"process", 2}, {"work"}, {{"node.work.deadline", "20 ms"}}), CountForEver{},
                    [gate = hangs.get()](const Number& in) {
                      gate->open();
                      spin_for_ever();
                      return in;
                    }};
  line.runtime.start();
  ASSERT_TRUE(hangs->wait(3));
  line.runtime.stop();
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

}  // namespace
}  // namespace tandem::test
