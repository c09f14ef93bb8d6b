#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

#include <Eigen/Core>
#include <unsupported/Eigen/CXX11/Tensor>

#include <tandem/array.hpp>
#include <tandem/array_store.hpp>
#include <tandem/context.hpp>

namespace tandem {

namespace detail {

[[noreturn]] void refuse_slice(const Shape& shape, std::size_t first, std::size_t last);
[[noreturn]] void refuse_rank(const Shape& shape, std::size_t rank);
[[noreturn]] void refuse_nothing();
[[noreturn]] void refuse_elements(const Shape& shape, std::size_t found);

}  // namespace detail

/// An array in memory that host and workers share: a handle, which is what crosses to a worker in place of the elements.
/// Made by Runtime::array(), or in a worker by array<T>(context, shape). C order; the elements of a whole array begin at a
/// page, those of a slice at a multiple of their own size.
///
/// Constness  of a handle is that of its elements; SharedArray<const T> is a handle for readers, which any other becomes.
/// Writers    several workers may write disjoint parts of one array at a time. A worker process can write only what it
///            was handed and has asked data() or a view of, through a handle that is not constant.
/// Lifetime   the memory is given back when the last handle is gone, in the host and in calls that are under way. A handle
///            that a worker keeps beyond the call that it came with is refused there.
/// Threads    as a pointer: different handles by different threads.
/// Errors     views throw tandem::Error on a handle of nothing, and on a rank that is not the array's.
template <class T>
  requires Element<std::remove_const_t<T>>
class SharedArray {
 public:
  using value_type = std::remove_const_t<T>;
  static constexpr bool kReadOnly = std::is_const_v<T>;

  /// Of nothing.
  SharedArray() noexcept = default;
  /// For the runtime: elements of `block`, from this byte on.
  SharedArray(std::shared_ptr<ArrayBlock> block, std::size_t first_byte, const Shape& shape)
      : block_{std::move(block)}, first_byte_{first_byte}, shape_{shape} {}
  /// A handle for readers.
  template <class U>
    requires(kReadOnly && std::same_as<U, value_type>)
  SharedArray(const SharedArray<U>& other)  // NOLINT(google-explicit-constructor): as a pointer to constants
      : SharedArray{other.block(), other.first_byte(), other.shape()} {}

  explicit operator bool() const noexcept { return block_ != nullptr; }
  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::size_t size() const noexcept { return block_ ? shape_.elements() : 0; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

  /// The first element. Cost: a look at the handle, so take it, or a view, once for a loop.
  [[nodiscard]] T* data() {
    if constexpr (kReadOnly) {
      return reinterpret_cast<T*>(held().readable() + first_byte_);
    } else {
      return reinterpret_cast<T*>(held().writable() + first_byte_);
    }
  }
  [[nodiscard]] const value_type* data() const {
    return reinterpret_cast<const value_type*>(held().readable() + first_byte_);
  }

  /// Element i of all, in C order; not checked.
  [[nodiscard]] T& operator[](std::size_t i) { return data()[i]; }
  [[nodiscard]] const value_type& operator[](std::size_t i) const { return data()[i]; }
  [[nodiscard]] std::span<T> span() { return {data(), size()}; }
  [[nodiscard]] std::span<const value_type> span() const { return {data(), size()}; }
  [[nodiscard]] T* begin() { return data(); }
  [[nodiscard]] T* end() { return data() + size(); }
  [[nodiscard]] const value_type* begin() const { return data(); }
  [[nodiscard]] const value_type* end() const { return data() + size(); }

  /// Rank 1, 2 and any, as Eigen sees them.
  [[nodiscard]] auto vector() { return vector_at(data()); }
  [[nodiscard]] auto vector() const { return vector_at(data()); }
  [[nodiscard]] auto matrix() { return matrix_at(data()); }
  [[nodiscard]] auto matrix() const { return matrix_at(data()); }
  template <int Rank>
  [[nodiscard]] auto tensor() {
    return tensor_at<Rank>(data());
  }
  template <int Rank>
  [[nodiscard]] auto tensor() const {
    return tensor_at<Rank>(data());
  }

  /// A handle for the part from `first` up to, and without, `last` along the first dimension. Same memory.
  /// Errors    throws Error when there is no such part.
  [[nodiscard]] SharedArray slice(std::size_t first, std::size_t last) const {
    if (shape_.rank() == 0 || first > last || last > shape_[0]) detail::refuse_slice(shape_, first, last);
    const Shape part = shape_.with_first(last - first);
    const std::size_t row = shape_.with_first(1).elements() * sizeof(T);
    return SharedArray{block_, first_byte_ + first * row, part};
  }

  /// Of an array in a file: returns when the system has written the elements of this handle, a slice's too.
  /// Waits     for the disk. Errors: throws Error when the disk refuses, or the array is in no file.
  void sync() const { held().sync(first_byte_, size() * sizeof(T)); }

  /// For the runtime.
  [[nodiscard]] const std::shared_ptr<ArrayBlock>& block() const noexcept { return block_; }
  [[nodiscard]] std::size_t first_byte() const noexcept { return first_byte_; }

 private:
  ArrayBlock& held() const {
    if (!block_) [[unlikely]]
      detail::refuse_nothing();
    return *block_;
  }
  void must_have_rank(std::size_t rank) const {
    if (shape_.rank() != rank) [[unlikely]]
      detail::refuse_rank(shape_, rank);
  }
  Eigen::Index extent(std::size_t i) const { return static_cast<Eigen::Index>(shape_[i]); }

  template <class Pointer, class Plain>
  using MapOf =
      Eigen::Map<std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const Plain, Plain>>;

  template <class Pointer>
  auto vector_at(Pointer data) const {
    must_have_rank(1);
    return MapOf<Pointer, detail::VectorOf<value_type>>{data, extent(0)};
  }
  template <class Pointer>
  auto matrix_at(Pointer data) const {
    must_have_rank(2);
    return MapOf<Pointer, detail::MatrixOf<value_type>>{data, extent(0), extent(1)};
  }
  template <int Rank, class Pointer>
  auto tensor_at(Pointer data) const {
    must_have_rank(Rank);
    using Plain = detail::TensorOf<value_type, Rank>;
    Eigen::array<Eigen::Index, Rank> extents{};
    for (std::size_t i = 0; i < Rank; ++i) extents[i] = extent(i);
    using Mapped = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const Plain, Plain>;
    return Eigen::TensorMap<Mapped>{data, extents};
  }

  std::shared_ptr<ArrayBlock> block_;
  std::size_t first_byte_ = 0;
  Shape shape_;
};

namespace detail {

/// The bytes of so many elements.
/// Errors    throws Error when they do not fit the address space.
template <Element T>
std::size_t bytes_of(const Shape& shape) {
  return array<T>("a shared array", shape).bytes();
}

}  // namespace detail

/// In a body or a call, wherever it runs: an array in shared memory, of indeterminate contents, which may be returned. It lives
/// as long as a handle of it does; one that is not returned ends with the call.
/// Errors    throws MemoryError when there is no room.
/// Waits     in a process, for the host, which keeps the books: about the time of a wake-up.
template <Element T>
[[nodiscard]] SharedArray<T> array(Context& context, const Shape& shape) {
  return SharedArray<T>{context.grant(detail::bytes_of<T>(shape), dtype_of<T>, shape), 0, shape};
}

}  // namespace tandem
