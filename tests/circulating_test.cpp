// Large arrays, of which workers are lent few at a time: consumers that keep all or some of them, workers that die or never come
// back, fewer blocks than workers.
// labels: no_tsan
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/line.hpp"
#include "support/shared.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kBytes = 9 << 20;  // one of them is lent at first

Config config_with(int workers, std::uint32_t in_flight, Settings more = {}) {
  more.emplace_back("in_flight", std::to_string(in_flight));
  more.emplace_back("node.maker.attempts", "100");
  return placed({"process", workers}, {"maker"}, more);
}

void mark(const Number& number, Arrays& out) {
  const auto bytes = out.span<std::uint8_t>("bytes");
  for (std::size_t at = 0; at < bytes.size(); at += 4096)
    bytes[at] = static_cast<std::uint8_t>(number.value + at / 4096);
}

bool is_marked(const Arrays& arrays, std::uint64_t value) {
  const auto bytes = arrays.span<std::uint8_t>("bytes");
  for (std::size_t at = 0; at < bytes.size(); at += 4096) {
    if (bytes[at] != static_cast<std::uint8_t>(value + at / 4096)) return false;
  }
  return true;
}

/// commander "numbers" -> processes "maker" of 9 MiB -> sequencer -> stream
template <class Body>
struct Large {
  Large(const Config& config, std::uint64_t count, Body body)
      : runtime{config},
        numbers{graph, runtime, "numbers", CountTo{count}},
        maker{graph, runtime, "maker", {array<std::uint8_t>("bytes", {kBytes})}, std::move(body)} {
    flow::make_edge(numbers, maker);
    flow::make_edge(maker, order);
    flow::make_edge(order, stream);
  }

  // So many of the last ones are kept.
  void expect_all(std::uint64_t count, std::size_t kept) {
    std::deque<Item<Arrays>> items;
    std::uint64_t next = 0;
    while (auto item = stream.next()) {
      EXPECT_EQ(item->sequence(), next);
      EXPECT_TRUE(is_marked(**item, next)) << next;
      ++next;
      items.push_back(std::move(*item));
      if (items.size() > kept) items.pop_front();
    }
    EXPECT_EQ(next, count);
    for (const auto& item : items) EXPECT_TRUE(is_marked(*item, item.sequence()));
    items.clear();
    expect_right_books(runtime);
  }

  Runtime runtime;
  flow::graph graph;
  commander_node<Number> numbers;
  producer_node<Number, Arrays> maker;
  sequencer_node<Arrays> order{graph, runtime};
  stream_node<Arrays> stream{graph, runtime};
};

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
