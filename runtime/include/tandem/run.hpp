#pragma once

#include <cstddef>
#include <cstdint>

#include <boost/container/small_vector.hpp>

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
  /// What it touches is acted on at its end, or only when somebody comes to look who has promised to.
  enum class Pace : std::uint8_t { at_once, can_wait };

  explicit Run(Pace pace = Pace::at_once) noexcept;
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  /// The pace of this thread's Run.
  static bool can_wait() noexcept;
  /// Flushes what was touched so far, also what that touches in turn.
  void flush() noexcept;

  static void touch(Flushable& one);

 private:
  static Run*& current() noexcept;

  const bool outermost_;
  const Pace pace_;
  boost::container::small_vector<Flushable*, 8> touched_;
};

}  // namespace tandem
