#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "fill.hpp"

namespace bench {

struct Free {
  void operator()(std::byte* array) const noexcept { std::free(array); }
};
using PrivateArray = std::unique_ptr<std::byte[], Free>;

/// A big array that has been touched.
inline PrivateArray warm_array() {
  auto* const array = static_cast<std::byte*>(std::aligned_alloc(64, kBigBytes));
  if (array == nullptr) throw std::bad_alloc{};
  fill(array, 0);
  return PrivateArray{array};
}

/// As many warm arrays as there can be messages, so taking one never waits; the last one that came back
/// goes out first, while it is in cache.
/// Threads   any.
class ArrayPool {
 public:
  explicit ArrayPool(std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
      arrays_.push_back(warm_array());
      free_.push_back(arrays_.back().get());
    }
  }
  std::byte* take() noexcept {
    const std::lock_guard lock{mutex_};
    std::byte* const array = free_.back();
    free_.pop_back();
    return array;
  }
  void give_back(std::byte* array) noexcept {
    const std::lock_guard lock{mutex_};
    free_.push_back(array);
  }

 private:
  std::vector<PrivateArray> arrays_;
  std::mutex mutex_;
  std::vector<std::byte*> free_;
};

}  // namespace bench
