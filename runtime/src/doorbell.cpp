#include <tandem/doorbell.hpp>

#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <string>

#include <tandem/error.hpp>

namespace tandem {

void FutexBell::ring() const noexcept {
  static_assert(sizeof(*count_) == sizeof(std::uint32_t));
  static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
  count_->fetch_add(1, std::memory_order_release);
  // Not FUTEX_PRIVATE: the sleeper is another process.
  syscall(SYS_futex, count_, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void FutexBell::wait(std::uint32_t heard) const noexcept {
  syscall(SYS_futex, count_, FUTEX_WAIT, heard, nullptr, nullptr, 0);
}

EventBell::EventBell() : descriptor_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
  if (descriptor_ < 0) {
    throw Error(std::string{"cannot make an event descriptor: "} + std::strerror(errno) +
                "; raise the limit on open files (ulimit -n)");
  }
}

EventBell::~EventBell() { close(descriptor_); }

void EventBell::ring() const noexcept {
  const std::uint64_t one = 1;
  // EAGAIN means that the counter is full, which is as good as rung.
  while (write(descriptor_, &one, sizeof one) < 0 && errno == EINTR) {}
}

void EventBell::clear() const noexcept {
  std::uint64_t count = 0;
  while (read(descriptor_, &count, sizeof count) < 0 && errno == EINTR) {}
}

}  // namespace tandem
