#include "child.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>

#include <fmt/format.h>

namespace bench {
namespace {

constexpr char kValues = 'v';
constexpr char kProblem = 'p';

void write_all(int descriptor, const void* data, std::size_t bytes) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = write(descriptor, from, bytes);
    if (written <= 0) _exit(3);
    from += written;
    bytes -= static_cast<std::size_t>(written);
  }
}

[[noreturn]] void measure_and_leave(const std::function<std::vector<double>()>& measure, int descriptor) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // and Tandem's workers end with their host
  try {
    const std::vector<double> values = measure();
    write_all(descriptor, &kValues, 1);
    write_all(descriptor, values.data(), values.size() * sizeof(double));
  } catch (const std::exception& error) {
    write_all(descriptor, &kProblem, 1);
    write_all(descriptor, error.what(), std::strlen(error.what()));
  }
  _exit(0);
}

// Everything up to the end of the pipe; less when the time is over.
std::string read_for(int descriptor, std::chrono::seconds at_most, bool& ended) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  std::string text;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    pollfd entry{descriptor, POLLIN, 0};
    if (left <= 0 || poll(&entry, 1, static_cast<int>(left)) == 0) return text;
    char part[4096];
    const ssize_t count = read(descriptor, part, sizeof part);
    if (count <= 0) {
      ended = true;
      return text;
    }
    text.append(part, static_cast<std::size_t>(count));
  }
}

// What lost its parent with the child came to us, since we are a subreaper (prctl(2)): workers, or the ranks of an
// mpirun that was killed. Nothing of one measurement runs beside the next.
void end_orphans() {
  for (;;) {
    std::ifstream children{fmt::format("/proc/self/task/{}/children", gettid())};
    for (pid_t pid = 0; children >> pid;) kill(pid, SIGKILL);
    if (waitpid(-1, nullptr, 0) < 0 && errno == ECHILD) return;
  }
}

}  // namespace

std::vector<double> in_child(const std::function<std::vector<double>()>& measure,
                             std::chrono::seconds at_most) {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error(fmt::format("cannot make a pipe: {}", std::strerror(errno)));
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  std::fflush(nullptr);  // or whoever flushes in the child prints our text again
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error(fmt::format("cannot fork: {}", std::strerror(errno)));
  if (child == 0) {
    close(ends[0]);
    measure_and_leave(measure, ends[1]);
  }
  close(ends[1]);
  bool ended = false;
  const std::string answer = read_for(ends[0], at_most, ended);
  close(ends[0]);
  if (!ended) kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  end_orphans();
  if (!ended) throw std::runtime_error(fmt::format("pid {} did not end within {} s", child, at_most.count()));
  if (WIFSIGNALED(status)) throw std::runtime_error(fmt::format("killed by signal {}", WTERMSIG(status)));
  if (answer.empty()) throw std::runtime_error("ended without a result");
  if (answer[0] == kProblem) throw std::runtime_error(answer.substr(1));
  std::vector<double> values((answer.size() - 1) / sizeof(double));
  std::memcpy(values.data(), answer.data() + 1, values.size() * sizeof(double));
  return values;
}

}  // namespace bench
