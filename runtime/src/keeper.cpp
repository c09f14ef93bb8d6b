#include <tandem/keeper.hpp>

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

namespace tandem {
namespace {

struct Handover {
  pid_t server;
  int told;
  // release by the keeper, acquire by the other: its last use of errno and of its files comes before all that follows.
  std::atomic<bool> done;
};

// Runs on the other process's memory and thread-local storage (errno), while that one waits for `done`; from then on it
// stays in the kernel: all signals are blocked but SIGKILL and SIGSTOP.
int keep(void* argument) {
  Handover& handover = *static_cast<Handover*>(argument);
  syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
  if (syscall(SYS_getppid) != handover.server) syscall(SYS_exit_group, 0);
  syscall(SYS_prctl, PR_SET_NAME, "tandem:memory");
  // Whoever is woken with it comes first, and then it has its fair share: with less, a busy machine would keep the memory
  // for seconds. Not from a real-time policy, whose worker below would never let it finish.
  const sched_param none{};
  if (syscall(SYS_sched_getscheduler, 0) == SCHED_OTHER) syscall(SYS_sched_setscheduler, 0, SCHED_BATCH, &none);
  const auto self = static_cast<pid_t>(syscall(SYS_getpid));
  syscall(SYS_write, handover.told, &self, sizeof self);
  // Files end with the worker itself. A keeper that holds some of them would let others wait for it.
  if (syscall(SYS_close_range, 0U, ~0U, 0U) != 0) syscall(SYS_exit_group, 0);
  handover.done.store(true, std::memory_order_release);
  for (;;) syscall(SYS_pause);
}

}  // namespace

void start_keeper(pid_t server, int told) noexcept {
  alignas(64) static char stack[4096];  // static: the keeper outlives this call
  static Handover handover;
  handover.server = server;
  handover.told = told;
  handover.done.store(false, std::memory_order_relaxed);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  // A child of the server: a body that waits for all its own children must not find it.
  const pid_t keeper = clone(keep, stack + sizeof stack, CLONE_VM | CLONE_PARENT | SIGCHLD, &handover);
  // It is done or, however it came to that, gone: then the server has waited for it.
  while (keeper > 0 && !handover.done.load(std::memory_order_acquire) && kill(keeper, 0) == 0) sched_yield();
  sigprocmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace tandem
