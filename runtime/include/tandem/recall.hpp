#pragma once

#include <cstdint>

#include <tandem/shared_memory.hpp>

// How the host takes requests back from a worker that is held up by a long body.
//
// Each side owns one word. The worker's says how many requests it has begun; the host's, up to which place those that
// are not begun are recalled.
//
//     worker:  begun = place + 1;   fence;  look at recalled;  do the request, or decline it
//     host:    recalled = place;    fence;  look at begun;     what is not begun is the host's again
//
// With both fences, either the host sees that a request was begun, or the worker sees that it was recalled (Dekker's
// store-buffering case, as in doorbell.hpp). Both may happen: then the worker declines, and the host, which counted it as
// begun, has it back with that reply. So no request is done twice and none is lost. Every request gets its reply, those that
// were taken back too, since rings are counted by it.
//
// If the worker dies, its word does not matter any more: what it has not answered is taken back anyway. A worker
// that lies here does a message that another one does too, and is found out by its reply.
//
// Modelled by tests/model/recall.pml; this code itself is run in all orders by tests/interleavings_test.cpp.

namespace tandem {

/// The worker's end.
/// Memory    SharedMemory in the product; a test may put a simulated one in its place.
template <class Memory = SharedMemory>
class Beginner {
  using Word = typename Memory::template Atomic<std::uint64_t>;

 public:
  Beginner() = default;
  Beginner(Word& begun, const Word& recalled) : begun_{&begun}, recalled_{&recalled} {}

  /// True when the request at this place is this worker's to do; false when the host has taken it back.
  [[nodiscard]] bool begin(std::uint64_t place) noexcept {
    begun_->store(place + 1, std::memory_order_relaxed);
    // BEGIN: pairs with RECALL in Recaller::recall(). Weaker: a message could be done by two workers.
    Memory::fence();
    return place >= recalled_->load(std::memory_order_relaxed);
  }

 private:
  Word* begun_ = nullptr;
  const Word* recalled_ = nullptr;
};

/// The host's end.
template <class Memory = SharedMemory>
class Recaller {
  using Word = typename Memory::template Atomic<std::uint64_t>;

 public:
  Recaller() = default;
  Recaller(const Word& begun, Word& recalled) : begun_{&begun}, recalled_{&recalled} {}

  /// Recalls what is not begun of the requests before `end`. Returns the place from which on they are the host's: the worker
  /// will decline them. Not believed: the caller keeps it within the requests that are out.
  [[nodiscard]] std::uint64_t recall(std::uint64_t end) noexcept {
    recalled_->store(end, std::memory_order_relaxed);
    // RECALL: pairs with BEGIN in Beginner::begin().
    Memory::fence();
    return begun_->load(std::memory_order_relaxed);
  }

 private:
  const Word* begun_ = nullptr;
  Word* recalled_ = nullptr;
};

}  // namespace tandem
