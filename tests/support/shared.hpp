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

/// From here on, whether what is Shared is to be found by spawned workers, which run the same test. Counts them from zero.
void share_with_spawned(bool wanted);
/// Memory for one more that is shared. first: it is new, and not one that the host has made already.
void* share(std::size_t bytes, bool& first, int& file);

/// A T that worker processes share with this one. Make it before the graph starts, and give bodies its
/// address: it is the same in every forked worker, and a spawned one makes its own of it.
template <class T>
class Shared {
 public:
  template <class... Arguments>
  explicit Shared(Arguments&&... arguments) {
    bool first = true;
    void* const memory = share(sizeof(T), first, file_);
    thing_ = first ? new (memory) T{std::forward<Arguments>(arguments)...} : static_cast<T*>(memory);
  }
  ~Shared() {
    std::destroy_at(thing_);
    munmap(thing_, sizeof(T));
    if (file_ >= 0) close(file_);
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  T* get() const noexcept { return thing_; }
  T* operator->() const noexcept { return thing_; }
  T& operator*() const noexcept { return *thing_; }

 private:
  T* thing_;
  int file_ = -1;  // where spawned workers find it
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
