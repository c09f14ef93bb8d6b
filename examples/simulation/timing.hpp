#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace simulation {

/// Runs from its construction on.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin_ = Clock::now();
};

/// Seconds of processor time that this thread has had: without what others took from it.
inline double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// What each of several equal turns took for each of its steps, in seconds.
class Turns {
 public:
  template <class Loop>
  void add(int steps, Loop loop) {
    const double before = processor_seconds();
    const Stopwatch watch;
    loop();
    elapsed.push_back(watch.seconds() / steps);
    processor.push_back((processor_seconds() - before) / steps);
  }

  std::vector<double> elapsed;
  std::vector<double> processor;
};

/// Of at least one value.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace simulation
