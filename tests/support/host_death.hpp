#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>

// A whole host that is killed, and how long its processes and its memory take to be gone.

namespace tandem::test {

/// Bytes that are in shared memory on this machine, in whosoever hands: Shmem of /proc/meminfo.
std::uint64_t shared_memory_bytes();

/// The memory files of Tandem that a process has mapped or open, by inode.
std::set<std::uint64_t> memory_files_of(pid_t pid);
/// Whether any process has one of these mapped or open.
bool anybody_has(const std::set<std::uint64_t>& files);

struct HostDeath {
  std::string failure;  // empty: all is well
  std::uint64_t memory_bytes = 0;
  std::chrono::duration<double, std::milli> processes_gone{0};
  std::chrono::duration<double, std::milli> memory_gone{0};
};

/// Starts a host, which writes a letter to its standard output for each item; kills it after so many and a moment
/// later; waits until everything that it had is gone.
/// start         starts it with this standard output
/// a_moment      passes some time
/// least_bytes   what it has in shared memory by then, at least
HostDeath kill_host(const std::function<pid_t(int standard_output)>& start, std::uint64_t letters,
                    const std::function<void()>& a_moment, std::uint64_t least_bytes);

}  // namespace tandem::test
