#pragma once

namespace tandem {

/// Whether this process is a worker.
bool is_worker_process() noexcept;
/// For the runtime: from now on it is. Once, before any body runs.
void become_worker_process() noexcept;

}  // namespace tandem
