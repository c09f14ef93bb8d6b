#include <tandem/spin_mutex.hpp>

#include <sched.h>

#include <chrono>
#include <thread>

namespace tandem {
namespace {

constexpr int kLooks = 128;    // before it gives way
constexpr int kGivesWay = 16;  // before it sleeps
constexpr std::chrono::microseconds kSleep{50};

}  // namespace

void SpinMutex::wait() noexcept {
  for (int round = 0;; ++round) {
    for (int look = 0; look < kLooks; ++look) {
      if (!locked_.load(std::memory_order_relaxed) && try_lock()) return;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    if (round < kGivesWay) {
      sched_yield();
    } else {
      std::this_thread::sleep_for(kSleep);
    }
  }
}

}  // namespace tandem
