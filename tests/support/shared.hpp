#pragma once

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <ctime>
#include <new>
#include <stdexcept>
#include <utility>

namespace tandem::test {

/// A T that forked processes share with this one. Make it before the graph starts, and give bodies its
/// address: it is the same in every worker.
template <class T>
class Shared {
 public:
  template <class... Arguments>
  explicit Shared(Arguments&&... arguments) {
    void* const memory = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("mmap failed");
    thing_ = new (memory) T{std::forward<Arguments>(arguments)...};
  }
  ~Shared() {
    std::destroy_at(thing_);
    munmap(thing_, sizeof(T));
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  T* get() const noexcept { return thing_; }
  T* operator->() const noexcept { return thing_; }
  T& operator*() const noexcept { return *thing_; }

 private:
  T* thing_;
};

/// A counter to wait on, for threads and, in a Shared, for processes: what tests use in place of sleeping.
class Gate {
 public:
  static constexpr int kPatienceSeconds = 20;

  void open(std::uint32_t by = 1) noexcept {
    count_.fetch_add(by, std::memory_order_seq_cst);
    syscall(SYS_futex, &count_, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }

  std::uint32_t count() const noexcept { return count_.load(std::memory_order_seq_cst); }

  /// Waits until it was opened that many times. False when that did not happen for long: a broken test
  /// or a broken library, but no hang.
  bool wait(std::uint32_t least = 1) noexcept {
    timespec start{};
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
      const std::uint32_t now = count();
      if (now >= least) return true;
      timespec time{};
      clock_gettime(CLOCK_MONOTONIC, &time);
      if (time.tv_sec - start.tv_sec > kPatienceSeconds) return false;
      const timespec longest{1, 0};
      syscall(SYS_futex, &count_, FUTEX_WAIT, now, &longest, nullptr, 0);
    }
  }

 private:
  std::atomic<std::uint32_t> count_{0};
  static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));
};

}  // namespace tandem::test
