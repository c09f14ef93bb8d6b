#include <tandem/array_spec.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include <tandem/error.hpp>

namespace tandem {
namespace {

constexpr auto kMostBytes = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());

std::string describe(const Field& field) {
  const std::string count = field.count == 1 ? "" : fmt::format("[{}]", field.count);
  return fmt::format("{}: {}{} at {}", field.name, name_of(field.dtype), count, field.offset);
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
  if (!spec.growing) return;
  if (spec.partial) {
    throw Error{fmt::format("array '{}' grows, and is also declared with up_to(); choose one", spec.name)};
  }
  if (spec.shape.rank() == 0 || spec.shape[0] != 0) {
    throw Error{fmt::format("array '{}' with shape {} grows along its first dimension; write 0 for that",
                            spec.name, to_string(spec.shape))};
  }
  if (spec.shape.with_first(1).elements() == 0) {
    throw Error{fmt::format("array '{}' with shape {} grows, but a row of it has no element; give it some",
                            spec.name, to_string(spec.shape))};
  }
}

[[noreturn]] void refuse_size(const ArraySpec& spec) {
  throw Error{
      fmt::format("array '{}': {} with shape {} needs more than the {} bytes that can be addressed; "
                  "make its shape smaller",
                  spec.name, detail::describe_type(spec), to_string(spec.shape), kMostBytes)};
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

std::optional<std::size_t> ArraySpec::bytes_of_rows(std::size_t rows) const noexcept {
  std::size_t bytes = item_bytes;
  if (__builtin_mul_overflow(bytes, shape.with_first(1).elements(), &bytes)) return std::nullopt;
  if (__builtin_mul_overflow(bytes, rows, &bytes) || bytes > kMostBytes) return std::nullopt;
  return bytes;
}

ArraysLayout::ArraysLayout(std::vector<ArraySpec> specs) : specs_{std::move(specs)} {
  grows_ = std::any_of(specs_.begin(), specs_.end(), [](const ArraySpec& spec) { return spec.growing; });
  has_extents_ =
      grows_ || std::any_of(specs_.begin(), specs_.end(), [](const ArraySpec& spec) { return spec.partial; });
  bytes_ = (header_words() * sizeof(std::uint64_t) + kAlignment - 1) / kAlignment * kAlignment;
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
    in_store_.push_back(spec.growing);
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
    if (!spec.partial && !spec.growing) {
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
    row.growing = false;
    rows.steps_[*found] = row.bytes();
  }
  return rows;
}

std::string detail::describe_type(const ArraySpec& spec) {
  if (spec.dtype != Dtype::record) return std::string{name_of(spec.dtype)};
  std::string fields;
  for (const Field& field : spec.fields) {
    if (!fields.empty()) fields += ", ";
    fields += describe(field);
  }
  return fmt::format("record {{{}}} of {} bytes", fields, spec.item_bytes);
}

}  // namespace tandem
