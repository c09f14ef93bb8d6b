#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

namespace tandem {

/// Puts numbered things into their order, when each number is either put or skipped.
///
/// Memory    what waits, plus a ring that grows to the distance between the first number awaited and
///           the furthest that came, up to kLargestRing; what is further away waits in a map.
/// Threads   one at a time.
template <class T>
class Reorder {
 public:
  /// A number that came before, or was passed over, is due at once: nothing is ever lost here.
  void put(std::uint64_t number, T thing) {
    if (number < next_) {
      extra_.push_back(std::move(thing));
      return;
    }
    Place* const place = place_of(number);
    // A second thing with this number follows the first, which may have been far away when it came.
    const bool second =
        (place != nullptr && place->state == State::waiting) || (!far_.empty() && far_.contains(number));
    if (place == nullptr || second) {
      far_.emplace(number, std::move(thing));
    } else {
      place->thing = std::move(thing);
      place->state = State::waiting;
    }
  }

  /// Whether a thing with this number is due at once, and is the first with it, so that it need not be put here: as if it had been put, and
  /// taken when due.
  [[nodiscard]] bool pass(std::uint64_t number) noexcept {
    const bool passes = number == next_ && far_.empty() && extra_.empty() &&
                        (ring_.empty() || ring_[number & (ring_.size() - 1)].state == State::awaited);
    if (passes) ++next_;
    return passes;
  }

  /// Nothing with this number will come. Does nothing when it has come.
  void skip(std::uint64_t number) {
    if (number < next_) return;
    Place* const place = place_of(number);
    if (place == nullptr) {
      far_.emplace(number, std::nullopt);
    } else if (place->state == State::awaited) {
      place->state = State::skipped;
    }
  }

  /// Appends to `due` all that can go now, in order.
  void take_due(std::vector<T>& due) {
    for (T& thing : extra_) due.push_back(std::move(thing));
    extra_.clear();
    for (;;) {
      bool found = false;
      if (!ring_.empty()) {
        Place& place = ring_[next_ & (ring_.size() - 1)];
        found = place.state != State::awaited;
        if (place.state == State::waiting) due.push_back(std::move(place.thing));
        if (found) place = Place{};
      }
      while (!far_.empty() && far_.begin()->first == next_) {
        if (far_.begin()->second) due.push_back(std::move(*far_.begin()->second));
        far_.erase(far_.begin());
        found = true;
      }
      if (!found) return;
      ++next_;
    }
  }

  /// The number that is awaited.
  std::uint64_t next() const noexcept { return next_; }

 private:
  enum class State : std::uint8_t { awaited, waiting, skipped };
  struct Place {
    T thing{};
    State state = State::awaited;
  };

  // Null when the number is too far away for the ring.
  Place* place_of(std::uint64_t number) {
    const std::uint64_t distance = number - next_;
    if (distance >= kLargestRing) return nullptr;
    if (distance >= ring_.size()) grow(distance + 1);
    return &ring_[number & (ring_.size() - 1)];
  }

  void grow(std::uint64_t least) {
    std::uint64_t size = 16;
    while (size < least) size *= 2;
    std::vector<Place> larger(size);
    for (std::uint64_t number = next_; number < next_ + ring_.size(); ++number) {
      larger[number & (size - 1)] = std::move(ring_[number & (ring_.size() - 1)]);
    }
    ring_ = std::move(larger);
  }

  static constexpr std::uint64_t kLargestRing = 1 << 16;

  std::uint64_t next_ = 0;
  std::vector<Place> ring_;                             // a power of two; numbers next_ to next_ + size - 1
  std::multimap<std::uint64_t, std::optional<T>> far_;  // nullopt: skipped
  std::vector<T> extra_;
};

}  // namespace tandem
