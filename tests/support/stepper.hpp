#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "sanitized.hpp"

namespace tandem::test {

#if defined(__x86_64__) && defined(__linux__)
inline constexpr bool kCanStep = !kSanitized;
#else
inline constexpr bool kCanStep = false;  // the trap flag is this processor's
#endif

/// The moment at which a worker process is killed. Stores and instructions are counted from 1, over all workers.
struct Death {
  enum At { before_store, after_store, after_instruction };
  At at;
  std::uint32_t number;
};

/// Counts each store that worker processes make to shared memory, and kills them where it is told to.
///
/// Whatever of "memfd:tandem" a worker may write is kept write-protected in it all the same, so each store faults:
///
///     SIGSEGV    Count. The moment to die BEFORE the store. Open the page, set the trap flag, return:
///     mov ...    the processor executes this one instruction again
///     SIGTRAP    and stops. The moment to die AFTER the store. Close the page, clear the trap flag, return.
///
/// A store that spans two pages is one store; each round of a `rep movs` or `rep stos` is one. The kernel cannot store
/// into a closed page: a read(2) into shared memory fails with EFAULT instead.
///
/// Make it before the graph starts; one at a time. Workers that are forked while it lives are watched from the moment
/// of their fork. For bodies without threads of their own: a page that is open is open to all.
class Stepper {
 public:
  explicit Stepper(std::vector<Death> deaths = {});
  ~Stepper();
  Stepper(const Stepper&) = delete;
  Stepper& operator=(const Stepper&) = delete;

  /// Where in the shared memory, and by which instruction.
  struct Store {
    std::size_t offset;
    std::uintptr_t instruction;
    auto operator<=>(const Store&) const = default;
  };
  /// The stores so far, in their order.
  std::vector<Store> stores() const;
  /// As count_instructions() said.
  std::uint32_t instructions() const;
  /// How many processes were killed.
  std::uint32_t deaths() const;

  /// Watches this process, for children that are no workers; workers are watched without it.
  static void watch();
  /// In a watched process: aborts if it can write shared memory without being seen.
  static void must_see_all();
  /// In a watched process: counts each instruction from here on, or no longer. Of a system call, the moment after it
  /// and the moment before are two.
  static void count_instructions(bool wanted);

  struct Record;

 private:
  std::unique_ptr<Record> record_;
};

}  // namespace tandem::test
