#include <tandem/doorbell.hpp>

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include <tandem/error.hpp>

namespace tandem {

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
