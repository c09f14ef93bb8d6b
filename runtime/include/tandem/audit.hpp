#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

/// The books of a Runtime at one moment, and which of their equations do not hold.
///
///     of each node:       free + lent + withdrawn = all blocks
///     of each commander:  live = messages that somebody holds <= credits,  in the graph <= live
///     of each worker:     what it was asked and has not answered is lent, once, for the message that it was asked
///     of each item:       its message is live; no two have the same block
///
/// Lifetime  a copy; nothing in it changes.
struct Audit {
  struct Blocks {
    std::string node;
    std::uint32_t all = 0;
    std::uint32_t free = 0;
    std::uint32_t lent = 0;       // to workers, edges, queues and consumers
    std::uint32_t withdrawn = 0;  // the system refused memory for them
  };
  struct Messages {
    std::string source;
    std::uint64_t emitted = 0;
    std::uint32_t credits = 0;
    std::uint32_t live = 0;      // somebody holds an item of it
    std::uint32_t in_graph = 0;  // the graph is not done with it
  };

  std::vector<Blocks> blocks;       // one for each producer
  std::vector<Messages> messages;   // one for each commander
  std::vector<std::string> broken;  // an equation each, with its numbers

  [[nodiscard]] bool balanced() const noexcept { return broken.empty(); }
  /// All numbers, and what is broken, a line each.
  [[nodiscard]] std::string text() const;
};

/// If set, called with the books of every runtime at the end of its run. For tests.
inline std::atomic<void (*)(const Audit&)> audit_at_end{nullptr};

}  // namespace tandem
