#pragma once

#include <tandem/dtype.hpp>
#include <tandem/error.hpp>

#include <Eigen/Core>
#include <unsupported/Eigen/CXX11/Tensor>

#include <algorithm>
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

  /// The same array, with a first extent that may be smaller in each item: array<float>("points", {10000, 3}).up_to().
  [[nodiscard]] ArraySpec up_to() && {
    partial = true;
    return std::move(*this);
  }

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

/// Where several arrays lie in one block: each at a 64-byte boundary. When one of them is partial, the block begins with
/// the first extent of each, as a std::uint64_t.
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
  /// Bytes of a block: a multiple of 64; 0 when no array has an element.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  /// How one row of the named arrays is seen in such a block, along their first dimension; the other arrays are whole in
  /// each row. For Arrays::row().
  /// Errors  throws tandem::Error when a name is unknown, or an array has no dimension; when extents differ that are not
  ///         only upper bounds; when these are rows already, or none is named.
  [[nodiscard]] ArraysLayout rows(std::span<const std::string> names) const;
  /// Bytes from one row of array i to the next; 0 when it is whole.
  [[nodiscard]] std::size_t step(std::size_t i) const noexcept { return steps_[i]; }
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
  std::size_t bytes_ = 0;
  bool has_extents_ = false;
};

namespace detail {

[[noreturn]] void refuse_name(const ArraysLayout* layout, std::string_view name);
[[noreturn]] void refuse_type(const ArraySpec& found, const ArraySpec& wanted, std::optional<std::size_t> rank);
[[noreturn]] void refuse_alignment(std::string_view name, std::size_t step);

template <class T>
using MatrixOf = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using VectorOf = Eigen::Matrix<T, Eigen::Dynamic, 1>;
template <class T, int Rank>
using TensorOf = Eigen::Tensor<T, Rank, Eigen::RowMajor>;

}  // namespace detail

/// Views of the arrays in one block; copies nothing and owns nothing. Through a const Arrays they are constant.
/// Lifetime  the block's: until the last handle to the item is gone. The layout must outlive it too.
/// Threads   readers may share it; the item is constant once it has left its producer.
/// Errors    every look-up throws tandem::TypeError when there is no array of that name, or when its dtype or
///           rank differs from the one asked for.
/// Parts     of a split_node: where the part of an array is no multiple of 64 bytes long, matrix(), vector() and tensor(), which
///           promise Eigen that alignment, throw tandem::TypeError, in each part; span() and scalar() view it.
/// Cost      O(number of arrays), no allocation.
class Arrays {
 public:
  /// No arrays: every look-up throws.
  Arrays() noexcept = default;

  /// The arrays of a block. base is aligned to 64 bytes, and may be null only when layout.bytes() is 0.
  /// extents: where the first extents are read that are not as declared, one for each array; null: at the block's
  /// beginning, if there are any.
  Arrays(const ArraysLayout& layout, std::byte* base, std::uint64_t* extents = nullptr)
      : layout_{&layout}, base_{base}, extents_{extents} {
    if (extents == nullptr && layout.has_extents()) extents_ = reinterpret_cast<std::uint64_t*>(base);
    TANDEM_CHECK(reinterpret_cast<std::uintptr_t>(base) % ArraysLayout::kAlignment, ==, std::uintptr_t{0},
                 "a block of arrays begins at a multiple of 64 bytes");
  }

  /// How much of a partial array there is, along its first dimension; all of it unless this is called. What was
  /// written beyond is not part of the item. Views that were taken before keep their extents.
  /// Errors    throws tandem::Error when the array is not partial, or has not so much room.
  void set_extent(std::string_view name, std::size_t extent);
  /// The array's shape in this item: as declared, but for the first extent of a partial array.
  [[nodiscard]] Shape shape(std::string_view name) const { return shape_of(index(name)); }
  /// For the runtime: how many rows there are in this item. rows: of this one's layout.
  /// Errors    throws tandem::Error when the arrays do not have equally many.
  [[nodiscard]] std::size_t count_rows(const ArraysLayout& rows) const;
  /// For the runtime: one of them. Lifetime: as this one's, and that of rows.
  [[nodiscard]] Arrays row(const ArraysLayout& rows, std::size_t number) const noexcept {
    Arrays row = *this;
    row.layout_ = &rows;
    row.row_ = number;
    return row;
  }
  /// For the runtime: all arrays are whole.
  void make_whole() noexcept;
  /// For the runtime: the extents as they stand in a block, none larger than declared.
  static void copy_extents(const ArraysLayout& layout, const std::byte* block,
                           std::vector<std::uint64_t>& extents);

  /// All elements of an array of any rank, in C order.
  template <Element T>
  [[nodiscard]] std::span<T> span(std::string_view name) {
    return span_of<T>(name);
  }
  template <Element T>
  [[nodiscard]] std::span<const T> span(std::string_view name) const {
    return span_of<T>(name);
  }

  /// An array of rank 2 as an Eigen matrix.
  template <Element T>
  [[nodiscard]] auto matrix(std::string_view name) {
    return matrix_of<T, detail::MatrixOf<T>>(name);
  }
  template <Element T>
  [[nodiscard]] auto matrix(std::string_view name) const {
    return matrix_of<T, const detail::MatrixOf<T>>(name);
  }

  /// An array of rank 1 as an Eigen column vector.
  template <Element T>
  [[nodiscard]] auto vector(std::string_view name) {
    return vector_of<T, detail::VectorOf<T>>(name);
  }
  template <Element T>
  [[nodiscard]] auto vector(std::string_view name) const {
    return vector_of<T, const detail::VectorOf<T>>(name);
  }

  /// An array as an Eigen tensor, row-major.
  template <Element T, int Rank>
  [[nodiscard]] auto tensor(std::string_view name) {
    return tensor_of<T, Rank, detail::TensorOf<T, Rank>>(name);
  }
  template <Element T, int Rank>
  [[nodiscard]] auto tensor(std::string_view name) const {
    return tensor_of<T, Rank, const detail::TensorOf<T, Rank>>(name);
  }

  /// The one element of an array of rank 0.
  template <Element T>
  [[nodiscard]] T& scalar(std::string_view name) {
    return *locate<T>(name, 0).template as<T>();
  }
  template <Element T>
  [[nodiscard]] const T& scalar(std::string_view name) const {
    return *locate<T>(name, 0).template as<T>();
  }

  /// The first byte of an array, whatever its type.
  [[nodiscard]] std::byte* data(std::string_view name) { return begin_of(index(name)); }
  [[nodiscard]] const std::byte* data(std::string_view name) const { return begin_of(index(name)); }

  /// What the array of this name is, as declared.
  [[nodiscard]] const ArraySpec& spec(std::string_view name) const { return layout_->specs()[index(name)]; }
  /// How many arrays there are.
  [[nodiscard]] std::size_t size() const noexcept { return layout_ == nullptr ? 0 : layout_->specs().size(); }
  /// The arrays' names, in the order of their declaration; they live as long as the layout.
  [[nodiscard]] std::vector<std::string_view> names() const;
  /// Where the arrays lie; null for an empty Arrays.
  [[nodiscard]] const ArraysLayout* layout() const noexcept { return layout_; }
  /// The block's first byte; null for an empty Arrays.
  [[nodiscard]] std::byte* base() noexcept { return base_; }
  [[nodiscard]] const std::byte* base() const noexcept { return base_; }

 private:
  struct Place {
    std::byte* data;
    Shape shape;
    std::size_t step;

    template <class T>
    [[nodiscard]] T* as() const {
      return reinterpret_cast<T*>(data);
    }
    [[nodiscard]] Eigen::Index extent(std::size_t i) const { return static_cast<Eigen::Index>(shape[i]); }
  };

  [[nodiscard]] std::size_t index(std::string_view name) const {
    if (layout_ != nullptr) {
      if (const auto found = layout_->find(name)) return *found;
    }
    detail::refuse_name(layout_, name);
  }

  template <class T>
  [[nodiscard]] Place locate(std::string_view name, std::optional<std::size_t> rank) const {
    const std::size_t i = index(name);
    const ArraySpec& found = layout_->specs()[i];
    bool same = found.dtype == dtype_of<T> && (!rank || *rank == found.shape.rank());
    if constexpr (Record<T>) same = same && found.item_bytes == sizeof(T) && found.fields == fields_of<T>();
    if (!same) [[unlikely]]
      detail::refuse_type(found, array<T>(std::string{}, Shape{}), rank);
    return {begin_of(i), shape_of(i), layout_->step(i)};
  }

  template <class T>
  [[nodiscard]] Place locate_aligned(std::string_view name, std::size_t rank) const {
    const Place place = locate<T>(name, rank);
    if (place.step % ArraysLayout::kAlignment != 0) [[unlikely]]
      detail::refuse_alignment(name, place.step);
    return place;
  }

  [[nodiscard]] std::byte* begin_of(std::size_t i) const {
    return base_ + layout_->offset(i) + row_ * layout_->step(i);
  }

  // Whoever wrote the extents, none is taken that is larger than declared.
  [[nodiscard]] Shape shape_of(std::size_t i) const {
    const ArraySpec& spec = layout_->specs()[i];
    if (!spec.partial) return spec.shape;
    return spec.shape.with_first(std::min<std::size_t>(extents_[i], spec.shape[0]));
  }

  template <class T>
  [[nodiscard]] std::span<T> span_of(std::string_view name) const {
    const Place place = locate<T>(name, std::nullopt);
    return {place.as<T>(), place.shape.elements()};
  }

  template <class T, class Matrix>
  [[nodiscard]] Eigen::Map<Matrix, Eigen::Aligned64> matrix_of(std::string_view name) const {
    const Place place = locate_aligned<T>(name, 2);
    return {place.as<T>(), place.extent(0), place.extent(1)};
  }

  template <class T, class Vector>
  [[nodiscard]] Eigen::Map<Vector, Eigen::Aligned64> vector_of(std::string_view name) const {
    const Place place = locate_aligned<T>(name, 1);
    return {place.as<T>(), place.extent(0)};
  }

  template <class T, int Rank, class Tensor>
  [[nodiscard]] Eigen::TensorMap<Tensor, Eigen::Aligned> tensor_of(std::string_view name) const {
    const Place place = locate_aligned<T>(name, Rank);
    Eigen::array<Eigen::Index, Rank> extents{};
    for (std::size_t i = 0; i < Rank; ++i) extents[i] = place.extent(i);
    return {place.as<T>(), extents};
  }

  const ArraysLayout* layout_ = nullptr;
  std::byte* base_ = nullptr;
  std::uint64_t* extents_ = nullptr;  // by array; null when none is partial
  std::size_t row_ = 0;
};

}  // namespace tandem
