#include "program.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace bench {
namespace {

struct Outcome {
  int status = 0;  // as waitpid() says
  std::string text;
};

[[noreturn]] void become(const Command& command, int output, bool quiet) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(output, STDOUT_FILENO);
  if (quiet) dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  execvp(words[0], words.data());
  _exit(127);
}

// Reads up to the end of what the program prints. Who has other processes of its own print there must end them.
std::string read_all(int descriptor, std::chrono::steady_clock::time_point until) {
  std::string text;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    pollfd entry{descriptor, POLLIN, 0};
    if (left <= 0 || poll(&entry, 1, static_cast<int>(left)) <= 0) return text;
    char part[4096];
    const ssize_t count = read(descriptor, part, sizeof part);
    if (count <= 0) return text;
    text.append(part, static_cast<std::size_t>(count));
  }
}

Outcome run(const Command& command, bool quiet, std::chrono::seconds at_most) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    throw std::runtime_error(fmt::format("cannot make a pipe: {}", std::strerror(errno)));
  }
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error(fmt::format("cannot fork: {}", std::strerror(errno)));
  if (child == 0) become(command, ends[1], quiet);
  close(ends[1]);
  const auto until = std::chrono::steady_clock::now() + at_most;
  Outcome outcome{0, read_all(ends[0], until)};
  close(ends[0]);
  if (std::chrono::steady_clock::now() >= until) kill(child, SIGKILL);
  waitpid(child, &outcome.status, 0);
  return outcome;
}

std::string last_line(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  const std::size_t before = text.rfind('\n');
  return std::string{before == std::string_view::npos ? text : text.substr(before + 1)};
}

}  // namespace

double number_from(const Command& command) {
  // Longer than any limit that in_child() has: that one is what ends it.
  const Outcome outcome = run(command, false, std::chrono::hours{24});
  const std::string line = last_line(outcome.text);
  char* end = nullptr;
  const double number = std::strtod(line.c_str(), &end);
  if (outcome.status != 0 || line.empty() || *end != '\0') {
    throw std::runtime_error(
        fmt::format("'{}' ended with wait status {:#x} and '{}' for a last line; wanted 0 and a number",
                    fmt::join(command, " "), outcome.status, line));
  }
  return number;
}

std::optional<std::string> line_from(const Command& command, std::chrono::seconds at_most) {
  const Outcome outcome = run(command, true, at_most);
  if (outcome.status != 0) return std::nullopt;
  return last_line(outcome.text);
}

}  // namespace bench
