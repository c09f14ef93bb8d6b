#include "victims.hpp"

#include <unistd.h>

#include <fstream>
#include <utility>

#include "processes.hpp"

namespace tandem::test {
namespace {

pid_t parent_of(pid_t pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/status"};
  for (std::string word; file >> word;) {
    if (word != "PPid:") continue;
    pid_t parent = 0;
    file >> parent;
    return parent;
  }
  return 0;
}

}  // namespace

std::optional<Victim> Victim::find(pid_t pid) {
  Descriptor pidfd{open_pidfd(pid)};
  if (!pidfd) return std::nullopt;
  // Afterwards: a number that was used again by now belongs to a process with other parents.
  pid_t above = pid;
  for (int depth = 0; depth < 4 && above > 1; ++depth) {
    above = parent_of(above);
    if (above == getpid()) return Victim{pid, std::move(pidfd)};
  }
  return std::nullopt;
}

std::vector<Victim> find_victims(const std::vector<pid_t>& pids) {
  std::vector<Victim> victims;
  for (const pid_t pid : pids) {
    if (auto victim = Victim::find(pid)) victims.push_back(std::move(*victim));
  }
  return victims;
}

std::vector<Victim> find_victims(const std::string& name) {
  std::vector<pid_t> pids;
  for (const Process& process : descendants_named(name)) pids.push_back(process.pid);
  return find_victims(pids);
}

}  // namespace tandem::test
