#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <tandem/channel.hpp>
#include <tandem/doorbell.hpp>
#include <tandem/node.hpp>
#include <tandem/role.hpp>
#include <tandem/split.hpp>

namespace tandem {

/// All that one worker process needs; built in the host before the fork server is forked, and
/// inherited by every worker as it stood then. A spawned worker builds its own.
struct WorkerPlan {
  const void* runtime = nullptr;  // whose worker it is
  const NodeTable* nodes = nullptr;
  const SplitTable* splits = nullptr;
  const NodeInfo* node = nullptr;
  ChannelLayout channel;
  std::byte* base = nullptr;  // of the segment
  std::size_t segment_bytes = 0;
  std::byte* arrays = nullptr;  // of the store of shared arrays; null: there is none
  std::size_t arrays_bytes = 0;
  HostPage* host = nullptr;
  int host_bell = -1;    // the writing end of the pump's pipe
  bool arrives = false;  // spawned: the host is told that main got to the graph
};

/// In a worker: what it replies next asks the host to stop the run.
void ask_host_to_stop() noexcept;

/// In a process that cannot become a worker: the host hears of a start that failed. Calls what is safe in a signal handler.
/// base     of the segment, whose reply area must be writable
void refuse_to_serve(std::byte* base, const ChannelLayout& channel, int host_bell, std::uint32_t incarnation,
                     std::string_view text) noexcept;
/// Handlers of the host, or of main, refer to its state; what is ignored stays ignored. Ctrl-C goes to the whole
/// foreground group, and ending it in order is the host's business.
void reset_signals() noexcept;
/// The kernel's memory killer should take this process before the host.
void be_the_likelier_victim() noexcept;

/// A worker process's whole life after the fork, or from where its main got to the graph: start(), then messages until the host says stop.
/// Never returns; leaves by _exit, so that nothing of the host's state is torn down twice.
[[noreturn]] void serve(const WorkerPlan& plan, std::uint32_t incarnation) noexcept;

}  // namespace tandem
