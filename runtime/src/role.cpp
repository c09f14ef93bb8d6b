#include <tandem/role.hpp>

#include <atomic>

namespace tandem {
namespace {

// Relaxed: written before the process has a second thread.
std::atomic<bool> worker_process{false};

}  // namespace

bool is_worker_process() noexcept { return worker_process.load(std::memory_order_relaxed); }
void become_worker_process() noexcept { worker_process.store(true, std::memory_order_relaxed); }

}  // namespace tandem
