#pragma once

#include <tandem/array_spec.hpp>
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

/// For the runtime: where the body that makes an item gets memory for those of its arrays that grow.
class Growth {
 public:
  /// Makes room for so many rows of array i, which keeps those that it has; its place may be another then.
  virtual void grow(std::size_t i, std::size_t rows) = 0;
  /// For how many rows of array i there is room.
  [[nodiscard]] virtual std::size_t room(std::size_t i) const noexcept = 0;

 protected:
  ~Growth() = default;
};

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
  /// extents: where the numbers are read that a block may begin with (see ArraysLayout); null: there, if there are any.
  /// store: of the arrays that grow, if there are any. growth: in the body that makes them.
  Arrays(const ArraysLayout& layout, std::byte* base, std::uint64_t* extents = nullptr,
         std::byte* store = nullptr, Growth* growth = nullptr)
      : layout_{&layout}, base_{base}, extents_{extents}, store_{store}, growth_{growth} {
    if (extents == nullptr && layout.has_extents()) extents_ = reinterpret_cast<std::uint64_t*>(base);
    TANDEM_CHECK(reinterpret_cast<std::uintptr_t>(base) % ArraysLayout::kAlignment, ==, std::uintptr_t{0},
                 "a block of arrays begins at a multiple of 64 bytes");
  }

  /// How much of a partial array there is, along its first dimension; all of it unless this is called. What was
  /// written beyond is not part of the item. Views that were taken before keep their extents. Of an array that grows: the
  /// same, as far as it has got memory.
  /// Errors    throws tandem::Error when the array is not partial, or has not so much room.
  void set_extent(std::string_view name, std::size_t extent);
  /// In the body that makes the item: from now on an array that grows has so many rows. Those that it had it keeps; further
  /// ones are of indeterminate contents. An item's array has none before the first call.
  /// Views     that were taken before are not of the array any more, and must not be used: it may lie elsewhere.
  /// Cost      memory is taken for half as many rows again as there were at least, so to append row by row is
  ///           linear; more than enough rows, and set_extent() at the end, does without the copies. Without more memory O(1).
  /// Waits     in a process, for the host, when it needs more memory: about the time of a wake-up.
  /// Errors    throws MemoryError, with numbers, when there is no room (key `arrays`); Error when the array does not grow.
  void grow(std::string_view name, std::size_t rows);
  /// The array's shape in this item: as declared, but for the first extent of a partial array, or one that grows.
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
  /// For the runtime: all arrays are whole; those that grow have no rows.
  void make_whole() noexcept;
  /// For the runtime: the numbers that a block begins with, no extent larger than declared. What it says of arrays that grow
  /// is not looked at.
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
  [[nodiscard]] std::byte* data(std::string_view name) { return data_of(index(name)); }
  [[nodiscard]] const std::byte* data(std::string_view name) const { return data_of(index(name)); }

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
    return {data_of(i), shape_of(i), layout_->step(i)};
  }

  template <class T>
  [[nodiscard]] Place locate_aligned(std::string_view name, std::size_t rank) const {
    const Place place = locate<T>(name, rank);
    if (place.step % ArraysLayout::kAlignment != 0) [[unlikely]]
      detail::refuse_alignment(name, place.step);
    return place;
  }

  [[nodiscard]] std::byte* data_of(std::size_t i) const {
    const bool stored = layout_->in_store(i) && extents_[i] > 0;
    std::byte* const begin =
        stored ? store_ + extents_[layout_->specs().size() + i] : base_ + layout_->offset(i);
    return begin + row_ * layout_->step(i);
  }

  // Whoever wrote the extents, none is taken that is larger than declared. Those of arrays that grow were looked at by
  // whoever made this.
  [[nodiscard]] Shape shape_of(std::size_t i) const {
    const ArraySpec& spec = layout_->specs()[i];
    if (spec.growing) return spec.shape.with_first(extents_[i]);
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
  std::uint64_t* extents_ = nullptr;  // by array, then places; null when none is partial or grows
  std::byte* store_ = nullptr;
  Growth* growth_ = nullptr;
  std::size_t row_ = 0;
};

}  // namespace tandem
