#pragma once

#include <functional>

namespace bench {

/// Runs `serve(0)`, `serve(1)` ... each in a forked process, which ends when it returns, or when this process ends.
/// Threads   only from a process that has none of its own yet.
void fork_workers(int count, const std::function<void(int worker)>& serve);

}  // namespace bench
