#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {

/// So large that one for each worker is lent at first.
inline constexpr std::size_t kLargeBytes = 9 << 20;

/// Writes one byte of each page.
inline void mark(const Number& number, Arrays& out) {
  const auto bytes = out.span<std::uint8_t>("bytes");
  for (std::size_t at = 0; at < bytes.size(); at += 4096)
    bytes[at] = static_cast<std::uint8_t>(number.value + at / 4096);
}

inline bool is_marked(const Arrays& arrays, std::uint64_t value) {
  const auto bytes = arrays.span<std::uint8_t>("bytes");
  for (std::size_t at = 0; at < bytes.size(); at += 4096) {
    if (bytes[at] != static_cast<std::uint8_t>(value + at / 4096)) return false;
  }
  return true;
}

/// commander "numbers" -> "maker" of 9 MiB -> sequencer -> stream
template <class Body>
struct Large {
  Large(const Config& config, std::uint64_t count, Body body)
      : runtime{config},
        numbers{graph, runtime, "numbers", CountTo{count}},
        maker{graph, runtime, "maker", {array<std::uint8_t>("bytes", {kLargeBytes})}, std::move(body)} {
    flow::make_edge(numbers, maker);
    flow::make_edge(maker, order);
    flow::make_edge(order, stream);
  }

  /// So many of the last ones are kept.
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

}  // namespace tandem::test
