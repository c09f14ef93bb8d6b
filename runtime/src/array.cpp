#include <tandem/array.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

namespace tandem {
namespace {

constexpr auto kMostBytes = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());

std::string describe(const Field& field) {
  const std::string count = field.count == 1 ? "" : fmt::format("[{}]", field.count);
  return fmt::format("{}: {}{} at {}", field.name, name_of(field.dtype), count, field.offset);
}

// "uint8", or "record {x: float32 at 0, id: int64 at 8} of 16 bytes".
std::string describe_type(const ArraySpec& spec) {
  if (spec.dtype != Dtype::record) return std::string{name_of(spec.dtype)};
  std::string fields;
  for (const Field& field : spec.fields) {
    if (!fields.empty()) fields += ", ";
    fields += describe(field);
  }
  return fmt::format("record {{{}}} of {} bytes", fields, spec.item_bytes);
}

void check_fields(const ArraySpec& spec) {
  if (spec.dtype != Dtype::record) {
    if (!spec.fields.empty()) {
      throw Error{fmt::format("array '{}' is {} and has fields; only a record has them", spec.name,
                              name_of(spec.dtype))};
    }
    return;
  }
  for (std::size_t i = 0; i < spec.fields.size(); ++i) {
    const Field& field = spec.fields[i];
    const std::size_t scalar_bytes = item_bytes(field.dtype);
    if (field.name.empty()) throw Error{fmt::format("array '{}': field {} has no name", spec.name, i)};
    if (scalar_bytes == 0) {
      throw Error{fmt::format("array '{}': field '{}' is a record; name its own members instead", spec.name,
                              field.name)};
    }
    if (field.offset > spec.item_bytes || field.count > (spec.item_bytes - field.offset) / scalar_bytes) {
      throw Error{fmt::format("array '{}': field '{}' ({} of {} at byte {}) ends past the record's {} bytes",
                              spec.name, field.name, field.count, name_of(field.dtype), field.offset,
                              spec.item_bytes)};
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (spec.fields[j].name == field.name) {
        throw Error{fmt::format("array '{}': two fields are named '{}'", spec.name, field.name)};
      }
    }
  }
}

void check_spec(const ArraySpec& spec, std::size_t i) {
  if (spec.name.empty()) {
    throw Error{fmt::format("array {} ({} with shape {}) has no name; give it one", i, name_of(spec.dtype),
                            to_string(spec.shape))};
  }
  const std::size_t wanted = item_bytes(spec.dtype);
  if (spec.item_bytes == 0 || (wanted != 0 && spec.item_bytes != wanted)) {
    throw Error{fmt::format("array '{}' is {} with elements of {} bytes; wanted {}", spec.name,
                            name_of(spec.dtype), spec.item_bytes,
                            wanted == 0 ? "at least 1" : std::to_string(wanted))};
  }
  check_fields(spec);
  if (spec.partial && spec.shape.rank() == 0) {
    throw Error{fmt::format("array '{}' has no dimension, so none that could be smaller; do without up_to()",
                            spec.name)};
  }
}

[[noreturn]] void refuse_size(const ArraySpec& spec) {
  throw Error{
      fmt::format("array '{}': {} with shape {} needs more than the {} bytes that can be addressed; "
                  "make its shape smaller",
                  spec.name, describe_type(spec), to_string(spec.shape), kMostBytes)};
}

// The bytes of the dimensions from first on, extents of zero counted as one: the stride before them.
std::size_t bytes_from(const ArraySpec& spec, std::size_t first) {
  std::size_t product = spec.item_bytes;
  for (std::size_t i = first; i < spec.shape.rank(); ++i) {
    const std::size_t extent = spec.shape[i] == 0 ? 1 : spec.shape[i];
    if (product > kMostBytes / extent) refuse_size(spec);
    product *= extent;
  }
  return product;
}

}  // namespace

Shape::Shape(std::span<const std::size_t> extents) : rank_{extents.size()} {
  if (rank_ > kMaxRank) {
    throw Error{fmt::format("a shape of {} dimensions; at most {} are possible", rank_, kMaxRank)};
  }
  for (std::size_t i = 0; i < rank_; ++i) extents_[i] = extents[i];
}

void Shape::refuse_negative(long long extent) {
  throw Error{fmt::format("a shape with the extent {}; wanted 0 or more", extent)};
}

std::string to_string(const Shape& shape) {
  return fmt::format("({})", fmt::join(shape.begin(), shape.end(), ", "));
}

std::size_t ArraySpec::bytes() const {
  const std::size_t whole = bytes_from(*this, 0);
  return shape.elements() == 0 ? 0 : whole;
}

std::vector<std::ptrdiff_t> ArraySpec::strides() const {
  std::vector<std::ptrdiff_t> strides;
  for (std::size_t i = 0; i < shape.rank(); ++i) {
    strides.push_back(static_cast<std::ptrdiff_t>(bytes_from(*this, i + 1)));
  }
  return strides;
}

ArraysLayout::ArraysLayout(std::vector<ArraySpec> specs) : specs_{std::move(specs)} {
  has_extents_ = std::any_of(specs_.begin(), specs_.end(), [](const ArraySpec& spec) { return spec.partial; });
  if (has_extents_) bytes_ = (specs_.size() * sizeof(std::uint64_t) + kAlignment - 1) / kAlignment * kAlignment;
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    const ArraySpec& spec = specs_[i];
    check_spec(spec, i);
    if (*find(spec.name) != i) {
      throw Error{fmt::format("two arrays are named '{}'; give each its own name", spec.name)};
    }
    const std::size_t bytes = spec.bytes();
    if (bytes > kMostBytes - bytes_ - (kAlignment - 1)) {
      throw Error{
          fmt::format("array '{}' of {} bytes after {} bytes of other arrays: more than the {} bytes "
                      "that can be addressed; make the shapes smaller",
                      spec.name, bytes, bytes_, kMostBytes)};
    }
    offsets_.push_back(bytes_);
    steps_.push_back(0);
    bytes_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
}

ArraysLayout ArraysLayout::rows(std::span<const std::string> names) const {
  if (names.empty()) throw Error{"there is no array to split"};
  ArraysLayout rows = *this;
  const ArraySpec* fixed = nullptr;  // one whose first extent is the same in all items
  for (const std::string& name : names) {
    const auto found = find(name);
    if (!found) detail::refuse_name(this, name);
    const ArraySpec& spec = specs_[*found];
    if (steps_[*found] != 0) throw Error{fmt::format("array '{}' is a part already", name)};
    if (spec.shape.rank() == 0) {
      throw Error{
          fmt::format("array '{}' has no dimension along which it could be split; name the arrays that are "
                      "to be split without it",
                      name)};
    }
    if (!spec.partial) {
      if (fixed == nullptr) fixed = &spec;
      if (fixed->shape[0] != spec.shape[0]) {
        throw Error{
            fmt::format("arrays '{}' {} and '{}' {} differ in their first extents; declare them equal, or "
                        "name the arrays that are to be split",
                        fixed->name, to_string(fixed->shape), name, to_string(spec.shape))};
      }
    }
    ArraySpec& row = rows.specs_[*found];
    row.shape = Shape{std::span{spec.shape.begin() + 1, spec.shape.end()}};
    row.partial = false;
    rows.steps_[*found] = row.bytes();
  }
  return rows;
}

void Arrays::set_extent(std::string_view name, std::size_t extent) {
  const std::size_t i = index(name);
  const ArraySpec& spec = layout_->specs()[i];
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
  extents.resize(layout.specs().size());
  std::memcpy(extents.data(), block, extents.size() * sizeof extents[0]);
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const Shape& shape = layout.specs()[i].shape;
    if (shape.rank() > 0) extents[i] = std::min<std::uint64_t>(extents[i], shape[0]);
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
