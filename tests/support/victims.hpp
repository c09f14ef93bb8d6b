#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include <tandem/launcher.hpp>

namespace tandem::test {

/// A process below this one that is to be signalled. The kernel uses the numbers of dead processes again; this
/// names the process itself, so that what dies meanwhile is missed, and nobody else is hit.
class Victim {
 public:
  /// Nothing when no process below this one has that number.
  static std::optional<Victim> find(pid_t pid);

  /// False when it is gone.
  bool send(int signal) const { return send_pidfd_signal(pidfd_.get(), signal) == 0; }
  pid_t pid() const { return pid_; }

 private:
  Victim(pid_t pid, Descriptor pidfd) : pid_{pid}, pidfd_{std::move(pidfd)} {}

  pid_t pid_;
  Descriptor pidfd_;
};

std::vector<Victim> find_victims(const std::vector<pid_t>& pids);
/// Those whose name begins so: "tandem:forks", "tandem:reader#", "tandem:reader#+".
std::vector<Victim> find_victims(const std::string& name);

}  // namespace tandem::test
