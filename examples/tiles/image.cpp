#include "image.hpp"

#include <stb/stb_image.h>
#include <stb/stb_image_resize.h>
#include <stb/stb_image_write.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <system_error>

#include <fmt/format.h>
#include <tandem/error.hpp>

namespace tiles {
namespace {

constexpr std::size_t kThumbnailSide = 120;  // pixels
constexpr std::size_t kGap = 6;              // pixels between thumbnails, and around them
constexpr std::uint8_t kPaper = 24;

[[noreturn]] void refuse(const std::string& path, const std::string& problem, const char* remedy) {
  throw tandem::Error(fmt::format("image '{}': {}; {}", path, problem, remedy));
}

std::vector<std::uint8_t> read_bytes(const std::string& path) {
  constexpr const char* kRemedy = "name a readable JPEG or PNG with --image";
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (error || !std::filesystem::exists(status)) {
    refuse(path, error ? error.message() : "no such file", kRemedy);
  }
  // Anything else could keep us waiting for ever.
  if (!std::filesystem::is_regular_file(status)) refuse(path, "not a regular file", kRemedy);
  struct Closer {
    void operator()(std::FILE* file) const { static_cast<void>(std::fclose(file)); }
  };
  const std::unique_ptr<std::FILE, Closer> file{std::fopen(path.c_str(), "rbe")};
  if (file == nullptr) refuse(path, std::generic_category().message(errno), kRemedy);
  std::vector<std::uint8_t> bytes;
  std::array<std::uint8_t, 65536> part;
  while (const std::size_t count = std::fread(part.data(), 1, part.size(), file.get())) {
    bytes.insert(bytes.end(), part.data(), part.data() + count);
    if (bytes.size() > std::numeric_limits<int>::max()) refuse(path, "larger than 2 GiB", kRemedy);
  }
  if (std::ferror(file.get()) != 0) refuse(path, std::generic_category().message(errno), kRemedy);
  return bytes;
}

}  // namespace

Image load_image(const std::string& path, std::size_t least_side) {
  const std::vector<std::uint8_t> bytes = read_bytes(path);
  const int size = static_cast<int>(bytes.size());
  constexpr const char* kRemedy = "name another one with --image";
  int width = 0;
  int height = 0;
  int channels = 0;
  if (stbi_info_from_memory(bytes.data(), size, &width, &height, &channels) == 0) {
    refuse(path, "not a JPEG or PNG", kRemedy);
  }
  const int least = static_cast<int>(least_side);
  if (width < least || height < least) {
    refuse(path, fmt::format("{0} x {1} pixels, but one patch takes {2} x {2}", width, height, least),
           "name a larger one with --image");
  }
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> pixels{
      stbi_load_from_memory(bytes.data(), size, &width, &height, &channels, static_cast<int>(kChannels)),
      &stbi_image_free};
  if (pixels == nullptr) refuse(path, fmt::format("cannot be decoded ({})", stbi_failure_reason()), kRemedy);
  Image image;
  image.width = static_cast<std::size_t>(width);
  image.height = static_cast<std::size_t>(height);
  image.pixels.assign(pixels.get(), pixels.get() + image.width * image.height * kChannels);
  return image;
}

void write_png(const std::string& path, const Image& image) {
  const int width = static_cast<int>(image.width);
  const int done =
      stbi_write_png(path.c_str(), width, static_cast<int>(image.height), static_cast<int>(kChannels),
                     image.pixels.data(), width * static_cast<int>(kChannels));
  if (done == 0) {
    throw tandem::Error(fmt::format("output '{}': cannot be written ({}); name another folder with --output",
                                    path, std::generic_category().message(errno)));
  }
}

Levels levels(const Image& image) {
  std::array<std::uint64_t, kChannels> sum{};
  std::array<std::uint64_t, kChannels> squares{};  // exact: whole numbers, far from overflow
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    const std::uint64_t level = image.pixels[i];
    sum[i % kChannels] += level;
    squares[i % kChannels] += level * level;
  }
  Levels found;
  const double count = static_cast<double>(image.width * image.height);
  for (std::size_t channel = 0; channel < kChannels; ++channel) {
    const double mean = static_cast<double>(sum[channel]) / count;
    found.mean[channel] = mean;
    found.deviation[channel] =
        std::sqrt(std::max(static_cast<double>(squares[channel]) / count - mean * mean, 0.0));
  }
  return found;
}

Image contact_sheet(std::span<const std::uint8_t> patches, std::size_t side, std::size_t per_row) {
  const std::size_t patch_bytes = side * side * kChannels;
  const std::size_t count = patches.size() / patch_bytes;
  const std::size_t rows = (count + per_row - 1) / per_row;
  constexpr std::size_t kPitch = kThumbnailSide + kGap;
  Image sheet;
  sheet.width = per_row * kPitch + kGap;
  sheet.height = rows * kPitch + kGap;
  sheet.pixels.assign(sheet.width * sheet.height * kChannels, kPaper);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t column = kGap + i % per_row * kPitch;
    const std::size_t row = kGap + i / per_row * kPitch;
    std::uint8_t* const corner = sheet.pixels.data() + (row * sheet.width + column) * kChannels;
    stbir_resize_uint8(patches.data() + i * patch_bytes, static_cast<int>(side), static_cast<int>(side), 0,
                       corner, kThumbnailSide, kThumbnailSide, static_cast<int>(sheet.width * kChannels),
                       static_cast<int>(kChannels));
  }
  return sheet;
}

}  // namespace tiles
