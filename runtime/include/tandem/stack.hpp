#pragma once

#include <sys/types.h>

#include <string>

namespace tandem {

/// Where the main thread of another process stands: a line for each call, the innermost first, with function and, where
/// there is debug information, file and line: "busy(unsigned long) (solver.cpp:96)". Ends above Tandem's own
/// loop. Where the system does not let us look, one line that says why and what it says instead.
/// Method    ptrace(2) and the unwinding tables, by elfutils' libdwfl.
/// Waits     for the process to stop, which one that is stuck in the kernel may never do: to be called in a process
///           that somebody else can end.
[[nodiscard]] std::string stack_of(pid_t pid);

}  // namespace tandem
