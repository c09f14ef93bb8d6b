#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include <tandem/error.hpp>

namespace tandem {

/// Up to Most values of T: what a producer makes of one message when it makes several items, or none. A split_node takes them
/// apart. Empty when a body or a feeder's loop gets it.
/// Memory    room for Most values in each item.
template <class T, std::size_t Most>
class Several {
  static_assert(std::is_trivially_copyable_v<T> && std::is_default_constructible_v<T>,
                "what is in a Several lives in shared memory: it must be trivially copyable");
  static_assert(Most > 0);

 public:
  using value_type = T;

  /// Errors    throws Error when there is no room for another.
  void push_back(const T& value) {
    if (size() == Most)
      throw Error("a Several has room for " + std::to_string(Most) +
                  ", and one more was put into it; declare more");
    places_[size()] = value;
    ++count_;
  }
  void clear() noexcept { count_ = 0; }

  [[nodiscard]] std::size_t size() const noexcept { return std::min<std::size_t>(count_, Most); }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] static constexpr std::size_t capacity() noexcept { return Most; }
  [[nodiscard]] const T& operator[](std::size_t place) const { return places_[place]; }
  [[nodiscard]] T& operator[](std::size_t place) { return places_[place]; }
  [[nodiscard]] const T* begin() const noexcept { return places_.data(); }
  [[nodiscard]] const T* end() const noexcept { return begin() + size(); }

  /// For nodes: the count, read once, since the worker that wrote it may do so again; and where a value lies.
  [[nodiscard]] std::size_t read_size() noexcept {
    return std::min<std::size_t>(std::atomic_ref{count_}.load(std::memory_order_relaxed), Most);
  }
  [[nodiscard]] std::size_t offset_of(std::size_t place) const noexcept {
    return static_cast<std::size_t>(reinterpret_cast<const std::byte*>(&places_[place]) -
                                    reinterpret_cast<const std::byte*>(this));
  }

 private:
  std::uint64_t count_ = 0;
  std::array<T, Most> places_;
};

template <class T>
inline constexpr bool kIsSeveral = false;
template <class T, std::size_t Most>
inline constexpr bool kIsSeveral<Several<T, Most>> = true;

}  // namespace tandem
