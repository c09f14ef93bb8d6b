#pragma once

#include <string>
#include <string_view>

#include <tandem/config.hpp>
#include <tandem/node.hpp>

namespace tandem {

/// What the host and a spawned worker must have in common, fact by fact, so that the first difference can be told: each
/// ran main for itself, and nothing but main makes them build the same graph.
class Plan {
 public:
  /// One fact: add("node 'reader'", "workers", "4").
  void add(std::string_view about, std::string_view what, std::string_view value);
  /// The settings of the whole runtime.
  void add(const Config& config);
  /// A node in its place: what it is, its settings, the layout of its messages and outputs, and where its blocks lie.
  void add(const NodeInfo& node);

  const std::string& text() const noexcept { return text_; }

  /// "node 'reader': workers = 3 in this process and 4 in the program that started it"; empty when there is none.
  /// Both are texts of plans.
  [[nodiscard]] static std::string first_difference(std::string_view here, std::string_view wanted);

 private:
  std::string text_;  // a line for each fact, its three parts separated
};

}  // namespace tandem
