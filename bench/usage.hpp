#pragma once

#include <sys/types.h>

#include <string_view>

#include <tandem/runtime.hpp>

namespace bench {

/// A line "VmRSS:   1234 kB" of /proc/PID/status (proc_pid_status(5)). VmRSS = RssAnon + RssFile + RssShmem: the
/// blocks that the process has touched are in RssShmem, and count once in each process that touched them.
/// Errors    throws std::runtime_error when there is no such process or line.
double kibibytes_of(pid_t pid, std::string_view key);

/// Seconds on a processor so far: the host with all its threads, its workers and their fork servers. Exact, also
/// for those that run at this moment (clock_getcpuclockid(3)).
/// Errors    throws std::runtime_error when a worker has ended: ask before the last item is taken.
double processor_seconds(const tandem::Runtime& runtime);

}  // namespace bench
