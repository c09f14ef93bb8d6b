#include <tandem/split.hpp>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace tandem {

Split::Split(std::string name, std::vector<std::string> arrays)
    : name_{std::move(name)}, arrays_{std::move(arrays)} {
  for (auto one = arrays_.begin(); one != arrays_.end(); ++one) {
    if (one->empty()) throw Error(fmt::format("node '{}': an array to split has no name", name_));
    if (std::find(arrays_.begin(), one, *one) != one)
      throw Error(fmt::format("node '{}': array '{}' is to be split twice; name it once", name_, *one));
  }
}

const ArraysLayout& Split::rows_of(const NodeInfo& maker) {
  const auto known = rows_.find(maker.index);
  if (known != rows_.end()) return known->second;
  const ArraysLayout& whole = *maker.layout.arrays;
  std::vector<std::string> names = arrays_;
  if (names.empty()) {
    for (const ArraySpec& spec : whole.specs()) names.push_back(spec.name);
  }
  return rows_.emplace(maker.index, whole.rows(names)).first->second;
}

}  // namespace tandem
