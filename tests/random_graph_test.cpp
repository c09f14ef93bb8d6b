// Random chains of producers, with random places, workers, credits and times: the same bits as on one thread.
// labels: no_tsan
#include <signal.h>

#include <atomic>
#include <functional>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <type_traits>
#include <variant>
#include <vector>

#include <xxhash.h>

#include "support/line.hpp"
#include "support/sanitized.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

struct Small {
  std::uint64_t words[2];
};
struct Wide {
  std::uint64_t words[9];
};

// What a producer makes, and how long it takes for it.
struct Stage {
  enum class Makes { small, wide, arrays } makes;
  std::size_t length;  // of its array
  std::uint64_t salt;
  std::uint64_t steps;  // of work at most
};
struct Chain {
  std::vector<Stage> stages;
  std::uint64_t messages;
};
constexpr std::uint64_t kLongest = kSanitized ? 500 : 20'000;
Chain random_chain(std::mt19937_64& random) {
  Chain chain;
  chain.messages = 30 + random() % 150;
  for (std::uint64_t left = 1 + random() % 4; left > 0; --left) {
    const std::size_t length = random() % 8 == 0   ? 0
                               : random() % 3 == 0 ? 1 + random() % kLongest
                                                   : 1 + random() % 40;
    chain.stages.push_back({Stage::Makes{static_cast<int>(random() % 3)}, length, random(),
                            random() % 3 == 0 ? 20'000U : 200U});
  }
  return chain;
}

std::uint64_t hash_of(const void* data, std::size_t bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(data, bytes, seed);
}
std::uint64_t hash_of(const Number& in, std::uint64_t seed) { return hash_of(&in, sizeof in, seed); }
std::uint64_t hash_of(const Small& in, std::uint64_t seed) { return hash_of(&in, sizeof in, seed); }
std::uint64_t hash_of(const Wide& in, std::uint64_t seed) { return hash_of(&in, sizeof in, seed); }
std::uint64_t hash_of(const Arrays& in, std::uint64_t seed) {
  const auto words = in.span<std::uint64_t>("words");
  const auto bytes = in.span<std::uint8_t>("bytes");
  return hash_of(words.data(), words.size_bytes(), hash_of(bytes.data(), bytes.size_bytes(), seed));
}

// Its output depends on all of its input, on the message's number and on the message's random numbers.
template <class In, class Out>
struct Mix {
  Stage stage;
  std::uint64_t started = 0;
  void start(Context& context) { started = context.random()(); }
  void operator()(const In& in, Out& out, Context& context) {
    std::uint64_t state = hash_of(in, stage.salt) ^ started ^ context.sequence();
    busy(context.random()() % stage.steps);
    const auto next = [&] { return state = state * 6364136223846793005U + context.random()(); };
    if constexpr (std::is_same_v<Out, Arrays>) {
      for (std::uint64_t& word : out.template span<std::uint64_t>("words")) word = next();
      for (std::uint8_t& byte : out.template span<std::uint8_t>("bytes"))
        byte = static_cast<std::uint8_t>(next() >> 32);
    } else {
      for (std::uint64_t& word : out.words) word = next();
    }
  }
};

// The graph of a chain. Its nodes' types are chosen while it is built.
class Graph {
 public:
  Graph(const Chain& chain, const Config& config) : runtime_{config} {
    auto numbers =
        std::make_unique<commander_node<Number>>(graph_, runtime_, "numbers", CountTo{chain.messages});
    last_ = &flow::output_port<0>(*numbers);
    keep(std::move(numbers));
    for (std::size_t index = 0; index < chain.stages.size(); ++index) {
      add("stage" + std::to_string(index), chain.stages[index]);
    }
  }

  // at_first: called with the first item.
  std::vector<std::uint64_t> run(const std::function<void()>& at_first = [] {}) {
    return std::visit([&](auto* end) { return hashes_of(*end, at_first); }, last_);
  }
  Runtime& runtime() { return runtime_; }

 private:
  template <class T>
  using Output = flow::sender<Item<T>>*;

  template <class Node>
  Node& keep(std::unique_ptr<Node> node) {
    Node& kept = *node;
    nodes_.emplace_back(std::shared_ptr<Node>{std::move(node)});
    return kept;
  }

  void add(const std::string& name, const Stage& stage) {
    std::visit(
        [&]<class In>(flow::sender<Item<In>>* from) {
          switch (stage.makes) {
            case Stage::Makes::small: return add_producer<In, Small>(*from, name, stage);
            case Stage::Makes::wide: return add_producer<In, Wide>(*from, name, stage);
            case Stage::Makes::arrays: return add_producer<In, Arrays>(*from, name, stage);
          }
        },
        last_);
  }
  template <class In, class Out>
  void add_producer(flow::sender<Item<In>>& from, const std::string& name, const Stage& stage) {
    using Node = producer_node<In, Out>;
    Node* node = nullptr;
    if constexpr (std::is_same_v<Out, Arrays>) {
      const std::vector<ArraySpec> specs{array<std::uint64_t>("words", {stage.length}),
                                         array<std::uint8_t>("bytes", {stage.length, 3})};
      node = &keep(std::make_unique<Node>(graph_, runtime_, name, specs, Mix<In, Out>{stage}));
    } else {
      node = &keep(std::make_unique<Node>(graph_, runtime_, name, Mix<In, Out>{stage}));
    }
    flow::make_edge(from, flow::input_port<0>(*node));
    last_ = &flow::output_port<0>(*node);
  }

  template <class T>
  std::vector<std::uint64_t> hashes_of(flow::sender<Item<T>>& from, const std::function<void()>& at_first) {
    sequencer_node<T> order{graph_, runtime_};
    stream_node<T> stream{graph_, runtime_};
    flow::make_edge(from, flow::input_port<0>(order));
    flow::make_edge(order, stream);
    std::vector<std::uint64_t> hashes;
    for (const auto& item : stream) {
      if (hashes.empty()) at_first();
      hashes.push_back(hash_of(*item, item.sequence()));
    }
    return hashes;
  }

  Runtime runtime_;
  flow::graph graph_;
  std::vector<std::shared_ptr<void>> nodes_;
  std::variant<Output<Number>, Output<Small>, Output<Wide>, Output<Arrays>> last_;
};

Config on_one_thread() { return config_of({{"seed", "7"}}); }

Config random_places(const Chain& chain, std::mt19937_64& random, std::string& told) {
  Settings settings{{"seed", "7"}, {"in_flight", std::to_string(1 + random() % (random() % 3 == 0 ? 4 : 80))}};
  for (std::size_t index = 0; index < chain.stages.size(); ++index) {
    const std::string node = "node.stage" + std::to_string(index);
    settings.emplace_back(node + ".placement", random() % 3 == 0 ? "thread" : "process");
    settings.emplace_back(node + ".workers", std::to_string(1 + random() % 3));
  }
  for (const auto& [key, value] : settings) told += key + " = " + value + "; ";
  return config_of(settings);
}

class RandomGraph : public TandemTest {
 protected:
  static constexpr int kGraphs = kSanitized ? 20 : 40;
  static constexpr int kGraphsWithDeaths = kSanitized ? 8 : 15;
};

TEST_F(RandomGraph, GivesTheSameBitsWhereverItsProducersRun) {
  std::mt19937_64 random = random_generator();
  for (int graph = 0; graph < kGraphs; ++graph) {
    const Chain chain = random_chain(random);
    const std::vector<std::uint64_t> wanted = Graph{chain, on_one_thread()}.run();
    ASSERT_EQ(wanted.size(), chain.messages);
    for (int places = 0; places < 4; ++places) {
      std::string told;
      Graph other{chain, random_places(chain, random, told)};
      ASSERT_EQ(other.run(), wanted) << "graph " << graph << " of " << chain.stages.size() << " producers, "
                                     << told;
      other.runtime().stop();
      ASSERT_EQ(other.runtime().lent_blocks(), 0U) << told;
      ASSERT_EQ(other.runtime().live_messages(), 0U) << told;
    }
  }
}

TEST_F(RandomGraph, GivesTheSameBitsThoughWorkersAreKilled) {
  std::mt19937_64 random = random_generator();
  for (int graph = 0; graph < kGraphsWithDeaths; ++graph) {
    const Chain chain = random_chain(random);
    const std::vector<std::uint64_t> wanted = Graph{chain, on_one_thread()}.run();
    std::string told;
    Config config = random_places(chain, random, told);
    for (std::size_t index = 0; index < chain.stages.size(); ++index) {
      config.set("node.stage" + std::to_string(index) + ".attempts", "100", "test");
    }
    Graph other{chain, config};
    std::atomic<bool> started{false};
    std::atomic<bool> ended{false};
    std::thread killer{[&, seed = random()] {
      std::mt19937_64 own{seed};
      started.wait(false);
      // Fewer than the attempts: on a busy machine a worker may be killed each time before it has started.
      for (int kills = 0; kills < 90 && !ended; ++kills) {
        busy(own() % 3'000'000);
        const std::vector<pid_t> pids = other.runtime().worker_pids();
        if (!pids.empty()) kill(pids[own() % pids.size()], SIGKILL);
      }
    }};
    std::vector<std::uint64_t> got;
    std::string error;
    try {
      got = other.run([&] {
        started = true;
        started.notify_one();
      });
    } catch (const Error& thrown) { error = thrown.what(); }
    ended = true;
    killer.join();
    ASSERT_EQ(error, "");
    ASSERT_EQ(got, wanted) << "graph " << graph << ", " << told;
    ASSERT_EQ(other.runtime().lent_blocks(), 0U) << told;
  }
}

}  // namespace
}  // namespace tandem::test
