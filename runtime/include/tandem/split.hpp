#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <tandem/array.hpp>
#include <tandem/node.hpp>

namespace tandem {

/// What the runtime, and every worker process, knows of a split node.
/// Threads   one at a time: in the host the node's own thread, in a worker process the worker's.
class Split {
 public:
  /// arrays: the names of those that are split; none: all that an item has.
  Split(std::string name, std::vector<std::string> arrays);

  const std::string& name() const noexcept { return name_; }
  const std::vector<std::string>& arrays() const noexcept { return arrays_; }
  /// How a row of the arrays is seen that this node makes. Lifetime: this one's.
  /// Errors    as ArraysLayout::rows().
  const ArraysLayout& rows_of(const NodeInfo& maker);

 private:
  const std::string name_;
  const std::vector<std::string> arrays_;
  std::map<std::uint32_t, ArraysLayout> rows_;  // by node
};

using SplitTable = std::vector<std::unique_ptr<Split>>;

}  // namespace tandem
