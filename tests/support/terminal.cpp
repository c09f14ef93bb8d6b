#include "terminal.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>

namespace tandem::test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kPatienceSeconds = 20;

// The shell's whole life: starts the program in the foreground, tells how it ended, and keeps the terminal until
// it has been looked at.
[[noreturn]] void be_shell(const std::string& program, int reports, int leave) {
  termios modes{};
  tcgetattr(STDIN_FILENO, &modes);
  modes.c_lflag &= ~static_cast<tcflag_t>(ECHO);   // no "^C" among the output
  modes.c_oflag &= ~static_cast<tcflag_t>(OPOST);  // and line ends as they were written
  tcsetattr(STDIN_FILENO, TCSANOW, &modes);
  signal(SIGTTOU, SIG_IGN);
  setenv("HOST_PROGRAM_OF_TEST", program.c_str(), 1);  // see start_host_program()
  const pid_t pid = fork();
  if (pid == 0) {
    setpgid(0, 0);
    tcsetpgrp(STDIN_FILENO, getpid());
    signal(SIGTTOU, SIG_DFL);
    execl("/proc/self/exe", program.c_str(), nullptr);
    _exit(127);
  }
  setpgid(pid, pid);
  tcsetpgrp(STDIN_FILENO, pid);
  [[maybe_unused]] auto written = write(reports, &pid, sizeof pid);
  int status = 0;
  waitpid(pid, &status, 0);
  written = write(reports, &status, sizeof status);
  char none = 0;
  [[maybe_unused]] const auto got = read(leave, &none, 1);
  _exit(0);
}

int left_until(Clock::time_point end) {
  return static_cast<int>(
      std::max<std::int64_t>(std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count(), 0));
}
Clock::time_point after(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

Terminal::Terminal(const std::string& program) : known_{descendants_of(getpid())} {
  int reports[2];
  int leave[2];
  if (pipe2(reports, O_CLOEXEC) != 0 || pipe2(leave, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  shell_ = forkpty(&keys_, nullptr, nullptr, nullptr);
  if (shell_ < 0) throw std::runtime_error("no terminal");
  if (shell_ == 0) {
    close(leave[1]);
    be_shell(program, reports[1], leave[0]);
  }
  fcntl(keys_, F_SETFD, FD_CLOEXEC);
  close(reports[1]);
  close(leave[0]);
  reports_ = reports[0];
  leave_ = leave[1];
  if (read(reports_, &program_, sizeof program_) != sizeof program_) throw std::runtime_error("no shell");
  tcgetattr(keys_, &modes_);
}

Terminal::~Terminal() {
  if (!status_) kill(-program_, SIGKILL);
  close(leave_);
  waitpid(shell_, nullptr, 0);
  close(reports_);
  close(keys_);
}

void Terminal::press_ctrl_c() const {
  const char key = 3;
  [[maybe_unused]] const auto written = write(keys_, &key, 1);
}

void Terminal::read_some(int milliseconds) {
  pollfd watched{keys_, POLLIN, 0};
  if (poll(&watched, 1, milliseconds) <= 0) return;
  char some[4096];
  const ssize_t got = read(keys_, some, sizeof some);
  if (got > 0) output_.append(some, static_cast<std::size_t>(got));
}

bool Terminal::wait_output(std::size_t characters) {
  const Clock::time_point end = after(kPatienceSeconds);
  while (output_.size() < characters) {
    if (Clock::now() >= end || wait_end(0)) return output_.size() >= characters;
    read_some(100);
  }
  return true;
}

// Reads meanwhile: a full terminal would hold the program up.
std::optional<int> Terminal::wait_end(double seconds) {
  const Clock::time_point end = after(seconds);
  while (!status_) {
    const int left = left_until(end);
    pollfd watched[] = {{reports_, POLLIN, 0}, {keys_, POLLIN, 0}};
    const int ready = poll(watched, 2, left);
    if ((watched[1].revents & POLLIN) != 0) read_some(0);
    if ((watched[0].revents & POLLIN) != 0) {
      int status = 0;
      if (read(reports_, &status, sizeof status) == sizeof status) status_ = status;
    }
    if (ready == 0 || (!status_ && Clock::now() >= end)) break;
  }
  return status_;
}

std::vector<Process> Terminal::wait_gone() {
  std::vector<Process> known = known_;
  known.push_back({shell_, getpid(), '?', ""});
  return wait_no_descendants_but(known, 5);
}

std::string Terminal::output() {
  for (std::size_t before = ~std::size_t{0}; before != output_.size();) {
    before = output_.size();
    read_some(0);
  }
  return output_;
}

bool Terminal::is_as_before() const {
  termios now{};
  tcgetattr(keys_, &now);
  return now.c_iflag == modes_.c_iflag && now.c_oflag == modes_.c_oflag && now.c_cflag == modes_.c_cflag &&
         now.c_lflag == modes_.c_lflag && std::memcmp(now.c_cc, modes_.c_cc, sizeof now.c_cc) == 0;
}

}  // namespace tandem::test
