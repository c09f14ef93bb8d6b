#include <tandem/role.hpp>

#include <atomic>
#include <utility>

namespace tandem {
namespace {

// Relaxed: written before the process has a second thread.
std::atomic<bool> worker_process{false};
std::atomic<const void*> served{nullptr};
thread_local bool serving_thread = false;  // of a spawned one
thread_local bool in_body = false;

}  // namespace

bool is_worker_process() noexcept { return worker_process.load(std::memory_order_relaxed) || serving_thread; }

bool serves(const void* runtime) noexcept { return served.load(std::memory_order_relaxed) == runtime; }

void become_worker_process(bool forked, const void* runtime) noexcept {
  served.store(runtime, std::memory_order_relaxed);
  serving_thread = true;
  if (forked) worker_process.store(true, std::memory_order_relaxed);
}

bool is_in_body() noexcept { return in_body || is_worker_process(); }

InBody::InBody() noexcept : before_{std::exchange(in_body, true)} {}
InBody::~InBody() { in_body = before_; }

}  // namespace tandem
