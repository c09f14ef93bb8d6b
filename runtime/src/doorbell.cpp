#include <tandem/doorbell.hpp>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include <tandem/error.hpp>

namespace tandem {

PipeBell::PipeBell() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    throw Error(std::string{"cannot make a pipe: "} + std::strerror(errno) +
                "; raise the limit on open files (ulimit -n)");
  }
  heard_at_ = Descriptor{ends[0]};
  rung_at_ = ends[1];
}

PipeBell::~PipeBell() { close(rung_at_); }

bool PipeBell::ring(int rung_at) noexcept {
  while (write(rung_at, "", 1) < 0) {
    if (errno == EAGAIN) return true;  // the pipe is full, which is as good as rung
    if (errno != EINTR) return false;
  }
  return true;
}

void PipeBell::clear() const noexcept {
  char rings[4096];  // once: a worker may ring faster than anybody can read
  [[maybe_unused]] const auto got = read(heard_at(), rings, sizeof rings);
}

EventBell::EventBell() : number_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
  if (!number_) {
    throw Error(std::string{"cannot make an eventfd: "} + std::strerror(errno) +
                "; raise the limit on open files (ulimit -n)");
  }
}

void EventBell::ring(int number) noexcept {
  const std::uint64_t one = 1;
  while (write(number, &one, sizeof one) < 0 && errno == EINTR) {}
}

void EventBell::clear() const noexcept {
  std::uint64_t rings = 0;
  while (read(number(), &rings, sizeof rings) < 0 && errno == EINTR) {}
}

}  // namespace tandem
