#include "stepper.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "shared.hpp"

namespace tandem::test {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kMostPages = 4096;
constexpr std::size_t kMostStores = 4096;

struct Tally {  // in memory that all processes share, and that is not Tandem's
  std::atomic<std::uint32_t> stores{0};
  std::atomic<std::uint32_t> instructions{0};
  std::atomic<std::uint32_t> deaths{0};
  std::array<Stepper::Store, kMostStores> each{};
};

}  // namespace

struct Stepper::Record {
  std::vector<Death> deaths;
  Shared<Tally> tally;
};

namespace {

Stepper::Record* record = nullptr;  // inherited by forked processes; they own what follows
int generation = 0;                 // 0: the host; 1: its fork server; 2: a worker

std::uintptr_t begin = 0;  // of the shared memory
std::size_t pages = 0;
std::array<bool, kMostPages> may_write{};  // as far as the program knows
volatile bool counts_instructions = false;

bool is_watched(std::uintptr_t address) { return address - begin < pages * kPageBytes; }

void protect(std::uintptr_t address, std::size_t bytes, int protection) {
  if (syscall(SYS_mprotect, address, bytes, protection) != 0) std::abort();
}

// Calls what(begin, end, writable) for each mapping of Tandem's memory.
template <class What>
void for_each_mapping(What what) {
  std::FILE* const maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) std::abort();
  char line[512];
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    if (std::strstr(line, "memfd:tandem ") == nullptr) continue;  // not the shared arrays, which it only reads
    char* rest = nullptr;
    const std::uintptr_t from = std::strtoull(line, &rest, 16);
    const std::uintptr_t to = std::strtoull(rest + 1, &rest, 16);
    what(from, to, rest[2] == 'w');
  }
  std::fclose(maps);
}

#if defined(__x86_64__)

constexpr greg_t kTrapFlag = 0x100;  // of RFLAGS: stop after the next instruction

std::array<std::uintptr_t, 2> open_pages{};
std::size_t open_count = 0;
std::uint32_t store_number = 0;  // of the store under way

void die_if_told(Death::At at, std::uint32_t number) {
  for (const Death& death : record->deaths) {
    if (death.at != at || death.number != number) continue;
    ++record->tally->deaths;
    kill(getpid(), SIGKILL);
  }
}

void on_fault(int, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if (!is_watched(address) || !may_write[(address - begin) / kPageBytes]) {
    signal(SIGSEGV, SIG_DFL);  // a fault of the program's own: it happens again, and counts
    return;
  }
  if (open_count == 0) {  // otherwise the same store goes on in the next page
    const std::uint32_t before = record->tally->stores.fetch_add(1);
    if (before == kMostStores) std::abort();
    record->tally->each[before] = {address - begin, static_cast<std::uintptr_t>(registers[REG_RIP])};
    store_number = before + 1;
    die_if_told(Death::before_store, store_number);
  }
  if (open_count == open_pages.size()) std::abort();
  open_pages[open_count] = address / kPageBytes * kPageBytes;
  protect(open_pages[open_count], kPageBytes, PROT_READ | PROT_WRITE);
  ++open_count;
  registers[REG_EFL] |= kTrapFlag;
}

void on_step(int, siginfo_t*, void* context) {
  if (open_count > 0) die_if_told(Death::after_store, store_number);
  for (; open_count > 0; --open_count) protect(open_pages[open_count - 1], kPageBytes, PROT_READ);
  auto& flags = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL];
  if (!counts_instructions) {
    flags &= ~kTrapFlag;
    return;
  }
  die_if_told(Death::after_instruction, record->tally->instructions.fetch_add(1) + 1);
  flags |= kTrapFlag;
}

void handle(int signal, void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO;
  sigfillset(&action.sa_mask);
  if (sigaction(signal, &action, nullptr) != 0) std::abort();
}

void handle_signals() {
  handle(SIGSEGV, on_fault);
  handle(SIGTRAP, on_step);
}

#else
void handle_signals() { std::abort(); }
#endif

void after_fork() {
  if (++generation == 2 && record != nullptr) Stepper::watch();
}

}  // namespace

Stepper::Stepper(std::vector<Death> deaths) : record_{new Record{std::move(deaths), Shared<Tally>{}}} {
  static const int registered = pthread_atfork(nullptr, nullptr, after_fork);
  if (registered != 0 || record != nullptr) std::abort();
  record = record_.get();
}

Stepper::~Stepper() { record = nullptr; }

std::vector<Stepper::Store> Stepper::stores() const {
  const Tally& tally = *record_->tally;
  return {tally.each.begin(), tally.each.begin() + tally.stores.load()};
}

std::uint32_t Stepper::instructions() const { return record_->tally->instructions.load(); }
std::uint32_t Stepper::deaths() const { return record_->tally->deaths.load(); }

void Stepper::watch() {
  handle_signals();
  for_each_mapping([](std::uintptr_t from, std::uintptr_t to, bool writable) {
    if (begin == 0) begin = from;
    pages = (to - begin) / kPageBytes;
    if (pages > kMostPages) std::abort();
    std::fill(&may_write[(from - begin) / kPageBytes], may_write.data() + pages, writable);
  });
  if (pages > 0) protect(begin, pages * kPageBytes, PROT_READ);
}

void Stepper::must_see_all() {
  if (pages == 0) std::abort();
  for_each_mapping([](std::uintptr_t from, std::uintptr_t to, bool writable) {
    if (!writable && is_watched(from) && is_watched(to - 1)) return;
    std::fputs("a worker can write shared memory, and nobody counts its stores\n", stderr);
    std::abort();
  });
}

void Stepper::count_instructions(bool wanted) {
  if (counts_instructions == wanted) return;
  counts_instructions = wanted;
  raise(SIGTRAP);  // the handler sees to the trap flag
}

}  // namespace tandem::test

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// In this program, it comes before libc's: what a watched process opens is written down, and stays closed.
extern "C" int mprotect(void* address, std::size_t bytes, int protection) noexcept {
  using namespace tandem::test;
  const auto from = reinterpret_cast<std::uintptr_t>(address);
  if (is_watched(from)) {
    const std::size_t first = (from - begin) / kPageBytes;
    const std::size_t last = std::min(first + (bytes + kPageBytes - 1) / kPageBytes, pages);
    std::fill(&may_write[first], may_write.data() + last, (protection & PROT_WRITE) != 0);
    protection &= ~PROT_WRITE;
  }
  return static_cast<int>(syscall(SYS_mprotect, address, bytes, protection));
}
#endif
