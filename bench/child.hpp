#pragma once

#include <chrono>
#include <functional>
#include <vector>

namespace bench {

/// Runs `measure` in a fresh process and returns what it returned.
/// Why       each measurement starts from the same small host: no threads of oneTBB that still spin, no
///           warm heap and no page tables from the one before. The caller itself never uses oneTBB, so
///           that its children may.
/// After     whatever `measure` left running is ended; so the caller has no other children meanwhile, and one thread.
/// Errors    throws std::runtime_error with the child's own text, or when it died or ran over the time.
std::vector<double> in_child(const std::function<std::vector<double>()>& measure, std::chrono::seconds at_most);

}  // namespace bench
