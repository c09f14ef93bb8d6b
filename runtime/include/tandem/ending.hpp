#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include <tandem/source.hpp>

namespace tandem {

/// Ends the sources of split nodes: when nothing can come to any of these nodes any more. Each may be behind another, and
/// which is behind which nobody knows.
///
/// An item on its way to a split node is in the count of its own source's messages in the graph; then it is an input of the
/// node, counted before the first count lets go of it; then there are parts, in the count of the node's source before the
/// input is gone. So it is in one of these counts at any time, and once the origins (the other sources) are drained, which
/// stays so, all is over when all counts are zero at one time. They cannot be looked at at one time: see nothing_moves().
///
/// Threads   add...() before the run; look() by any thread, whenever a source was drained, or one of these became quiet.
class Ending {
 public:
  void add_origin(const Source& source) { origins_.push_back(&source); }
  void add_split(Source& source) { splits_.push_back(&source); }

  /// Finishes the sources of split nodes, once, if all is over. Never waits.
  void look() noexcept;

 private:
  bool origins_are_drained() const noexcept;
  std::uint64_t inputs_begun() const noexcept;
  bool nothing_moves() const noexcept;

  std::vector<const Source*> origins_;
  std::vector<Source*> splits_;
  std::atomic<bool> over_{false};
};

}  // namespace tandem
