// Large arrays, of which worker processes are lent few at a time: consumers that keep all or some of them, workers that die or never come
// back, fewer blocks than workers.
// labels: no_tsan
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/large.hpp"
#include "support/line.hpp"
#include "support/shared.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;

Config config_with(int workers, std::uint32_t in_flight, Settings more = {}) {
  more.emplace_back("in_flight", std::to_string(in_flight));
  more.emplace_back("node.maker.attempts", "100");
  return placed({"process", workers}, {"maker"}, more);
}

class Circulating : public TandemTest {};

TEST_F(Circulating, AConsumerThatKeepsNone) {
  Large large{config_with(2, 8), 200, mark};
  large.expect_all(200, 0);
}

TEST_F(Circulating, AConsumerThatKeepsAsManyAsItMay) {
  Large large{config_with(2, 8), 60, mark};
  large.expect_all(60, 7);
}

TEST_F(Circulating, AConsumerThatKeepsSome) {
  Large large{config_with(1, 6), 100, mark};
  large.expect_all(100, 2);
}

TEST_F(Circulating, FewerBlocksThanWorkers) {
  Large large{config_with(3, 1), 60, mark};
  large.expect_all(60, 0);
}

TEST_F(Circulating, WorkersThatAreKilled) {
  auto random = random_generator();
  Large large{config_with(2, 6), 300, mark};
  large.runtime.start();
  std::jthread killer{[&large, &random](const std::stop_token& stop) {
    for (int kills = 0; kills < 20 && !stop.stop_requested(); ++kills) {
      std::this_thread::sleep_for(std::chrono::milliseconds{10 + random() % 40});
      const std::vector<pid_t> pids = large.runtime.worker_pids();
      if (!pids.empty()) kill(pids[random() % pids.size()], SIGKILL);
    }
  }};
  large.expect_all(300, 1);
}

// Its blocks go to the other, which waits for them.
TEST_F(Circulating, AWorkerThatIsLeftOut) {
  struct Body {
    std::atomic<int>* starts;
    void start(Context& context) {
      if (context.worker() == 1 && starts->fetch_add(1) > 0) throw std::runtime_error{"not again"};
    }
    void operator()(const Number& number, Arrays& out, Context& context) {
      if (context.worker() == 1 && number.value > 5) std::_Exit(1);
      mark(number, out);
    }
  };
  Shared<std::atomic<int>> starts;
  Large large{config_with(2, 4, {{"node.maker.spares", "0"}}), 100, Body{starts.get()}};
  large.expect_all(100, 3);
}

// Nobody could take a block meanwhile, so it is not the consumer who is to give one back.
TEST_F(Circulating, AWorkerThatComesBackLateIsNoReasonToBlameTheConsumer) {
  struct Body {
    std::atomic<int>* starts;
    void start() {
      if (starts->fetch_add(1) > 0) std::this_thread::sleep_for(2500ms);
    }
    void operator()(const Number& number, Arrays& out, Context& context) {
      std::this_thread::sleep_for(5ms);  // so that the next one waits for its block
      if (number.value == 10 && context.attempt() == 1) std::_Exit(1);
      mark(number, out);
    }
  };
  Shared<std::atomic<int>> starts;
  Large large{config_with(1, 4, {{"node.maker.spares", "0"}, {"hold_timeout", "500 ms"}}), 20,
              Body{starts.get()}};
  large.expect_all(20, 0);
}

}  // namespace
}  // namespace tandem::test
