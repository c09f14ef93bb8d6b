#pragma once

#include <cstddef>
#include <cstdint>

#include <tandem/channel.hpp>
#include <tandem/doorbell.hpp>
#include <tandem/node.hpp>
#include <tandem/role.hpp>

namespace tandem {

/// All that one worker process needs; built in the host before the fork server is forked, and
/// inherited by every worker as it stood then.
struct WorkerPlan {
  const NodeTable* nodes = nullptr;
  const NodeInfo* node = nullptr;
  ChannelLayout channel;
  std::byte* base = nullptr;  // of the segment
  std::size_t segment_bytes = 0;
  std::byte* arrays = nullptr;  // of the store of shared arrays; null: there is none
  std::size_t arrays_bytes = 0;
  HostPage* host = nullptr;
  const PipeBell* host_bell = nullptr;  // the pump's
};

/// In a worker: what it replies next asks the host to stop the run.
void ask_host_to_stop() noexcept;

/// A worker process's whole life after the fork: start(), then messages until the host says stop.
/// Never returns; leaves by _exit, so that nothing of the host's state is torn down twice.
[[noreturn]] void serve(const WorkerPlan& plan, std::uint32_t incarnation) noexcept;

}  // namespace tandem
