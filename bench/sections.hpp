#pragma once

#include <vector>

#include "report.hpp"

namespace bench {

// What Tandem's variants are called in the tables.
inline constexpr const char* kProcesses = "tandem processes";
inline constexpr const char* kThreads = "tandem threads";
inline constexpr const char* kProcessorTime = "processor time";  // a metric

// One function for each part of the programs; each measures, prints its table and leaves its figures. `others` are
// measured in turn with a part's own variants; their first metric is what the part measures.

/// Messages per second of 64-byte results: the price of a message.
void run_tiny(const Options& options, Report& report, const std::vector<Variant>& others = {});
/// Bytes per second of 12.6 MB arrays: the price of the way that they take.
void run_big(const Options& options, Report& report, const std::vector<Variant>& others = {});
/// Bytes per second of 12.6 MB arrays that one node fills and the next one reads.
void run_chain(const Options& options, Report& report);
/// One message there and back, with all sides awake.
void run_round_trip(const Options& options, Report& report, const std::vector<Variant>& others = {});
/// The same with all sides asleep when it begins.
void run_asleep(const Options& options, Report& report);
/// Messages per second of bodies of which some take long: the price of order.
void run_order(const Options& options, Report& report);
/// How much of the workers' time is the bodies', from 1 us to 1000 us of it.
void run_use(const Options& options, Report& report);
/// The tiny job on one processor and on two.
void run_one_core(const Options& options, Report& report);
/// What a message costs as there are more messages, workers, items in flight, nodes.
void run_scale_messages(const Options& options, Report& report);
void run_scale_workers(const Options& options, Report& report);
void run_scale_in_flight(const Options& options, Report& report);
void run_scale_nodes(const Options& options, Report& report);
/// From the loop's beginning to the first item, and the time of stop().
void run_lifecycle(const Options& options, Report& report);
/// Those of it that need no second start of the program.
void run_first_item(const Options& options, Report& report);
/// In a spawned worker of run_lifecycle().
void run_spawned_lifecycle(char** arguments);
/// From the kill of a worker to its message running again, and what that loses or leaks.
void run_recovery(const Options& options, Report& report);
/// Functions called in workers, small ones and one over a large array.
void run_executor(const Options& options, Report& report);
/// Growth of resident memory with the number of messages, and the next.
void run_footprint(const Options& options, Report& report);
/// Processor time while nothing happens.
void run_idle(const Options& options, Report& report);

}  // namespace bench
