#pragma once

#include <string>
#include <vector>

namespace bench {

/// One bar of a panel: what was measured, in every round, and beside it what is to be said of it.
struct Bar {
  std::string name;
  std::vector<double> values;
  std::string remark;
  bool ours = false;  // darker than all others
};

struct Panel {
  std::string title;
  std::string scale;  // what its axis is
  std::vector<Bar> bars;
};

/// An SVG picture: medians as bars on a logarithmic axis, from least to most as a line across the end.
/// Panels without a bar are left out.
std::string picture(const std::vector<Panel>& panels);

}  // namespace bench
