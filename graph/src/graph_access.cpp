#include <tandem/graph_access.hpp>

namespace tandem {
namespace {

// An explicit instantiation may name private members; this is C++'s one way to reach them by their names. A oneTBB
// that renames them does not compile here, rather than hang somewhere else.
template <auto Arena, auto Context>
struct Access {
  friend oneapi::tbb::task_arena& arena_in(flow::graph& graph) noexcept { return *(graph.*Arena); }
  friend oneapi::tbb::task_group_context& context_in(const flow::graph& graph) noexcept {
    return *(graph.*Context);
  }
};
oneapi::tbb::task_arena& arena_in(flow::graph& graph) noexcept;
oneapi::tbb::task_group_context& context_in(const flow::graph& graph) noexcept;
template struct Access<&flow::graph::my_task_arena, &flow::graph::my_context>;

}  // namespace

oneapi::tbb::task_arena& arena_of(flow::graph& graph) noexcept { return arena_in(graph); }

bool is_cancelled(const flow::graph& graph) noexcept {
  return context_in(graph).is_group_execution_cancelled();
}

}  // namespace tandem
