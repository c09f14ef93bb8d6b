#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include <tandem/core.hpp>

namespace tandem {

/// How long nothing could move because everything in flight is in the user's hands: nobody but the user can end
/// such a wait, so it ends with an error after `hold_timeout`.
/// Threads   one; made when the wait begins.
class HoldWatch {
 public:
  /// Who waits for an item counts on those from the loans of a feeder; who waits for a loan does not count on others'.
  enum class For : std::uint8_t { item, loan };
  HoldWatch(const Core& core, For wanted) : core_{core}, wanted_{wanted} {}

  /// To be asked now and then, without locks.
  bool expired() {
    const auto now = std::chrono::steady_clock::now();
    const auto seen = std::pair{core_.live_messages(), core_.emitted_messages()};
    if (seen != seen_ || !core_.waits_for_user(wanted_ == For::loan)) {
      seen_ = seen;
      since_ = now;
    }
    return now - since_ >= core_.config().hold_timeout;
  }

  /// Why, and what to do. who: the node that waits.
  std::string text(const std::string& who) const {
    const std::string in_flight = "raise in_flight (" + std::to_string(core_.in_flight()) + ")";
    if (const NodeInfo* const node = core_.starved_node()) {
      return who + ": node '" + node->name +
             "' has no free block for the next item: all are in items that are held outside the graph, or that "
             "wait in a sequencer for the order; give items back before asking for the next, or " +
             in_flight;
    }
    return who + ": all " + std::to_string(core_.live_messages()) +
           " items in flight are held outside the graph, so no other can come; give some back before asking "
           "for "
           "the next, or " +
           in_flight;
  }

 private:
  const Core& core_;
  const For wanted_;
  std::pair<std::uint64_t, std::uint64_t> seen_{0, 0};
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
};

}  // namespace tandem
