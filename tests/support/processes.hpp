#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace tandem::test {

/// One process, as /proc/PID/stat shows it.
struct Process {
  pid_t pid = -1;
  pid_t parent = -1;
  char state = '?';  // proc(5): R, S, D, Z, ...
  std::string name;
};

/// The processes below `root`, at any depth; zombies too.
std::vector<Process> descendants_of(pid_t root);

/// The descendants of this process whose name begins so: "tandem:forks", "tandem:reader#".
std::vector<Process> descendants_named(const std::string& beginning);

/// Of the Runtimes of this process. Not what a server has just forked, which still has its name: who stopped that would stop a worker
/// that nobody knows of yet, for ever.
std::vector<Process> fork_servers();

/// Waits until every process in `which` that still exists has ended, and reaps those that are our own
/// children. Returns what is left after `seconds`.
std::vector<Process> wait_gone(std::vector<Process> which, double seconds);

/// Waits until this process has no descendant that is not in `known`; reaps what was left to it.
/// Returns those that are left after `seconds`.
std::vector<Process> wait_no_descendants_but(const std::vector<Process>& known, double seconds);

/// "tandem:reader#0 (pid 4711, state S)", one after another.
std::string describe(const std::vector<Process>& processes);

}  // namespace tandem::test
