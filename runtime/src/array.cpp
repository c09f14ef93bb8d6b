#include <tandem/array.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

namespace tandem {

void Arrays::set_extent(std::string_view name, std::size_t extent) {
  const std::size_t i = index(name);
  const ArraySpec& spec = layout_->specs()[i];
  if (spec.growing) {
    const std::size_t room = growth_ == nullptr ? 0 : growth_->room(i);
    if (extent > room) {
      throw Error{
          fmt::format("array '{}' has memory for {} along its first dimension, and is to have {}; ask for "
                      "more with grow()",
                      name, room, extent)};
    }
    extents_[i] = extent;
    return;
  }
  if (!spec.partial) {
    throw Error{fmt::format("array '{}' always has its declared shape {}; declare it with up_to() to fill less",
                            name, to_string(spec.shape))};
  }
  if (extent > spec.shape[0]) {
    throw Error{
        fmt::format("array '{}' was declared for {} at most along its first dimension, and is to have {}; "
                    "declare more",
                    name, spec.shape[0], extent)};
  }
  extents_[i] = extent;
}

void Arrays::grow(std::string_view name, std::size_t rows) {
  const std::size_t i = index(name);
  if (!layout_->specs()[i].growing) {
    throw Error{fmt::format("array '{}' has its declared shape {}; declare it with grows() to ask for more",
                            name, to_string(layout_->specs()[i].shape))};
  }
  if (growth_ == nullptr) {
    throw Error{fmt::format("array '{}' grows only in the body of the producer that makes it", name)};
  }
  if (rows > growth_->room(i)) growth_->grow(i, rows);
  extents_[i] = rows;
}

void Arrays::make_whole() noexcept {
  if (extents_ == nullptr) return;
  for (std::size_t i = 0; i < layout_->specs().size(); ++i) {
    const Shape& shape = layout_->specs()[i].shape;
    extents_[i] = shape.rank() == 0 ? 0 : shape[0];
  }
}

std::size_t Arrays::count_rows(const ArraysLayout& rows) const {
  std::optional<std::size_t> first;
  for (std::size_t i = 0; i < layout_->specs().size(); ++i) {
    if (layout_->specs()[i].shape.rank() == rows.specs()[i].shape.rank()) continue;  // whole in each
    if (!first) first = i;
    const std::size_t wanted = shape_of(*first)[0];
    if (shape_of(i)[0] == wanted) continue;
    throw Error{
        fmt::format("array '{}' has {} rows in this item, and array '{}' {}; give all of them as many with "
                    "set_extent(), or name the arrays that are to be split",
                    layout_->specs()[*first].name, wanted, layout_->specs()[i].name, shape_of(i)[0])};
  }
  return first ? shape_of(*first)[0] : 0;
}

void Arrays::copy_extents(const ArraysLayout& layout, const std::byte* block,
                          std::vector<std::uint64_t>& extents) {
  if (!layout.has_extents()) return;
  extents.resize(layout.header_words());
  std::memcpy(extents.data(), block, extents.size() * sizeof extents[0]);
  for (std::size_t i = 0; i < layout.specs().size(); ++i) {
    const ArraySpec& spec = layout.specs()[i];
    if (spec.shape.rank() > 0 && !spec.growing) extents[i] = std::min<std::uint64_t>(extents[i], spec.shape[0]);
  }
}

std::vector<std::string_view> Arrays::names() const {
  std::vector<std::string_view> names;
  if (layout_ == nullptr) return names;
  for (const ArraySpec& spec : layout_->specs()) names.emplace_back(spec.name);
  return names;
}

namespace detail {

void refuse_name(const ArraysLayout* layout, std::string_view name) {
  std::vector<std::string> known;
  if (layout != nullptr) {
    for (const ArraySpec& spec : layout->specs()) known.push_back(spec.name);
  }
  throw TypeError{fmt::format("no array is named '{}'; {}", name, suggestion(name, known, "arrays"))};
}

void refuse_type(const ArraySpec& found, const ArraySpec& wanted, std::optional<std::size_t> rank) {
  throw TypeError{fmt::format("array '{}' is {} with shape {}; asked for as {}{}", found.name,
                              describe_type(found), to_string(found.shape), describe_type(wanted),
                              rank ? fmt::format(" with rank {}", *rank) : "")};
}

void refuse_alignment(std::string_view name, std::size_t step) {
  throw TypeError{fmt::format(
      "array '{}': each part of it is {} bytes long, so most begin at no multiple of {}, as matrix(), "
      "vector() and tensor() need it; use span(), or pad the parts to {} bytes",
      name, step, ArraysLayout::kAlignment,
      (step + ArraysLayout::kAlignment - 1) / ArraysLayout::kAlignment * ArraysLayout::kAlignment)};
}

}  // namespace detail
}  // namespace tandem
