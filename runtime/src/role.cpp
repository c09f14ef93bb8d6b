#include <tandem/role.hpp>

#include <atomic>

namespace tandem {
namespace {

// Relaxed: written before the process has a second thread.
std::atomic<bool> worker_process{false};
thread_local bool serving_thread = false;  // of a spawned one

}  // namespace

bool is_worker_process() noexcept { return worker_process.load(std::memory_order_relaxed) || serving_thread; }

void become_worker_process(bool forked) noexcept {
  serving_thread = true;
  if (forked) worker_process.store(true, std::memory_order_relaxed);
}

}  // namespace tandem
