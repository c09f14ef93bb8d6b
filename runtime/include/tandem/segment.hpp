#pragma once

#include <cstddef>
#include <mutex>
#include <string>

#include <boost/interprocess/mapped_region.hpp>

#include <tandem/descriptor.hpp>

namespace tandem {

/// A sealed, anonymous memory file, mapped into this process: all memory that host and workers share.
///
/// It has no name, so nothing can collide with it and nothing outlives the processes that map it.
/// Its size is only address space; pages exist from back() on. Sealed against growing and
/// shrinking, so that no process can take pages away under another's feet (memfd_create(2),
/// fcntl(2) F_ADD_SEALS).
/// Threads   back() and release() may be called by several threads; all else is constant after construction.
class Segment {
 public:
  /// name      as /proc/PID/maps shows it, for people.
  /// Errors    throws MemoryError when the system refuses the file or the address space.
  explicit Segment(std::size_t bytes, const char* name = "tandem");
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  std::byte* base() const noexcept { return static_cast<std::byte*>(region_.get_address()); }
  std::size_t size() const noexcept { return region_.get_size(); }

  /// Takes real pages for a range, so that touching it can never raise SIGBUS.
  /// Returns   0, or the errno of fallocate(2): ENOMEM or ENOSPC when the system has no more.
  [[nodiscard]] int back(std::size_t offset, std::size_t bytes) noexcept;
  /// Gives the pages of a range back to the system (fallocate(2), FALLOC_FL_PUNCH_HOLE).
  void release(std::size_t offset, std::size_t bytes) noexcept;

  /// Whether a fork of this process shares the segment; false at first, so that neither the user's children
  /// nor another runtime's workers keep or reach it. Hold fork_mutex() from true to false.
  void set_inherited(bool inherited) noexcept;
  /// Of all runtimes in this process: one fork of theirs at a time.
  static std::mutex& fork_mutex() noexcept;

  /// Its file, to be mapped by a process that does not inherit the mapping.
  int file() const noexcept { return file_.get(); }
  /// What Boost.Interprocess asks of a memory-mappable object.
  boost::interprocess::mapping_handle_t get_mapping_handle() const noexcept;

  static std::size_t page_bytes() noexcept;

 private:
  Descriptor file_;
  boost::interprocess::mapped_region region_;
};

constexpr std::size_t round_up(std::size_t bytes, std::size_t unit) noexcept {
  return (bytes + unit - 1) / unit * unit;
}

/// Bytes that this process may still take without the machine or its control group running out:
/// the smaller of MemAvailable (proc(5)) and what memory.max of cgroup v2 leaves.
std::size_t available_memory();

/// "805306368 bytes (768 MiB)": the exact number, and one that can be read.
std::string describe_bytes(std::size_t bytes);

}  // namespace tandem
