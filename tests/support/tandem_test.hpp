#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <tandem/config.hpp>

#include "processes.hpp"
#include "shared.hpp"

namespace tandem {
class Runtime;
}

namespace tandem::test {

/// Fails a test that leaves a process, a descriptor or a mapping of Tandem's memory behind. Everything that
/// a test makes must be gone at the end of its body.
class TandemTest : public testing::Test {
 protected:
  TandemTest();
  void SetUp() override;
  void TearDown() override;

  /// A generator whose seed is printed; TANDEM_TEST_SEED repeats a run.
  std::mt19937_64 random_generator();

 private:
  std::vector<Process> processes_;
  std::vector<std::string> descriptors_;
};

/// Where the workers of a test run, and how many there are.
struct Place {
  const char* placement;  // "spawn": in processes that are spawned
  int workers;

  bool is_process() const { return std::string{placement} != "thread"; }
  bool is_spawned() const { return std::string{placement} == "spawn"; }
};
std::ostream& operator<<(std::ostream& out, const Place& place);

/// Each with 1, 2 and 8 workers; with 2 alone under AddressSanitizer, where most of a test's time is the kernel's, for processes
/// that have several times the pages.
std::vector<Place> places(std::initializer_list<const char*> placements);

/// For tests of what must not depend on the placement.
class PlacedTest : public TandemTest, public testing::WithParamInterface<Place> {};

std::string place_name(const testing::TestParamInfo<Place>& place);

using Settings = std::vector<std::pair<std::string, std::string>>;

/// A configuration of these settings alone.
Config config_of(const Settings& settings);

/// The same, with the nodes placed as the parameter says.
Config placed(const Place& place, std::initializer_list<const char*> nodes, const Settings& settings = {});

/// Two worker processes for each node, which may be killed: no message becomes an error by that.
Config two_processes(const std::string& in_flight, std::initializer_list<const char*> nodes = {"maker"});

/// Stops the run; nothing of it is left, and the books are right.
void expect_right_books(Runtime& runtime);

/// Lines that the library has logged since the test began.
std::vector<std::string> log_lines();
/// Waits, without bound but the test's own, until a line that holds `part` was logged; returns it.
std::string wait_log_line(const std::string& part);

/// The text of what the call throws, "nothing was thrown" when nothing is.
template <class Exception, class Call>
std::string thrown_text(Call call) {
  try {
    call();
  } catch (const Exception& error) { return error.what(); }
  return "nothing was thrown";
}

/// A second program in the test's own executable, for what must happen to a whole host:
///     HOST_PROGRAM(streams) { ...; return 0; }
///     const pid_t host = start_host_program("streams", standard_output);
using HostMain = int (*)();
class HostProgram {
 public:
  HostProgram(const char* name, HostMain main);
  static std::optional<int> run_if_asked();
};
pid_t start_host_program(const std::string& name, int standard_output);

}  // namespace tandem::test

#define HOST_PROGRAM(NAME)                                                                \
  static int NAME##_host_program();                                                       \
  static const ::tandem::test::HostProgram NAME##_registered{#NAME, NAME##_host_program}; \
  static int NAME##_host_program()

/// Instantiates a PlacedTest for threads and processes, 1, 2 and 8 workers.
#define TANDEM_FOR_ALL_PLACES(SUITE)                                                                  \
  INSTANTIATE_TEST_SUITE_P(, SUITE, testing::ValuesIn(::tandem::test::places({"thread", "process"})), \
                           ::tandem::test::place_name)

/// The same, and with spawned processes: there the test's whole body runs in each worker too, up to the first next(),
/// activate() or start(). What it has before that it must be able to have twice; a Shared is one and the same in both.
#define TANDEM_FOR_ALL_PLACES_AND_SPAWNED(SUITE)                                               \
  TANDEM_FOR_ALL_PLACES(SUITE);                                                                \
  INSTANTIATE_TEST_SUITE_P(Spawned, SUITE, testing::Values(::tandem::test::Place{"spawn", 2}), \
                           ::tandem::test::place_name)

/// For what only worker processes can do.
#define TANDEM_FOR_PROCESSES(SUITE)                                                         \
  INSTANTIATE_TEST_SUITE_P(, SUITE, testing::ValuesIn(::tandem::test::places({"process"})), \
                           ::tandem::test::place_name)
