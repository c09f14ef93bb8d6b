// The process that shares each worker's memory, so that a killed worker is gone at once: it comes and goes with its
// worker, no body finds it, and nothing depends on it.
// labels: no_tsan
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string>
#include <vector>

#include "support/line.hpp"
#include "support/squares.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

constexpr std::size_t kProcesses = 3;  // two workers and a spare
const Settings kManyAttempts{{"node.work.attempts", "100"}};

// It has a name once it runs, which is before its worker does.
std::vector<Process> keepers() { return descendants_named("tandem:memory"); }

class KilledAt {
 public:
  explicit KilledAt(std::uint64_t every) : every_{every} {}
  Number operator()(const Number& in, Context& context) const {
    if (in.value % every_ == 3 && context.attempt() == 1) raise(SIGKILL);
    return square(in);
  }

 private:
  std::uint64_t every_;
};

class Keeper : public TandemTest {};

TEST_F(Keeper, OneBesideEachWorkerAndAllAreReaped) {
  Line<Number> line{placed({"process", 2}, {"work"}, kManyAttempts), CountTo{kAll}, KilledAt{10}};
  expect_all_squares(line.take_all());
  // Zombies would be among the server's children. Those of the last killed worker may not be gone yet.
  const auto children = [] { return descendants_of(fork_servers().at(0).pid).size(); };
  for (int tries = 0; tries < 2000 && children() > 2 * kProcesses; ++tries) usleep(1000);
  EXPECT_LE(children(), 2 * kProcesses);
  EXPECT_LE(keepers().size(), kProcesses);
  line.runtime.stop();
  EXPECT_EQ(describe(descendants_of(getpid())), "none") << "the fork server waits for keepers before it ends";
}

TEST_F(Keeper, IsNotAmongTheChildrenOfABody) {
  Line<Number> line{placed({"process", 2}, {"work"}), CountTo{kAll}, [](const Number& in) {
                      const bool none = waitpid(-1, nullptr, 0) == -1 && errno == ECHILD;
                      return none ? square(in) : Number{0};
                    }};
  expect_all_squares(line.take_all());
}

TEST_F(Keeper, MayBeKilledAndStopped) {
  Line<Number> line{placed({"process", 2}, {"work"}, kManyAttempts), CountTo{kAll}, KilledAt{10}};
  constexpr int kSignals[] = {SIGKILL, SIGSTOP, SIGCONT};
  std::uint64_t number = 0;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item.sequence(), number);
    EXPECT_EQ(item->value, number * number);
    for (const Process& keeper : keepers()) kill(keeper.pid, kSignals[number % 3]);
    ++number;
  }
  EXPECT_EQ(number, kAll);
  line.runtime.stop();
  EXPECT_EQ(describe(wait_no_descendants_but({}, 20)), "none");
}

TEST_F(Keeper, EndsWithAForkServerThatIsStoppedAtTheEnd) {
  Line<Number> line{placed({"process", 2}, {"work"}), CountTo{kAll}, KilledAt{1000}};
  expect_all_squares(line.take_all());
  for (const Process& server : fork_servers()) kill(server.pid, SIGSTOP);
  line.runtime.stop();
  EXPECT_EQ(describe(wait_no_descendants_but({}, 20)), "none");
}

}  // namespace
}  // namespace tandem::test
