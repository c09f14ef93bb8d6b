#pragma once

#include <vector>

#include "report.hpp"

namespace bench {

// What Tandem's variants are called in the tables.
inline constexpr const char* kProcesses = "tandem processes";
inline constexpr const char* kThreads = "tandem threads";

// One function for each part of the program; each measures, prints its table and leaves its figures.

/// Messages per second of 64-byte results: the price of a message.
void run_tiny(const Options& options, Report& report);
std::vector<Variant> tiny_variants(const Options& options);
/// Bytes per second of 12.6 MB arrays: the price of the way that they take.
void run_big(const Options& options, Report& report);
std::vector<Variant> big_variants(const Options& options);
/// Messages per second of bodies of which some take long: the price of order.
void run_order(const Options& options, Report& report);
/// From the loop's beginning to the first item, and the time of stop().
void run_lifecycle(const Options& options, Report& report);
/// In a spawned worker of the above.
void run_spawned_lifecycle(char** arguments);
/// From the kill of a worker to its message running again, and what that loses or leaks.
void run_recovery(const Options& options, Report& report);
/// Functions called in workers, small ones and one over a large array.
void run_executor(const Options& options, Report& report);
/// Growth of resident memory with the number of messages; processor time while nothing happens.
void run_footprint(const Options& options, Report& report);

}  // namespace bench
