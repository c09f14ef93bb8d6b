#pragma once

namespace tandem {

/// Lets oneTBB have some threads more than it would by itself, for as long as it lives: a producer
/// with 4 workers on threads is to have 4 threads, also on a machine with 2 processors, and beside
/// what else the program runs in oneTBB.
/// Threads   any.
class ExtraThreads {
 public:
  explicit ExtraThreads(int count);
  ~ExtraThreads();
  ExtraThreads(const ExtraThreads&) = delete;
  ExtraThreads& operator=(const ExtraThreads&) = delete;

  /// Whether all of them are there: the program may keep oneTBB to fewer threads (oneapi::tbb::global_control).
  static bool are_granted() noexcept;

 private:
  int count_;
};

}  // namespace tandem
