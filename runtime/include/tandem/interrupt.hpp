#pragma once

namespace tandem {

/// What Ctrl-C (SIGINT) does to a host with worker processes that has no handler of its own for it: the workers are ended in order,
/// bodies with their destructors, and then the host by the signal, as if nobody had caught it. To the program
/// that looks like the default action, a few milliseconds late; no item, error or end comes out of the workers
/// meanwhile. A second Ctrl-C ends the host at once, and the kernel the workers.
///
/// One for each pump. The first sets the handler, the last takes it back.
/// Threads   by a thread that blocks all signals; pending() by any.
class Interrupt {
 public:
  /// bell: the number of an EventBell, which is rung when there is something to see.
  explicit Interrupt(int bell);
  /// The signal has its effect when the last one is gone, if it has come.
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  static bool pending() noexcept;

 private:
  int place_ = -1;
};

}  // namespace tandem
