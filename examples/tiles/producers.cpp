#include "producers.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <span>

namespace tiles {
namespace {

// Draws of our own: the standard library's distributions give other numbers on other libraries.

// A whole number from 0 to count - 1; count is at most 2^32.
std::size_t draw_below(tandem::Random& random, std::size_t count) { return ((random() >> 32) * count) >> 32; }

// A number from low to high: 53 bits of it, as many as a double holds.
double draw_between(tandem::Random& random, double low, double high) {
  return low + (high - low) * (static_cast<double>(random() >> 11) * 0x1p-53);
}

using Curve = std::array<std::uint8_t, 256>;

Curve brightness_curve(double factor) {
  Curve curve;
  for (std::size_t level = 0; level < curve.size(); ++level) {
    const double brighter = std::floor(factor * static_cast<double>(level) + 0.5);
    curve[level] = static_cast<std::uint8_t>(std::min(brighter, 255.0));
  }
  return curve;
}

void copy_row(const std::uint8_t* from, std::uint8_t* to, const Curve& curve) {
  for (std::size_t i = 0; i < kRowValues; ++i) to[i] = curve[from[i]];
}

void mirror_row(const std::uint8_t* from, std::uint8_t* to, const Curve& curve) {
  for (std::size_t column = 0; column < kSide; ++column) {
    const std::uint8_t* const pixel = from + (kSide - 1 - column) * kChannels;
    for (std::size_t i = 0; i < kChannels; ++i) to[column * kChannels + i] = curve[pixel[i]];
  }
}

}  // namespace

std::vector<tandem::ArraySpec> Reader::outputs() {
  return {tandem::array<std::uint8_t>("pixels", {kPatches, kSide, kSide, kChannels}),
          tandem::array<std::int32_t>("origins", {kPatches, 2})};
}

void Reader::operator()(const Request&, tandem::Arrays& out, tandem::Context& context) const {
  tandem::Random& random = context.random();
  std::uint8_t* to = out.span<std::uint8_t>("pixels").data();
  auto origins = out.matrix<std::int32_t>("origins");
  for (Eigen::Index patch = 0; patch < origins.rows(); ++patch) {
    const std::size_t column = draw_below(random, image_->width - kSide + 1);
    const std::size_t row = draw_below(random, image_->height - kSide + 1);
    const bool mirrored = draw_below(random, 2) == 1;
    const Curve curve = brightness_curve(draw_between(random, 0.7, 1.3));
    for (std::size_t line = 0; line < kSide; ++line, to += kRowValues) {
      (mirrored ? mirror_row : copy_row)(image_->at(column, row + line), to, curve);
    }
    origins(patch, 0) = static_cast<std::int32_t>(column);
    origins(patch, 1) = static_cast<std::int32_t>(row);
  }
}

std::vector<tandem::ArraySpec> Normalise::outputs() {
  return {tandem::array<float>("pixels", {kPatches, kSide, kSide, kChannels}),
          tandem::array<std::int32_t>("origins", {kPatches, 2})};
}

Normalise::Normalise(const Levels& levels) {
  for (std::size_t value = 0; value < kRowValues; ++value) {
    const std::size_t channel = value % kChannels;
    const double deviation = std::max(levels.deviation[channel], 1.0);  // a channel may have one level only
    const auto i = static_cast<Eigen::Index>(value);
    scale_[i] = static_cast<float>(1.0 / deviation);
    offset_[i] = static_cast<float>(-levels.mean[channel] / deviation);
  }
}

void Normalise::operator()(const tandem::Arrays& in, tandem::Arrays& out) const {
  const std::span<const std::uint8_t> from = in.span<std::uint8_t>("pixels");
  const std::span<float> to = out.span<float>("pixels");
  using Bytes = Eigen::Map<const Eigen::Array<std::uint8_t, kRowValues, 1>>;
  for (std::size_t at = 0; at < from.size(); at += kRowValues) {
    Eigen::Map<Row>{to.data() + at} = Bytes{from.data() + at}.cast<float>() * scale_ + offset_;
  }
  out.matrix<std::int32_t>("origins") = in.matrix<std::int32_t>("origins");
}

}  // namespace tiles
