#pragma once

#include <cstddef>
#include <string>

namespace tandem::test {

/// A control group of the kernel's with a limit on memory, for host programs; of version 1 or 2 (cgroups(7)).
/// Gone with this object, when the last process in it is.
class MemoryGroup {
 public:
  explicit MemoryGroup(std::size_t limit_bytes);
  ~MemoryGroup();
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;

  /// False where this machine, or this user, gets no group.
  explicit operator bool() const noexcept { return !path_.empty(); }
  const std::string& why_not() const noexcept { return why_not_; }

  /// In a host program that was started while a group was there: moves this process into it.
  static bool enter();

 private:
  std::string path_;
  std::string why_not_;
};

}  // namespace tandem::test
