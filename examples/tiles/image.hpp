#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tiles {

constexpr std::size_t kChannels = 3;  // red, green, blue

/// A decoded picture: rows from the top, three bytes for each pixel, no gaps.
struct Image {
  std::size_t width = 0;   // pixels
  std::size_t height = 0;  // pixels
  std::vector<std::uint8_t> pixels;

  const std::uint8_t* at(std::size_t column, std::size_t row) const {
    return pixels.data() + (row * width + column) * kChannels;
  }
};

/// Reads a JPEG or PNG.
/// Errors    throws tandem::Error when the file cannot be read, is no picture, or has a side of less than
///           `least_side` pixels; a file that is too small is refused before it is decoded.
Image load_image(const std::string& path, std::size_t least_side);

/// Writes a picture as PNG.
/// Errors    throws tandem::Error.
void write_png(const std::string& path, const Image& image);

/// Mean and standard deviation of each channel, in levels from 0 to 255.
struct Levels {
  std::array<double, kChannels> mean{};
  std::array<double, kChannels> deviation{};
};
Levels levels(const Image& image);

/// Draws square patches of `side` pixels that lie one after another as thumbnails in rows of `per_row`.
Image contact_sheet(std::span<const std::uint8_t> patches, std::size_t side, std::size_t per_row);

}  // namespace tiles
