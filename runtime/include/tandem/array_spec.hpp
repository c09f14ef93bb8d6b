#pragma once

#include <tandem/dtype.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace tandem {

/// The extents of an array: up to eight, held in place. No extents: a single element.
class Shape {
 public:
  static constexpr std::size_t kMaxRank = 8;

  constexpr Shape() noexcept = default;

  /// From extents of any integer type: Shape{64, 256, 256, 3}.
  /// Errors  throws tandem::Error when one is negative.
  template <class... Extents>
    requires(sizeof...(Extents) > 0 && sizeof...(Extents) <= kMaxRank && (std::integral<Extents> && ...))
  constexpr Shape(Extents... extents) : extents_{checked(extents)...}, rank_{sizeof...(Extents)} {}

  /// From a list whose length is known at run time.
  /// Errors  throws tandem::Error when it is longer than kMaxRank.
  explicit Shape(std::span<const std::size_t> extents);

  [[nodiscard]] constexpr std::size_t rank() const noexcept { return rank_; }
  [[nodiscard]] constexpr std::size_t operator[](std::size_t i) const noexcept { return extents_[i]; }
  [[nodiscard]] constexpr const std::size_t* begin() const noexcept { return extents_.data(); }
  [[nodiscard]] constexpr const std::size_t* end() const noexcept { return extents_.data() + rank_; }

  /// The number of elements: 1 without extents. Meaningful once an ArraysLayout has checked it for overflow.
  [[nodiscard]] constexpr std::size_t elements() const noexcept {
    std::size_t product = 1;
    for (const std::size_t extent : *this) product *= extent;
    return product;
  }

  /// The same with another first extent. For a rank of at least 1.
  [[nodiscard]] constexpr Shape with_first(std::size_t extent) const noexcept {
    Shape changed = *this;
    changed.extents_[0] = extent;
    return changed;
  }

  constexpr bool operator==(const Shape&) const noexcept = default;

 private:
  template <std::integral Extent>
  static constexpr std::size_t checked(Extent extent) {
    if constexpr (std::is_signed_v<Extent>) {
      if (extent < 0) refuse_negative(extent);
    }
    return static_cast<std::size_t>(extent);
  }
  [[noreturn]] static void refuse_negative(long long extent);

  std::array<std::size_t, kMaxRank> extents_{};  // zero past rank_, so that == may compare all
  std::size_t rank_ = 0;
};

/// The shape as messages show it: "(64, 256, 256, 3)", "(7)", "()".
[[nodiscard]] std::string to_string(const Shape& shape);

/// What one array is: its name, element type and extents. C order, without gaps.
struct ArraySpec {
  std::string name;
  Dtype dtype = Dtype::uint8;
  Shape shape;
  std::size_t item_bytes = 1;
  std::vector<Field> fields;  ///< of a record; else empty
  /// The first extent is the most that there can be: the producer says for each item how much there is, see
  /// Arrays::set_extent(). Memory is set aside for all of it.
  bool partial = false;
  /// How much there is along the first dimension is known only while an item is made: declared with 0 there. The
  /// producer asks for memory as it goes, see Arrays::grow(); none is set aside.
  bool growing = false;

  /// The same array, with a first extent that may be smaller in each item: array<float>("points", {10000, 3}).up_to().
  [[nodiscard]] ArraySpec up_to() && {
    partial = true;
    return std::move(*this);
  }

  /// The same array, whose producer says for each item how many rows it has, and gets memory for as many as there is
  /// room for (key `arrays`): array<float>("points", {0, 3}).grows().
  [[nodiscard]] ArraySpec grows() && {
    growing = true;
    return std::move(*this);
  }

  /// The bytes of so many rows: of the array with another first extent. Nothing when they do not fit a ptrdiff_t.
  [[nodiscard]] std::optional<std::size_t> bytes_of_rows(std::size_t rows) const noexcept;

  /// The bytes of the whole array; an extent of zero makes it 0.
  /// Errors  throws tandem::Error, with the array's name, when they do not fit a ptrdiff_t.
  [[nodiscard]] std::size_t bytes() const;

  /// Bytes from one element to the next along each dimension.
  /// Errors  as bytes().
  [[nodiscard]] std::vector<std::ptrdiff_t> strides() const;

  bool operator==(const ArraySpec&) const = default;
};

/// Describes an array of T: array<std::uint8_t>("pixels", {64, 256, 256, 3}).
template <Element T>
[[nodiscard]] ArraySpec array(std::string name, Shape shape) {
  return {std::move(name), dtype_of<T>, shape, sizeof(T), fields_of<T>()};
}

/// Where several arrays lie in one block: each at a 64-byte boundary. When one of them is partial or grows, the block begins
/// with the first extent of each, as a std::uint64_t. When one grows, there follows where in the store of shared arrays
/// each begins, in bytes: what grows has no place in the block itself.
/// Threads  constant once made; shared freely.
class ArraysLayout {
 public:
  static constexpr std::size_t kAlignment = 64;

  /// Errors  throws tandem::Error for an empty or repeated name, an element size or fields that do not fit the
  ///         dtype, and sizes beyond the address space.
  explicit ArraysLayout(std::vector<ArraySpec> specs);

  [[nodiscard]] const std::vector<ArraySpec>& specs() const noexcept { return specs_; }
  /// Bytes from the block's beginning to array i.
  [[nodiscard]] std::size_t offset(std::size_t i) const noexcept { return offsets_[i]; }
  /// Whether the block begins with extents.
  [[nodiscard]] bool has_extents() const noexcept { return has_extents_; }
  /// Whether one of the arrays grows.
  [[nodiscard]] bool grows() const noexcept { return grows_; }
  /// The numbers that the block begins with: how many.
  [[nodiscard]] std::size_t header_words() const noexcept {
    return (grows_ ? 2 : std::size_t{has_extents_}) * specs_.size();
  }
  /// Bytes of a block: a multiple of 64; 0 when no array has an element.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  /// How one row of the named arrays is seen in such a block, along their first dimension; the other arrays are whole in
  /// each row. For Arrays::row().
  /// Errors  throws tandem::Error when a name is unknown, or an array has no dimension; when extents differ that are not
  ///         only upper bounds; when these are rows already, or none is named.
  [[nodiscard]] ArraysLayout rows(std::span<const std::string> names) const;
  /// Bytes from one row of array i to the next; 0 when it is whole.
  [[nodiscard]] std::size_t step(std::size_t i) const noexcept { return steps_[i]; }
  /// Whether array i, or what its rows are of, lies in the store of shared arrays.
  [[nodiscard]] bool in_store(std::size_t i) const noexcept { return in_store_[i]; }
  /// The index of the array with this name.
  [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const noexcept {
    for (std::size_t i = 0; i < specs_.size(); ++i) {
      if (specs_[i].name == name) return i;
    }
    return std::nullopt;
  }

 private:
  std::vector<ArraySpec> specs_;
  std::vector<std::size_t> offsets_;
  std::vector<std::size_t> steps_;
  std::vector<bool> in_store_;
  std::size_t bytes_ = 0;
  bool has_extents_ = false;
  bool grows_ = false;
};

namespace detail {

[[noreturn]] void refuse_name(const ArraysLayout* layout, std::string_view name);
/// "uint8", or "record {x: float32 at 0, id: int64 at 8} of 16 bytes".
std::string describe_type(const ArraySpec& spec);

}  // namespace detail

}  // namespace tandem
