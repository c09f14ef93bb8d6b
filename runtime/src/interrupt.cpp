#include <tandem/interrupt.hpp>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
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
// Whose bells they are: a child of the program's that is no program of its own has copies.
std::atomic<pid_t> host{0};

std::mutex mutex;  // guards all below, and who writes bells
int users = 0;
bool ours = false;

void handle(int) {
  const int error = errno;
  handlers.fetch_add(1, std::memory_order_seq_cst);
  // Registered now: its owner waits for this handler before it asks whether the signal came.
  const bool mine = getpid() == host.load(std::memory_order_relaxed);
  const bool any = mine && std::any_of(bells.begin(), bells.end(), [](const std::atomic<int>& bell) {
                     return bell.load(std::memory_order_seq_cst) != 0;
                   });
  if (any) came.store(true, std::memory_order_seq_cst);
  for (const std::atomic<int>& bell : bells) {
    const int descriptor = bell.load(std::memory_order_seq_cst) - 1;
    if (any && descriptor >= 0) EventBell::ring(descriptor);
  }
  handlers.fetch_sub(1, std::memory_order_seq_cst);
  if (!any) {  // nobody is there to act on it: the default effect, at the return from here
    signal(SIGINT, SIG_DFL);
    raise(SIGINT);
  }
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

// What the kernel would have done. It keeps signals with their default effect from a process that is the first of its
// namespace, as in a container: then the program is ended without one.
void let_it_have_its_effect() {
  struct sigaction now {};
  sigaction(SIGINT, nullptr, &now);
  if ((now.sa_flags & SA_SIGINFO) != 0 || now.sa_handler != SIG_DFL) {
    kill(getpid(), SIGINT);  // the program has a handler by now
    return;
  }
  sigset_t interrupt;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  pthread_sigmask(SIG_UNBLOCK, &interrupt, nullptr);
  raise(SIGINT);
  _exit(128 + SIGINT);
}

void take_handler_back() {
  struct sigaction now {};
  sigaction(SIGINT, nullptr, &now);
  if ((now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == handle) signal(SIGINT, SIG_DFL);
  ours = false;
}

// A child of a program with a runtime, and no program of its own, makes its first: it has copies of all of the above.
void forget_the_parent() {
  for (std::atomic<int>& bell : bells) bell.store(0, std::memory_order_seq_cst);
  came.store(false, std::memory_order_seq_cst);
  handlers.store(0, std::memory_order_seq_cst);  // of the parent's other threads, at the fork
  users = 0;
  take_handler_back();
}

}  // namespace

Interrupt::Interrupt(int bell) {
  const std::lock_guard lock{mutex};
  if (host.exchange(getpid(), std::memory_order_relaxed) != getpid()) forget_the_parent();
  for (std::size_t place = 0; place_ == kNone && place < bells.size(); ++place) {
    if (bells[place].load(std::memory_order_relaxed) != 0) continue;
    bells[place].store(bell + 1, std::memory_order_seq_cst);
    place_ = static_cast<int>(place);
  }
  if (place_ != kNone && users++ == 0) set_handler();
}

Interrupt::~Interrupt() {
  if (place_ == kNone) return;
  const std::lock_guard lock{mutex};
  bells[static_cast<std::size_t>(place_)].store(0, std::memory_order_seq_cst);
  // A handler that still has the descriptor is in another thread, and does not wait for anything.
  while (handlers.load(std::memory_order_seq_cst) > 0) std::this_thread::yield();
  if (--users > 0) return;
  if (ours) take_handler_back();
  if (came.exchange(false, std::memory_order_seq_cst)) let_it_have_its_effect();
}

bool Interrupt::pending() noexcept { return came.load(std::memory_order_relaxed); }

}  // namespace tandem
