#include "workers.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>

#include <fmt/format.h>

namespace bench {

void fork_workers(int count, const std::function<void(int worker)>& serve) {
  std::fflush(nullptr);
  const pid_t host = getpid();
  for (int worker = 0; worker < count; ++worker) {
    const pid_t child = fork();
    if (child < 0) throw std::runtime_error(fmt::format("cannot fork: {}", std::strerror(errno)));
    if (child > 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != host) _exit(1);  // it ended before the line above
    try {
      serve(worker);
    } catch (const std::exception& error) {
      fmt::print(stderr, "worker {}: {}\n", worker, error.what());
      _exit(1);
    }
    _exit(0);
  }
}

}  // namespace bench
