#include <tandem/shared_memory.hpp>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

namespace tandem {

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

// Not FUTEX_PRIVATE: the other side is another process.
void SharedMemory::wait(const std::atomic<std::uint32_t>& word, std::uint32_t heard) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAIT, heard, nullptr, nullptr, 0);
}

void SharedMemory::wait_for(const std::atomic<std::uint32_t>& word, std::uint32_t heard,
                            std::chrono::nanoseconds time) noexcept {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  const timespec left{seconds.count(), (time - seconds).count()};
  syscall(SYS_futex, &word, FUTEX_WAIT, heard, &left, nullptr, 0);
}

void SharedMemory::wake(const std::atomic<std::uint32_t>& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace tandem
