#pragma once

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <stdexcept>

#include <fmt/format.h>

namespace bench {

// The least with which two processes can hand something to each other, and wait for it.

/// Memory that this process and those that it forks from now on share, until the last of them ends. Zeroed.
inline std::byte* map_shared(std::size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw std::runtime_error(fmt::format("cannot map {} bytes: {}", bytes, std::strerror(errno)));
  return static_cast<std::byte*>(memory);
}

/// Two cache lines, one for each way. Each is written by one of the two processes, with the number of the trip; all other memory stays
/// out of it. If either process dies, both end with the measurement, at its time limit.
struct Lines {
  alignas(64) std::atomic<std::uint32_t> there{0};
  alignas(64) std::atomic<std::uint32_t> back{0};
};
inline Lines& shared_lines() { return *new (map_shared(sizeof(Lines))) Lines; }

// Shared, not private: the other side is another process (futex(2)).
inline void sleep_until(std::atomic<std::uint32_t>& line, std::uint32_t number) noexcept {
  for (std::uint32_t seen = line.load(); seen != number; seen = line.load())
    syscall(SYS_futex, &line, FUTEX_WAIT, seen, nullptr, nullptr, 0);
}
inline void store_and_wake(std::atomic<std::uint32_t>& line, std::uint32_t number) noexcept {
  line.store(number);
  syscall(SYS_futex, &line, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

/// The numbers 1, 2, ... from one process to another, which sleeps until there is a new one and is woken for it then.
/// Threads   one that tells, one that waits.
class Count {
 public:
  void tell(std::uint32_t number) noexcept {
    words_.told.store(number);
    if (words_.sleeps.load() != 0 && words_.sleeps.exchange(0) != 0) store_and_wake(words_.told, number);
  }
  void sleep_until_told(std::uint32_t number) noexcept {
    while (words_.told.load() < number) {
      words_.sleeps.store(1);
      const std::uint32_t seen = words_.told.load();
      if (seen < number) syscall(SYS_futex, &words_.told, FUTEX_WAIT, seen, nullptr, nullptr, 0);
    }
  }

 private:
  struct Words {
    alignas(64) std::atomic<std::uint32_t> told{0};
    alignas(64) std::atomic<std::uint32_t> sleeps{0};  // 1: who waits, or is about to
  };
  Words& words_ = *new (map_shared(sizeof(Words))) Words;
};

}  // namespace bench
