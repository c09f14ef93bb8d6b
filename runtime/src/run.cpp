#include <tandem/run.hpp>

namespace tandem {

Run*& Run::current() noexcept {
  thread_local Run* run = nullptr;
  return run;
}

Run::Run(Pace pace) noexcept : outermost_{current() == nullptr}, pace_{pace} {
  if (outermost_) current() = this;
}

Run::~Run() {
  if (!outermost_) return;
  flush();
  current() = nullptr;
}

bool Run::can_wait() noexcept { return current() != nullptr && current()->pace_ == Pace::can_wait; }

void Run::flush() noexcept {
  if (!outermost_) return;
  for (std::size_t next = 0; next < touched_.size(); ++next) {
    Flushable* const one = touched_[next];
    touched_[next] = nullptr;  // so that it can be touched again while others are flushed
    one->flush();
  }
  touched_.clear();
}

void Run::touch(Flushable& one) {
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

}  // namespace tandem
