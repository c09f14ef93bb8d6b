#include "analysis.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include <fmt/format.h>
#include <stb/stb_image_write.h>

namespace simulation {

std::vector<tandem::ArraySpec> frame(int cells) {
  return {tandem::array<float>("v", {cells, cells}), tandem::array<std::int64_t>("step", {})};
}

void Spectrometer::start() {
  static_cast<void>(nice(niceness_));
  const int extents[] = {cells_, cells_};
  transform_.reset(kiss_fftnd_alloc(extents, 2, 0, nullptr, nullptr), [](void* state) { std::free(state); });
  if (transform_ == nullptr) throw std::runtime_error("KissFFT has no memory for its tables");
  field_.resize(static_cast<std::size_t>(cells_ * cells_));
  modes_.resize(field_.size());
}

Spectrum Spectrometer::operator()(const tandem::Arrays& frame, const tandem::Context& context) {
  const auto number = static_cast<int>(context.sequence()) + 1;
  if (crash_every_ > 0 && number % crash_every_ == 0) {
    volatile int* volatile nowhere = nullptr;
    *nowhere = 1;  // the memory fault that this example is about
  }
  const auto field = frame.matrix<float>("v");
  std::transform(field.data(), field.data() + field.size(), field_.begin(), [](float value) {
    return kiss_fft_cpx{value, 0};
  });
  kiss_fftnd(transform_.get(), field_.data(), modes_.data());
  return {frame.scalar<std::int64_t>("step"), field.mean(), strongest_wavelength()};
}

float Spectrometer::strongest_wavelength() const {
  std::vector<float> power(static_cast<std::size_t>(cells_ / 2));  // by waves across the square
  for (int row = 0; row < cells_; ++row) {
    const int y = std::min(row, cells_ - row);
    for (int x = 0; x < cells_ / 2; ++x) {  // the other half mirrors this one
      const auto ring = static_cast<std::size_t>(std::lround(std::hypot(x, y)));
      if (ring == 0 || ring >= power.size()) continue;
      const kiss_fft_cpx mode = modes_[static_cast<std::size_t>(row * cells_ + x)];
      power[ring] += (mode.r * mode.r + mode.i * mode.i) / static_cast<float>(ring);
    }
  }
  const auto strongest = std::max_element(power.begin(), power.end()) - power.begin();
  return static_cast<float>(cells_) / static_cast<float>(std::max<std::ptrdiff_t>(strongest, 1));
}

void Painter::start() {
  static_cast<void>(nice(niceness_));
  std::filesystem::create_directories(folder_);
}

void Painter::operator()(const tandem::Arrays& frame) {
  const auto field = frame.matrix<float>("v");
  levels_.resize(static_cast<std::size_t>(field.size()));
  std::transform(field.data(), field.data() + field.size(), levels_.begin(), [](float value) {
    return static_cast<std::uint8_t>(std::clamp(value * 600.0F, 0.0F, 255.0F));
  });
  const std::string path = fmt::format("{}/step-{:06}.png", folder_, frame.scalar<std::int64_t>("step"));
  const int width = static_cast<int>(field.cols());
  if (stbi_write_png(path.c_str(), width, static_cast<int>(field.rows()), 1, levels_.data(), width) == 0)
    throw std::runtime_error(path + ": cannot be written; name another folder with --output");
}

}  // namespace simulation
