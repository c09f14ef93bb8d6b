#include <tandem/interrupt.hpp>

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <thread>

#include <tandem/doorbell.hpp>

namespace tandem {
namespace {

constexpr int kNone = -1;
constexpr std::size_t kMostBells = 256;  // pumps beyond that let the kernel end their workers

// For the handler, which may run in any thread at any time: nothing but atomics.
// Each bell's descriptor plus one, so that zero, the first value, means none.
std::array<std::atomic<int>, kMostBells> bells;
std::atomic<bool> came{false};
std::atomic<int> handlers{0};

std::mutex mutex;  // guards all below, and who writes bells
int users = 0;
bool ours = false;

void handle(int) {
  const int error = errno;
  handlers.fetch_add(1, std::memory_order_seq_cst);
  came.store(true, std::memory_order_seq_cst);
  for (const std::atomic<int>& bell : bells) {
    const int descriptor = bell.load(std::memory_order_seq_cst) - 1;
    if (descriptor >= 0) PipeBell::ring(descriptor);
  }
  handlers.fetch_sub(1, std::memory_order_seq_cst);
  errno = error;
}

void set_handler() {
  struct sigaction now {};
  if (sigaction(SIGINT, nullptr, &now) != 0) return;
  if ((now.sa_flags & SA_SIGINFO) != 0 || now.sa_handler != SIG_DFL) return;  // the program's own affair
  struct sigaction wanted {};
  wanted.sa_handler = handle;
  wanted.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);  // the next one has the default effect
  ours = sigaction(SIGINT, &wanted, nullptr) == 0;
}

void take_handler_back() {
  struct sigaction now {};
  sigaction(SIGINT, nullptr, &now);
  if ((now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == handle) signal(SIGINT, SIG_DFL);
  ours = false;
}

}  // namespace

Interrupt::Interrupt(int bell) {
  const std::lock_guard lock{mutex};
  if (users++ == 0) set_handler();
  for (std::size_t place = 0; place_ == kNone && place < bells.size(); ++place) {
    if (bells[place].load(std::memory_order_relaxed) != 0) continue;
    bells[place].store(bell + 1, std::memory_order_seq_cst);
    place_ = static_cast<int>(place);
  }
}

Interrupt::~Interrupt() {
  const std::lock_guard lock{mutex};
  if (place_ != kNone) bells[static_cast<std::size_t>(place_)].store(0, std::memory_order_seq_cst);
  // A handler that still has the descriptor is in another thread, and does not wait for anything.
  while (handlers.load(std::memory_order_seq_cst) > 0) std::this_thread::yield();
  if (--users > 0) return;
  if (ours) take_handler_back();
  if (came.exchange(false, std::memory_order_seq_cst)) kill(getpid(), SIGINT);
}

bool Interrupt::pending() noexcept { return came.load(std::memory_order_relaxed); }

}  // namespace tandem
