#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include <tandem/crew.hpp>
#include <tandem/lease.hpp>
#include <tandem/reorder.hpp>

namespace tandem {

/// Lets items out in the order of their sources' numbers, each source for itself. What the graph is done with is passed over.
/// Threads   all by any. Items come out one after the other, in whichever of the threads; none under a lock.
class InOrder {
 public:
  /// out: where they come out. branches: how many items there are of each message; those follow each other in the order in
  /// which the nodes that made them were made.
  InOrder(Outlet& out, std::size_t branches) noexcept : out_{out}, branches_{branches} {}

  /// bit: of Core::add_sequencer(). all_bits: of Core::sequencers().
  void take(std::span<Handle> items, std::uint64_t bit, std::uint64_t all_bits) noexcept;
  /// No item of this message will come; see Member::message_left().
  void skip(std::uint32_t source, std::uint64_t sequence) noexcept;
  /// Drops what waits, and what comes from now on.
  void close() noexcept;

 private:
  void gather(std::uint32_t source, std::uint64_t sequence, Handle item);
  void let_out(std::unique_lock<std::mutex>& lock) noexcept;
  Reorder<Handle>& order_of(std::uint32_t source) {
    const bool is_known = source < orders_.size() && orders_[source];
    return is_known ? *orders_[source] : make_order(source);
  }
  Reorder<Handle>& make_order(std::uint32_t source);

  Outlet& out_;
  const std::size_t branches_;

  std::mutex mutex_;  // guards all below; no handle is dropped and nothing let out under it
  std::vector<std::unique_ptr<Reorder<Handle>>> orders_;                             // by source
  std::map<std::pair<std::uint32_t, std::uint64_t>, std::vector<Handle>> gathered_;  // by source and number
  std::vector<Handle> due_;
  bool emitting_ = false;
  bool closed_ = false;
};

}  // namespace tandem
