#pragma once

#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

#include <Eigen/Core>
#include <tandem/array.hpp>

#include "producers.hpp"

namespace tiles {

/// Mean and standard deviation of each channel of all that was added.
/// Method    differences from a guess of the mean (the mean so far) are summed, and the sums of parts merged:
///           Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983. Within a row of a
///           patch the sums are floats, of 64 terms each; all others are doubles.
class ChannelStatistics {
 public:
  using Channels = Eigen::Array<double, kChannels, 1>;

  /// Adds one patch.
  void add(std::span<const float> patch) {
    const Lanes<float> guess = mean_.cast<float>().replicate<kLanes / kChannels, 1>();
    Lanes<double> sum = Lanes<double>::Zero();
    Lanes<double> squares = Lanes<double>::Zero();
    for (std::size_t row = 0; row < patch.size(); row += kRowValues) {
      Lanes<float> row_sum = Lanes<float>::Zero();
      Lanes<float> row_squares = Lanes<float>::Zero();
      for (std::size_t at = row; at < row + kRowValues; at += kLanes) {
        const Lanes<float> difference = Eigen::Map<const Lanes<float>>{&patch[at]} - guess;
        row_sum += difference;
        row_squares += difference.square();
      }
      sum += row_sum.cast<double>();
      squares += row_squares.cast<double>();
    }
    merge(guess.head<kChannels>().cast<double>(), static_cast<double>(patch.size() / kChannels), folded(sum),
          folded(squares));
  }

  const Channels& mean() const { return mean_; }
  Channels deviation() const { return (squares_ / count_).sqrt(); }

 private:
  static constexpr std::size_t kLanes = 12;  // whole pixels and whole vectors of 4 floats, all in registers
  static_assert(kRowValues % kLanes == 0 && kLanes % kChannels == 0);
  template <class T>
  using Lanes = Eigen::Array<T, kLanes, 1>;

  static Channels folded(const Lanes<double>& lanes) {
    return lanes.reshaped<Eigen::ColMajor>(Eigen::fix<kChannels>, Eigen::fix<kLanes / kChannels>)
        .rowwise()
        .sum();
  }

  // sum and squares are those of `count` differences from the guess.
  void merge(const Channels& guess, double count, const Channels& sum, const Channels& squares) {
    const Channels step = guess + sum / count - mean_;  // from the mean so far to the part's
    const double all = count_ + count;
    squares_ += squares - sum.square() / count + step.square() * (count_ * count / all);
    mean_ += step * (count / all);
    count_ = all;
  }

  double count_ = 0;
  Channels mean_ = Channels::Zero();
  Channels squares_ = Channels::Zero();  // of the differences from the mean, summed
};

/// XXH3 over all bytes that were added, in their order.
class Checksum {
 public:
  Checksum() : state_{XXH3_createState()} {
    if (state_ == nullptr || XXH3_64bits_reset(state_.get()) != XXH_OK) throw std::bad_alloc{};
  }
  template <class T>
  void add(std::span<const T> values) {
    static_cast<void>(XXH3_64bits_update(state_.get(), values.data(), values.size_bytes()));
  }
  std::uint64_t value() const { return XXH3_64bits_digest(state_.get()); }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { static_cast<void>(XXH3_freeState(state)); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

/// The consumer: goes over a batch once, patch by patch, so that the second look finds it in the cache.
class Consumer {
 public:
  void add(const tandem::Arrays& batch) {
    const std::span<const float> pixels = batch.span<float>("pixels");
    for (std::size_t at = 0; at < pixels.size(); at += kPatchValues) {
      const std::span<const float> patch = pixels.subspan(at, kPatchValues);
      statistics_.add(patch);
      checksum_.add(patch);
    }
    checksum_.add(batch.span<std::int32_t>("origins"));
    bytes_ += batch.layout()->bytes();
  }

  const ChannelStatistics& statistics() const { return statistics_; }
  std::uint64_t checksum() const { return checksum_.value(); }
  std::size_t bytes() const { return bytes_; }

 private:
  ChannelStatistics statistics_;
  Checksum checksum_;
  std::size_t bytes_ = 0;
};

}  // namespace tiles
