#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <tandem/channel.hpp>
#include <tandem/descriptor.hpp>

// How a fresh process of this program becomes a worker (start = "spawn").
//
//   host         writes the order, a sealed memory file with all that is the same for its workers, and sends it and the
//                shared memory's file to the fork server with each request (SCM_RIGHTS)
//   fork server  forks, as for any worker; the child executes the program again
//   new process  takes the order before main begins, maps the memory read-only, gets its keeper; then main runs. The
//                graph's start, in the Runtime that the order names, compares the plans, and serves.
//
// Both files are closed by then in all processes but the host. The variable TANDEM_SPAWNED says that there is an order.

namespace tandem {

/// What the host knows of one slot.
struct SpawnSlot {
  ChannelLayout channel;
  char name[16] = {};    // of the process, until it has a number
  bool spawned = false;  // else it is forked
};

/// What is the same for all spawned workers of a runtime. Offsets and sizes in bytes.
struct SpawnFacts {
  std::uint32_t runtime = 0;  // see runtime_number()
  std::uint32_t in_flight = 0;
  std::size_t segment_bytes = 0;
  std::size_t arrays_bytes = 0;  // of the store of shared arrays; 0: there is none
  std::vector<SpawnSlot> slots;
  std::string plan;  // Plan::text()
};

/// The host's side: the order, and what it takes to execute the program again.
/// Threads   constant once made; execute() in a child of the fork server.
class SpawnOrder {
 public:
  /// bell: the writing end of the pump's pipe. base: of the segment.
  /// Errors    throws Error when the system has no descriptor, or the program's own command line cannot be read.
  SpawnOrder(const SpawnFacts& facts, std::byte* base, int bell);

  bool spawns(std::uint32_t slot) const noexcept { return slots_[slot].spawned; }
  int file() const noexcept { return file_.get(); }
  /// How many files go with a request: the order, the segment, and that of the shared arrays, if there are any.
  std::size_t files() const noexcept { return files_; }

  /// What the child of a fork server passes on.
  struct Inheritance {
    int order;
    int segment;
    int arrays;  // -1: there are none
    int told;    // where the keeper's pid goes
    pid_t server;
  };
  /// Turns this process, a child of the fork server, into a fresh one of the program. Calls nothing but what is safe
  /// in a signal handler: this process is a copy of one with threads, whose locks may be held. If the system refuses,
  /// the host is told, as by a start() that fails.
  [[noreturn]] void execute(std::uint32_t slot, std::uint32_t incarnation,
                            const Inheritance& files) const noexcept;

 private:
  Descriptor file_;
  std::vector<SpawnSlot> slots_;
  const std::size_t files_;
  std::byte* const base_;
  const int bell_;
  std::vector<char> arguments_;    // strings, one after the other
  std::vector<char> environment_;  // the last is ours, filled in by execute()
  std::vector<char*> argv_;
  std::vector<char*> envp_;
};

/// The other side: this process is a spawned worker.
/// Threads   made before main begins; constant.
class Spawned {
 public:
  /// Null when this process is no spawned worker.
  static const Spawned* here() noexcept;

  const SpawnFacts& facts() const noexcept { return facts_; }
  std::uint32_t slot() const noexcept { return slot_; }
  std::uint32_t incarnation() const noexcept { return incarnation_; }
  std::byte* base() const noexcept { return base_; }
  /// Of the store of shared arrays; null: there is none.
  std::byte* arrays() const noexcept { return arrays_; }
  int bell() const noexcept { return bell_; }

  /// Ends this process as one whose start failed. The text says why.
  [[noreturn]] void refuse(std::string_view text) const noexcept;

 private:
  static std::unique_ptr<Spawned> take_order();
  bool read_order(std::string& id);
  std::byte* map(int file, std::size_t bytes) const;

  SpawnFacts facts_;
  std::uint32_t slot_ = 0;
  std::uint32_t incarnation_ = 0;
  pid_t server_ = 0;
  std::byte* base_ = nullptr;
  std::byte* arrays_ = nullptr;
  int bell_ = -1;
};

/// Which of this process's Runtimes one is, in the order in which they are made: how a spawned worker finds its own.
/// Counts on at each call.
std::uint32_t runtime_number() noexcept;

/// For programs that do one job after another, as a test program does: spawned workers of Runtimes that are made from
/// now on are given these arguments, the program's name included, instead of the program's own, and Runtimes are
/// counted from here. main has to see to it that it does this one job then.
/// Threads   while no other thread makes or starts a Runtime.
void spawn_with(std::vector<std::string> arguments);

/// What the program was built from: the linker's build id of the running image; without one, its file's device, inode,
/// size and time of change.
std::string program_id();

}  // namespace tandem
