// Processes that are killed or stopped from outside at moments that nobody chose: workers, all of them at once,
// the fork server, the host.
// labels: no_tsan
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <ctime>
#include <cstdio>
#include <functional>
#include <iostream>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support/checked.hpp"
#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;

constexpr const char* kManyAttempts = "100";  // so that no message becomes an error

void signal_all(const std::vector<pid_t>& pids, int signal) {
  for (const pid_t pid : pids) {
    ASSERT_GT(pid, 1);
    kill(pid, signal);
  }
}
void signal_fork_server(int signal) {
  for (const Process& server : fork_servers()) kill(server.pid, signal);
}

// Acts at chosen counts of received items and a random moment later, in a thread of its own.
class Killer {
 public:
  Killer(std::vector<std::uint64_t> at, std::uint64_t steps_later, std::function<void()> act)
      : thread_{[this, at = std::move(at), steps_later, act = std::move(act)] {
          for (const std::uint64_t count : at) {
            for (std::uint64_t now = received_; now < count; now = received_) received_.wait(now);
            busy(steps_later);
            act();
          }
        }} {}
  ~Killer() {
    received_ = ~std::uint64_t{0};
    received_.notify_all();
    thread_.join();
  }
  void received() {
    ++received_;
    received_.notify_all();
  }

 private:
  std::atomic<std::uint64_t> received_{0};
  std::thread thread_;
};

std::vector<std::uint64_t> some_counts(std::mt19937_64& random, int most, std::uint64_t below) {
  std::vector<std::uint64_t> counts(1 + random() % static_cast<std::uint64_t>(most));
  for (std::uint64_t& count : counts) count = random() % below;
  std::sort(counts.begin(), counts.end());
  return counts;
}

class KilledWorker : public TandemTest {};

TEST_F(KilledWorker, LosesNothingAtRandomMomentsIn200Runs) {
  std::mt19937_64 random = random_generator();
  constexpr std::uint64_t kAll = 200;
  for (int run = 0; run < 200; ++run) {
    const Settings settings{{"node.work.attempts", kManyAttempts},
                            {"in_flight", std::array{"3", "16", "64"}[random() % 3]}};
    Line<Checked> line{placed({"process", 2}, {"work"}, settings), CountTo{kAll},
                       CheckedAfterWork{random() % 3 * 10'000}};
    {
      Killer killer{some_counts(random, 3, kAll), random() % 100'000, [&line, choice = random()] {
                      const std::vector<pid_t> pids = line.runtime.worker_pids();
                      if (!pids.empty()) signal_all({pids[choice % pids.size()]}, SIGKILL);
                    }};
      std::uint64_t next = 0;
      for (const auto& item : line.stream) {
        ASSERT_EQ(item.sequence(), next) << "run " << run;
        ASSERT_TRUE(is_checked(*item, next)) << "run " << run << ", message " << next;
        ++next;
        killer.received();
      }
      ASSERT_EQ(next, kAll) << "run " << run;
    }
    line.runtime.stop();
    ASSERT_EQ(line.runtime.lent_blocks(), 0U) << "run " << run;
    ASSERT_EQ(line.runtime.live_messages(), 0U) << "run " << run;
  }
  const std::vector<std::string> log = log_lines();
  const auto hits = std::count_if(log.begin(), log.end(), [](const std::string& one) {
    return one.find("killed by signal 9 (SIGKILL) on message") != one.npos;
  });
  std::cout << hits << " messages were hit\n";
  EXPECT_GT(hits, 20) << "the killer came too late each time";
}

TEST_F(KilledWorker, LosesNoArraysAtRandomMoments) {
  std::mt19937_64 random = random_generator();
  constexpr std::uint64_t kAll = 200;
  for (int run = 0; run < 40; ++run) {
    Line<Arrays> line{
        placed({"process", 2}, {"work"}, {{"node.work.attempts", kManyAttempts}, {"in_flight", "8"}}),
        CountTo{kAll},
        {array<std::uint64_t>("words", {20'000})},
        fill_checked};
    {
      Killer killer{some_counts(random, 5, kAll), random() % 100'000, [&line, choice = random()] {
                      const std::vector<pid_t> pids = line.runtime.worker_pids();
                      if (!pids.empty()) signal_all({pids[choice % pids.size()]}, SIGKILL);
                    }};
      std::uint64_t next = 0;
      for (const auto& item : line.stream) {
        ASSERT_EQ(item.sequence(), next) << "run " << run;
        ASSERT_TRUE(is_filled(*item, next)) << "run " << run << ", message " << next;
        ++next;
        killer.received();
      }
      ASSERT_EQ(next, kAll) << "run " << run;
    }
    ASSERT_EQ(line.runtime.lent_blocks(), 0U) << "run " << run;
  }
}

// A consumer that keeps items must find in them what it first saw, whoever is killed meanwhile.
TEST_F(KilledWorker, DoesNotTouchItemsThatTheConsumerHolds) {
  std::mt19937_64 random = random_generator();
  Line<Arrays> line{
      placed({"process", 2}, {"work"}, {{"node.work.attempts", kManyAttempts}, {"in_flight", "24"}}),
      CountTo{1000},
      {array<std::uint64_t>("words", {500})},
      fill_checked};
  std::vector<Item<Arrays>> held;
  for (const auto& item : line.stream) {
    if (item.sequence() % 60 == 0 && held.size() < 16) held.push_back(item);
    if (item.sequence() % 25 == 0) {
      const std::vector<pid_t> pids = line.runtime.worker_pids();
      if (!pids.empty()) signal_all({pids[random() % pids.size()]}, SIGKILL);
    }
  }
  ASSERT_EQ(held.size(), 16U);
  for (const auto& item : held) EXPECT_TRUE(is_filled(*item, item.sequence()));
  EXPECT_EQ(line.runtime.lent_blocks(), 16U);
  held.clear();
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

class KilledWorkers : public PlacedTest {};

TEST_P(KilledWorkers, AllAtOnceLoseNothing) {
  std::mt19937_64 random = random_generator();
  constexpr std::uint64_t kAll = 1000;
  Line<Checked> line{placed(GetParam(), {"work"}, {{"node.work.attempts", kManyAttempts}}), CountTo{kAll},
                     CheckedAfterWork{10'000}};
  {
    Killer killer{some_counts(random, 10, kAll), random() % 100'000,
                  [&] { signal_all(line.runtime.worker_pids(), SIGKILL); }};
    std::uint64_t next = 0;
    for (const auto& item : line.stream) {
      ASSERT_EQ(item.sequence(), next);
      ASSERT_TRUE(is_checked(*item, next));
      ++next;
      killer.received();
    }
    EXPECT_EQ(next, kAll);
  }
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

TEST_P(KilledWorkers, AreReplacedWhileTheConsumerIsAway) {
  Line<Number> line{placed(GetParam(), {"work"}, {{"node.work.attempts", kManyAttempts}}), CountForEver{},
                    [](const Number& in) { return in; }};
  line.stream.next();
  const std::vector<pid_t> before = line.runtime.worker_pids();
  ASSERT_FALSE(before.empty());

  std::vector<Process> old;
  for (const pid_t pid : before) old.push_back({pid, -1, '?', ""});
  signal_all(before, SIGKILL);
  EXPECT_EQ(describe(wait_gone(old, 10)), "none");

  for (int item = 0; item < 1000; ++item) ASSERT_TRUE(line.stream.next_for(10s));
}

TEST_P(KilledWorkers, WithTheForkServerAtRandomMomentsLoseNothing) {
  std::mt19937_64 random = random_generator();
  constexpr std::uint64_t kAll = 1500;
  Line<Checked> line{placed(GetParam(), {"work"}, {{"node.work.attempts", kManyAttempts}}), CountTo{kAll},
                     CheckedAfterWork{20'000}};
  {
    std::atomic<int> turn{0};
    Killer killer{some_counts(random, 12, kAll), random() % 300'000, [&] {
                    if (++turn % 3 == 0) signal_all(line.runtime.worker_pids(), SIGKILL);
                    signal_fork_server(SIGKILL);
                  }};
    std::uint64_t next = 0;
    for (const auto& item : line.stream) {
      ASSERT_EQ(item.sequence(), next);
      ASSERT_TRUE(is_checked(*item, next));
      ++next;
      killer.received();
    }
    EXPECT_EQ(next, kAll);
  }
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

TEST_P(KilledWorkers, AndStopAtTheSameMomentEndPromptly) {
  std::mt19937_64 random = random_generator();
  for (int run = 0; run < 20; ++run) {
    Line<Checked> line{placed(GetParam(), {"work"}, {{"node.work.attempts", kManyAttempts}}), CountForEver{},
                       CheckedAfterWork{5'000}};
    line.stream.next();
    std::thread killer{[&line, server = random() % 2, steps = random() % 100'000] {
      busy(steps);
      if (server != 0) signal_fork_server(SIGKILL);
      signal_all(line.runtime.worker_pids(), SIGKILL);
    }};
    busy(random() % 100'000);
    const auto begin = std::chrono::steady_clock::now();
    line.runtime.stop();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 500ms) << "run " << run;
    killer.join();
    line.stream.try_next();
    EXPECT_EQ(line.runtime.lent_blocks(), 0U) << "run " << run;
  }
}

TANDEM_FOR_PROCESSES(KilledWorkers);

class StoppedWorker : public TandemTest {};

TEST_F(StoppedWorker, DoesNotHoldUpTheOthersAndGoesOn) {
  constexpr std::uint64_t kAll = 3000;
  constexpr std::uint64_t kInFlight = 64;
  struct TellsItsStart : CheckedAfterWork {
    Gate* started;
    void start() const { started->open(); }
  };
  Shared<Gate> started;
  Line<Checked> line{placed({"process", 2}, {"work"}, {{"deterministic", "false"}, {"in_flight", "64"}}),
                     CountTo{kAll},
                     TellsItsStart{{50'000}, started.get()}};  // else one would do all that there is
  std::set<std::uint64_t> seen;
  std::set<int> workers;
  const auto take = [&](std::size_t until) {
    while (seen.size() < until) {
      const auto item = line.stream.next_for(10s);
      if (!item) return;
      workers.insert(item->worker());
      ASSERT_TRUE(is_checked(**item, item->sequence()));
      ASSERT_TRUE(seen.insert(item->sequence()).second) << "twice: " << item->sequence();
    }
  };
  take(1);
  ASSERT_TRUE(started->wait(2));  // a worker that is alone gets all the messages that there are
  while (workers.size() < 2 && seen.size() < kAll / 2) take(seen.size() + 1);
  ASSERT_EQ(workers.size(), 2U);
  take(500);
  const pid_t stopped = line.runtime.worker_pids().at(0);
  kill(stopped, SIGSTOP);
  take(kAll - kInFlight);
  EXPECT_GE(seen.size(), kAll - kInFlight);

  kill(stopped, SIGCONT);
  take(kAll);
  EXPECT_EQ(seen.size(), kAll);
  EXPECT_FALSE(line.stream.next());
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

TEST_F(StoppedWorker, ThatIsKilledLosesNothing) {
  std::mt19937_64 random = random_generator();
  for (int run = 0; run < 20; ++run) {
    Line<Checked> line{placed({"process", 2}, {"work"}, {{"node.work.attempts", kManyAttempts}}), CountTo{500},
                       CheckedAfterWork{1000}};
    const std::uint64_t at = random() % 400;
    std::uint64_t next = 0;
    for (const auto& item : line.stream) {
      ASSERT_EQ(item.sequence(), next);
      ASSERT_TRUE(is_checked(*item, next));
      if (next++ != at) continue;
      const std::vector<pid_t> pids = line.runtime.worker_pids();
      if (pids.empty()) continue;
      const pid_t worker = pids[random() % pids.size()];
      kill(worker, SIGSTOP);
      busy(random() % 1'000'000);
      kill(worker, SIGKILL);
    }
    EXPECT_EQ(next, 500U) << "run " << run;
  }
}

TEST_F(StoppedWorker, IsReplacedAtItsDeadline) {
  Line<Checked> line{placed({"process", 1}, {"work"}, {{"node.work.deadline", "50 ms"}}), CountTo{500},
                     CheckedAfterWork{1000}};
  std::uint64_t next = 0;
  for (const auto& item : line.stream) {
    ASSERT_EQ(item.sequence(), next);
    ASSERT_TRUE(is_checked(*item, next));
    if (next++ == 100) signal_all(line.runtime.worker_pids(), SIGSTOP);
  }
  EXPECT_EQ(next, 500U);
}

TEST_F(StoppedWorker, DoesNotHoldUpStop) {
  Line<Checked> line{placed({"process", 2}, {"work"}), CountForEver{}, CheckedAfterWork{1000}};
  line.stream.next();
  signal_all(line.runtime.worker_pids(), SIGSTOP);

  const auto begin = std::chrono::steady_clock::now();
  line.runtime.stop();

  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
  EXPECT_EQ(line.runtime.lent_blocks(), 0U);
}

// Prints a letter for each item.
int stream_for_ever(std::uint64_t steps) {
  Line<Checked> line{placed({"process", 2}, {"work"}), CountForEver{}, CheckedAfterWork{steps}};
  for (const auto& item : line.stream) {
    if (!item.ok() || write(STDOUT_FILENO, "i", 1) != 1) return 1;
  }
  return 0;
}
HOST_PROGRAM(quick_items) { return stream_for_ever(100); }
HOST_PROGRAM(slow_items) { return stream_for_ever(100'000); }
// Bodies that never end.
HOST_PROGRAM(no_items) {
  Line<Number> line{placed({"process", 2}, {"work"}), CountForEver{}, [](const Number& in) {
                      if (write(STDOUT_FILENO, "b", 1) != 1) _exit(1);
                      for (;;) busy(1000);
                      return in;
                    }};
  line.stream.next();
  return 0;
}

// As after a change of the user or the group: the kernel forgets with whom the process ends.
HOST_PROGRAM(forgetful_bodies) {
  struct Forgets {
    void start() { prctl(PR_SET_PDEATHSIG, 0); }
    Number operator()(const Number& in) { return in; }
  };
  Line<Number> line{placed({"process", 2}, {"work"}), CountForEver{}, Forgets{}};
  while (line.stream.next()) {
    if (write(STDOUT_FILENO, "i", 1) != 1) return 1;
  }
  return 0;
}
// With a deadline, and one attempt: a message that loses it is an error.
HOST_PROGRAM(items_in_time) {
  Line<Number> line{
      placed({"process", 2}, {"work"}, {{"node.work.deadline", "100 ms"}, {"node.work.attempts", "1"}}),
      CountForEver{}, [](const Number& in) {
        busy(100'000);
        return in;
      }};
  while (line.stream.next()) {
    if (write(STDOUT_FILENO, "i", 1) != 1) return 1;
  }
  return 0;
}

// They take a fiftieth of their deadline, of the time in which they have a processor; in a process group of their own.
HOST_PROGRAM(long_items_in_time) {
  setpgid(0, 0);
  Line<Number> line{
      placed({"process", 2}, {"work"}, {{"node.work.deadline", "1 s"}, {"node.work.attempts", "1"}}),
      CountForEver{}, [](const Number& in) {
        for (const std::clock_t end = std::clock() + CLOCKS_PER_SEC / 50; std::clock() < end;) busy(100'000);
        return in;
      }};
  while (line.stream.next()) {
    if (write(STDOUT_FILENO, "i", 1) != 1) return 1;
  }
  return 0;
}

// Stops a host, or all of its process group, and lets it go on: a worker that is blamed ends it by an error.
void expect_no_blame(const char* program, bool with_workers, int times, std::chrono::milliseconds stopped,
                     int after) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const pid_t host = start_host_program(program, ends[1]);
  close(ends[1]);
  const auto read_items = [&](int count) {
    char letters[64];
    while (count > 0) {
      const ssize_t got = read(ends[0], letters, sizeof letters);
      if (got <= 0) return false;
      count -= static_cast<int>(got);
    }
    return true;
  };
  for (int time = 0; time < times; ++time) {
    EXPECT_TRUE(read_items(with_workers ? 10 : 100));
    kill(with_workers ? -host : host, SIGSTOP);
    std::this_thread::sleep_for(stopped);  // what is tested is that time passes
    kill(with_workers ? -host : host, SIGCONT);
  }
  EXPECT_TRUE(read_items(after)) << "it ended by an error";
  kill(host, SIGKILL);
  waitpid(host, nullptr, 0);
  close(ends[0]);
}

// A host that stands still for longer than a deadline: the workers had answered in time.
TEST(StoppedHost, DoesNotBlameItsWorkers) { expect_no_blame("items_in_time", false, 4, 250ms, 20'000); }

// As with Ctrl-Z and fg: the bodies stand still with the host, for longer than their deadline.
TEST(StoppedHost, DoesNotBlameWorkersThatWereStoppedWithIt) {
  expect_no_blame("long_items_in_time", true, 2, 1500ms, 20);
}

class KilledHost : public TandemTest {
 protected:
  static constexpr int kGoneWithinMilliseconds = 10'000;

  // Kills a host after that many letters; true when every process that it had is gone soon after: only then
  // has nobody the other end of the pipe.
  bool all_gone_after(const char* program, std::uint64_t letters, std::uint64_t steps_later) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    const pid_t host = start_host_program(program, ends[1]);
    close(ends[1]);
    char letter = 0;
    for (std::uint64_t count = 0; count < letters; ++count) {
      if (read(ends[0], &letter, 1) != 1) break;
    }
    busy(steps_later);
    kill(host, SIGKILL);
    int status = 0;
    waitpid(host, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "it ended by itself";
    bool gone = false;
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds{kGoneWithinMilliseconds};
    while (!gone && std::chrono::steady_clock::now() < until) {
      pollfd watched{ends[0], POLLIN, 0};
      char letters_left[4096];
      if (poll(&watched, 1, kGoneWithinMilliseconds) > 0)
        gone = read(ends[0], letters_left, sizeof letters_left) == 0;
    }
    close(ends[0]);
    return gone;
  }
};

TEST_F(KilledHost, LeavesNoProcessAtRandomMoments) {
  std::mt19937_64 random = random_generator();
  for (int run = 0; run < 40; ++run) {
    const char* const program = random() % 2 == 0 ? "quick_items" : "slow_items";
    ASSERT_TRUE(all_gone_after(program, random() % 300, random() % 1'000'000)) << "run " << run;
  }
}

TEST_F(KilledHost, LeavesNoProcessWhileItStarts) {
  std::mt19937_64 random = random_generator();
  for (int run = 0; run < 40; ++run) {
    ASSERT_TRUE(all_gone_after("quick_items", 0, random() % 30'000'000)) << "run " << run;
  }
}

TEST_F(KilledHost, LeavesNoProcessThatForgotItsParent) {
  for (int run = 0; run < 5; ++run) ASSERT_TRUE(all_gone_after("forgetful_bodies", 20, 0)) << "run " << run;
}

TEST_F(KilledHost, LeavesNoProcessWhoseBodyNeverEnds) {
  for (int run = 0; run < 5; ++run) ASSERT_TRUE(all_gone_after("no_items", 2, 0)) << "run " << run;
}

}  // namespace
}  // namespace tandem::test
