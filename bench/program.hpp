#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace bench {

using Command = std::vector<std::string>;

/// Runs a program and returns the number in the last line that it prints.
/// Lifetime  the program ends with the caller's process, which in_child() gives a limit.
/// Errors    throws std::runtime_error, with the command, when it cannot be run, fails, or prints no number.
double number_from(const Command& command);

/// The last line that a program prints; nothing when it cannot be run, fails, or takes too long. What it
/// says on standard error is dropped: whether something is there is found out so.
std::optional<std::string> line_from(const Command& command,
                                     std::chrono::seconds at_most = std::chrono::seconds{60});

}  // namespace bench
