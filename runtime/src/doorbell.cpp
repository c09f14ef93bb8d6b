#include <tandem/doorbell.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include <tandem/error.hpp>

namespace tandem {

PipeBell::PipeBell() {
  if (pipe2(ends_, O_CLOEXEC | O_NONBLOCK) != 0) {
    throw Error(std::string{"cannot make a pipe: "} + std::strerror(errno) +
                "; raise the limit on open files (ulimit -n)");
  }
}

PipeBell::~PipeBell() {
  close(ends_[0]);
  close(ends_[1]);
}

bool PipeBell::ring(int rung_at) noexcept {
  while (write(rung_at, "", 1) < 0) {
    if (errno == EAGAIN) return true;  // the pipe is full, which is as good as rung
    if (errno != EINTR) return false;
  }
  return true;
}

void PipeBell::clear() const noexcept {
  char rings[4096];
  for (;;) {
    const ssize_t got = read(heard_at(), rings, sizeof rings);
    if (got != static_cast<ssize_t>(sizeof rings) && !(got < 0 && errno == EINTR)) return;
  }
}

}  // namespace tandem
