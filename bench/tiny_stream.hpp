#pragma once

#include <utility>

#include <oneapi/tbb/flow_graph.h>

#include <tandem/tandem.hpp>

#include "consumer.hpp"
#include "setup.hpp"

namespace bench {

/// The pipeline of all tiny variants: numbered messages, a producer "maker" of 64-byte results, order restored.
/// Returns what `use` does, which is given the runtime and the stream.
template <class Commander, class Use>
auto with_tiny_stream(const tandem::Config& config, Commander commander, Use use) {
  tandem::Runtime runtime{config};
  oneapi::tbb::flow::graph graph;
  tandem::commander_node<Message> numbers{graph, runtime, "numbers", std::move(commander)};
  tandem::producer_node<Message, Result> maker{graph, runtime, "maker", make};
  tandem::sequencer_node<Result> order{graph, runtime};
  tandem::stream_node<Result> results{graph, runtime};
  make_edge(numbers, maker);
  make_edge(maker, order);
  make_edge(order, results);
  return use(runtime, results);
}

}  // namespace bench
