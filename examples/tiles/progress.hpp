#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace tiles {

/// How far a run is, on stderr: one line that changes on a terminal, a line now and then otherwise.
class Progress {
 public:
  Progress(std::string label, std::uint64_t total) : label_{std::move(label)}, total_{total} {}
  ~Progress() {
    if (on_terminal_ && shown_) fmt::print(stderr, "\r\033[K");  // makes room for the result
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Says that `done` items of the total are there.
  void update(std::uint64_t done) {
    const Clock::time_point now = Clock::now();
    if (now < next_) return;
    next_ = now + period_;
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    fmt::print(stderr, "{}{}: {} of {} batches, {:.1f} per second{}", on_terminal_ ? "\r\033[K" : "", label_,
               done, total_, static_cast<double>(done) / seconds, on_terminal_ ? "" : "\n");
    static_cast<void>(std::fflush(stderr));
    shown_ = true;
  }

 private:
  using Clock = std::chrono::steady_clock;
  const std::string label_;
  const std::uint64_t total_;
  const bool on_terminal_ = ::isatty(STDERR_FILENO) == 1;
  const Clock::time_point begin_ = Clock::now();
  const std::chrono::milliseconds period_{on_terminal_ ? 100 : 5000};
  Clock::time_point next_ = begin_ + period_;
  bool shown_ = false;
};

}  // namespace tiles
