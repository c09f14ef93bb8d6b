#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <kissfft/kiss_fftnd.h>
#include <tandem/array.hpp>
#include <tandem/context.hpp>

namespace simulation {

/// What the loop pushes: the field, and the step that it is of.
std::vector<tandem::ArraySpec> frame(int cells);

/// What comes back to the loop.
struct Spectrum {
  std::int64_t step;
  float mean;        // of the field
  float wavelength;  // cells, of the strongest ring of the power spectrum
};

/// The power spectrum of a frame, averaged over directions. Crashes now and then, as such code does.
/// Uses KissFFT, of BSD licence: FFTW is faster, but GPL, which would bind whoever begins with this example.
class Spectrometer {
 public:
  Spectrometer(int cells, int crash_every, int niceness)
      : cells_{cells}, crash_every_{crash_every}, niceness_{niceness} {}
  void start();
  Spectrum operator()(const tandem::Arrays& frame, const tandem::Context& context);

 private:
  float strongest_wavelength() const;

  int cells_;
  int crash_every_;  // frames; 0: never
  int niceness_;     // of its worker: the process is its own
  std::shared_ptr<kiss_fftnd_state> transform_;
  std::vector<kiss_fft_cpx> field_;
  std::vector<kiss_fft_cpx> modes_;
};

/// Writes each frame as a picture, "FOLDER/step-000120.png". Nothing comes back.
class Painter {
 public:
  Painter(std::string folder, int niceness) : folder_{std::move(folder)}, niceness_{niceness} {}
  void start();
  void operator()(const tandem::Arrays& frame);

 private:
  std::string folder_;
  int niceness_;
  std::vector<std::uint8_t> levels_;
};

}  // namespace simulation
