#pragma once

#include <oneapi/tbb/flow_graph.h>
#include <oneapi/tbb/task_arena.h>

// Two things about a graph that oneTBB knows and does not tell.

namespace tandem {

namespace flow = oneapi::tbb::flow;

/// Where oneTBB runs the graph's tasks. It is not always the arena of the thread that made the graph: a thread
/// that had not used oneTBB before has none, and then the graph makes its own.
oneapi::tbb::task_arena& arena_of(flow::graph& graph) noexcept;

/// Whether a body threw or somebody cancelled the graph, and no wait_for_all() has told it yet: what runs in its
/// tasks is skipped, and items in its nodes may stay there for ever. (graph::is_cancelled() knows only after
/// wait_for_all(), which waits for those items.)
bool is_cancelled(const flow::graph& graph) noexcept;

}  // namespace tandem
