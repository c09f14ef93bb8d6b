#pragma once

#include <cstddef>
#include <vector>

namespace tandem {

/// Something that collects work and acts on it once per run: a crew that sends its requests, a
/// stream that wakes its consumer.
class Flushable {
 public:
  virtual void flush() noexcept = 0;

 protected:
  ~Flushable() = default;
};

/// A run of items that one thread hands through the graph in one go. While a Run lives, whatever
/// the items touch is remembered instead of flushed, and flushed once at its end: one bell for many
/// items. Without a Run, touch() flushes at once.
/// Threads   a Run belongs to the thread that made it; nested ones join the outermost.
class Run {
 public:
  Run() noexcept : outermost_{current() == nullptr} {
    if (outermost_) current() = this;
  }
  ~Run() {
    if (!outermost_) return;
    flush();
    current() = nullptr;
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  /// Flushes what was touched so far, also what that touches in turn.
  void flush() noexcept {
    if (!outermost_) return;
    for (std::size_t next = 0; next < touched_.size(); ++next) {
      Flushable* const one = touched_[next];
      touched_[next] = nullptr;  // so that it can be touched again while others are flushed
      one->flush();
    }
    touched_.clear();
  }

  static void touch(Flushable& one) {
    Run* const run = current();
    if (run == nullptr) {
      one.flush();
      return;
    }
    for (const Flushable* known : run->touched_) {
      if (known == &one) return;
    }
    run->touched_.push_back(&one);
  }

 private:
  static Run*& current() noexcept {
    thread_local Run* run = nullptr;
    return run;
  }

  const bool outermost_;
  std::vector<Flushable*> touched_;
};

}  // namespace tandem
