#pragma once

#include <sys/types.h>
#include <termios.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "processes.hpp"

namespace tandem::test {

/// A terminal with a host program in its foreground, as a shell would have started it there: in a process group
/// of its own, so that Ctrl-C goes to the program and all of its workers, and to nobody else.
class Terminal {
 public:
  /// program: a HOST_PROGRAM of this executable.
  explicit Terminal(const std::string& program);
  /// Kills what is left.
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  /// What the key does: the terminal sends SIGINT to the foreground group.
  void press_ctrl_c() const;
  /// Waits until the program has written so many characters in all. False when it ends before, or takes too long.
  bool wait_output(std::size_t characters);
  /// Waits until the program has ended: its status as waitpid(2) gives it, nothing when it takes longer.
  std::optional<int> wait_end(double seconds);

  // Once it has ended:
  /// Waits for what it has left behind; returns what is left after some seconds.
  std::vector<Process> wait_gone();
  /// All that it and its workers wrote on the terminal.
  std::string output();
  /// Whether the terminal's modes are as they were when the program began.
  bool is_as_before() const;

 private:
  void read_some(int milliseconds);

  std::vector<Process> known_;
  int keys_ = -1;     // the terminal, as the person before it has it
  int reports_ = -1;  // from the shell: the program's number, then its status
  int leave_ = -1;    // the shell goes when it is closed
  pid_t shell_ = -1;
  pid_t program_ = -1;
  termios modes_{};
  std::string output_;
  std::optional<int> status_;
};

}  // namespace tandem::test
