#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <tandem/config.hpp>
#include <tandem/error.hpp>

namespace tandem {

/// What one stream does at the place of an item that carries an error: what `on_error` says of the node in which
/// the error arose, whatever nodes it passed since. Counts what is skipped.
/// Threads   rule() by one thread at a time, in the order of delivery: so the outcome is the same whoever made
///           the items. skipped() by any thread.
class ErrorPolicy {
 public:
  /// config  must outlive this, and is constant by the first rule()
  explicit ErrorPolicy(const Config& config) : config_{config} {}

  /// What is to be done with one item.
  struct Ruling {
    bool skip = false;    ///< pass it over; otherwise hand it out
    std::string warning;  ///< a line for the log, if not empty
  };

  /// Decides about the next item, which carries this failure.
  /// Errors    throws ProducerError for a node with on_error = "throw"; TooManyErrors for one with "skip" whose
  ///           max_errors are skipped already.
  Ruling rule(const Failure& failure);

  /// How many items were skipped, over all nodes.
  [[nodiscard]] std::uint64_t skipped() const noexcept {
    return skipped_.load(std::memory_order_relaxed);  // a number for people; it orders nothing
  }

 private:
  // The failures that share a reason.
  struct Group {
    Failure first;
    std::vector<std::uint64_t> messages;  // the first few
    std::uint64_t count = 0;
  };
  // One node's failures, while it skips.
  struct Tally {
    NodeConfig settings;
    TooManyErrors::Record record;
    std::vector<Group> groups;  // the first few reasons
    std::uint64_t skipped = 0;
  };

  static void count(Tally& tally, const Failure& failure);
  static std::string summary(const Tally& tally);

  const Config& config_;
  std::map<std::string, Tally, std::less<>> tallies_;  // by node
  std::atomic<std::uint64_t> skipped_{0};
};

}  // namespace tandem
