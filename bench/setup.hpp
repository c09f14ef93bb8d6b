#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <tandem/config.hpp>

namespace bench {

/// A configuration made in code alone: no file, environment or command line can change a measurement.
/// The nodes with the workers; most variants have one.
inline tandem::Config configure(const char* placement, int workers, std::uint32_t in_flight,
                                const std::vector<std::string>& nodes = {"maker"}) {
  tandem::Config config;
  for (const std::string& node : nodes) {
    config.set("node." + node + ".placement", placement, "bench");
    config.set("node." + node + ".workers", std::to_string(workers), "bench");
  }
  config.set("in_flight", std::to_string(in_flight), "bench");
  return config;
}

/// A message; its number is its place in the order.
struct Message {
  std::uint64_t number;
};

/// The body of every commander: 0, 1, 2 ... up to `count`.
struct Counter {
  std::uint64_t count;
  std::uint64_t next = 0;
  std::optional<Message> operator()() {
    if (next == count) return std::nullopt;
    return Message{next++};
  }
};

}  // namespace bench
