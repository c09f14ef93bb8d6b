#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <oneapi/tbb/flow_graph.h>

#include <tandem/tandem.hpp>

namespace tandem::test {

namespace flow = oneapi::tbb::flow;

/// The usual message.
struct Number {
  std::uint64_t value;
};

/// A commander of the numbers from 0.
struct CountTo {
  std::uint64_t last = 0;
  std::uint64_t next = 0;
  std::optional<Number> operator()() {
    if (next == last) return std::nullopt;
    return Number{next++};
  }
};

struct CountForEver {
  std::uint64_t next = 0;
  std::optional<Number> operator()() { return Number{next++}; }
};

/// commander "numbers" -> producer "work" -> sequencer -> stream
template <class Out, class In = Number>
struct Line {
  template <class Commander, class Body>
    requires(!std::is_same_v<Out, Arrays>)
  Line(const Config& config, Commander commander, Body body)
      : runtime{config},
        numbers{graph, runtime, "numbers", std::move(commander)},
        work{graph, runtime, "work", std::move(body)} {
    connect();
  }
  template <class Commander, class Body>
    requires(std::is_same_v<Out, Arrays>)
  Line(const Config& config, Commander commander, std::vector<ArraySpec> specs, Body body)
      : runtime{config},
        numbers{graph, runtime, "numbers", std::move(commander)},
        work{graph, runtime, "work", std::move(specs), std::move(body)} {
    connect();
  }

  /// What comes out until the end: the values, and the errors' texts where there is none.
  struct Outcome {
    std::uint64_t sequence;
    std::optional<Out> value;
    std::optional<Failure> failure;
  };
  std::vector<Outcome> take_all()
    requires(!std::is_same_v<Out, Arrays>)
  {
    std::vector<Outcome> all;
    for (;;) {
      try {
        const auto item = stream.next();
        if (!item) return all;
        all.push_back({item->sequence(), **item, std::nullopt});
      } catch (const ProducerError& error) { all.push_back({error.sequence(), std::nullopt, error.failure()}); }
    }
  }

  Runtime runtime;
  flow::graph graph;
  commander_node<In> numbers;
  producer_node<In, Out> work;
  sequencer_node<Out> order{graph, runtime};
  stream_node<Out> stream{graph, runtime};

 private:
  void connect() {
    flow::make_edge(numbers, work);
    flow::make_edge(work, order);
    flow::make_edge(order, stream);
  }
};

}  // namespace tandem::test

// Compiled once, in line.cpp: most of what a test costs to compile is oneTBB's nodes around these.
extern template class tandem::commander_node<tandem::test::Number>;
extern template class tandem::producer_node<tandem::test::Number, tandem::test::Number>;
extern template class tandem::producer_node<tandem::test::Number, tandem::Arrays>;
extern template class tandem::sequencer_node<tandem::test::Number>;
extern template class tandem::sequencer_node<tandem::Arrays>;
extern template class tandem::stream_node<tandem::test::Number>;
extern template class tandem::stream_node<tandem::Arrays>;

namespace tandem::test {

/// Keeps a processor busy for about so many steps of arithmetic; the compiler cannot drop it.
inline std::uint64_t busy(std::uint64_t steps) {
  std::uint64_t state = steps + 1;
  for (std::uint64_t step = 0; step < steps; ++step)
    state = state * 6364136223846793005U + 1442695040888963407U;
  asm volatile("" : "+r"(state));
  return state;
}

}  // namespace tandem::test
