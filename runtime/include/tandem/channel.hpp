#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <tandem/error.hpp>
#include <tandem/replies.hpp>
#include <tandem/ring.hpp>
#include <tandem/segment.hpp>

// What host and worker say to each other, and where it lies. All offsets in bytes.
//
//   segment:        [host page][channel of slot 0][channel of slot 1]...[blocks of node 0]...
//   blocks:         an area for each worker number, where the blocks lie that this worker is lent
//   host page:      written by the host, read-only in every worker
//   channel:        [request area: bell, number, ring; written by the host, read-only in the worker]
//                   [reply area:   sleep word, requests begun, ring, words, texts; written by this worker only]
//
// A worker maps the whole segment read-only, and writable only its own reply area and its number's area of
// blocks. The host reads each reply once and checks it against its ledger.

namespace tandem {

/// Written by the host only.
struct HostPage {
  alignas(kCacheLine) std::atomic<std::uint32_t> sleep_word{0};  // the pump's, see doorbell.hpp
  alignas(kCacheLine) std::atomic<std::uint32_t> stopping{0};    // 1: bodies should return early
};

/// The beginning of a request area. Written by the host only.
struct RequestHead {
  std::atomic<std::uint32_t> bell{0};
  /// The worker's number, or one of those below. A spare waits for it on the bell, if its body asks.
  std::atomic<std::int32_t> number{0};
  /// Requests before this place that the worker has not begun are taken back, see recall.hpp.
  std::atomic<std::uint64_t> recalled{0};

  // What the worker's body was granted last (ReplyKind::grow). Which of this incarnation's replies that answers, counted from 1,
  // is stored last (release), and read first (acquire): GRANT(head). A count of the grants could be ahead of what the
  // worker has asked for, once somebody has written over its replies, and then it would take what is not its own any more.
  std::atomic<std::uint64_t> granted_reply{0};
  std::atomic<std::uint64_t> grant_offset{0};  // in the store of shared arrays
  std::atomic<std::uint64_t> grant_bytes{0};   // 0: refused

  static constexpr std::int32_t kSpare = -1;     // no number yet
  static constexpr std::int32_t kNoneEver = -2;  // the run is ending
};
static_assert(sizeof(RequestHead) <= kCacheLine);

/// The beginning of a reply area. Written by its worker only.
struct ReplyHead {
  std::atomic<std::uint32_t> sleep_word{0};  // the worker's, see doorbell.hpp
  std::atomic<std::uint64_t> begun{0};       // how many requests, see recall.hpp
};
static_assert(sizeof(ReplyHead) <= kCacheLine);

/// work_again: a worker ended that may have been at it.
enum class RequestKind : std::uint32_t { work = 1, stop = 2, work_again = 3 };
inline constexpr std::uint32_t kInlineInput = 0xFFFFFFFFU;  // the message is in the token
inline constexpr std::uint32_t kBlockInput = 0xFFFFFFFEU;   // the message is in the item's own block
inline constexpr std::uint32_t kPackedInput =
    0xFFFFFFFDU;                                 // the token says where it lies packed: a PackedPlace
inline constexpr std::size_t kInlineBytes = 32;  // also the alignment that an inline message may need

/// In RequestToken::message, when the input is in another node's block: which part of what lies there.
struct BlockPart {
  std::uint32_t split = 0;  // arrays: the split node's index and one; 0: all of them
  std::uint32_t spare = 0;
  std::uint64_t row = 0;     // arrays
  std::uint64_t offset = 0;  // struct: bytes from the output's beginning
};
static_assert(sizeof(BlockPart) <= kInlineBytes);

/// Host to worker.
struct alignas(kCacheLine) RequestToken {
  RequestKind kind = RequestKind::stop;
  std::uint32_t block = 0;       // which block of the node takes the output
  std::uint32_t generation = 0;  // of the lease that lends it; comes back in the reply
  std::int32_t attempt = 1;
  std::uint64_t sequence = 0;
  std::uint32_t input_node = kInlineInput;  // or the node whose block is the input
  std::uint32_t input_block = 0;
  alignas(kInlineBytes) std::byte message[kInlineBytes] = {};
};
static_assert(sizeof(RequestToken) == kCacheLine);

/// arrived: of a spawned worker, first of all: its main got to the graph. grow: the body wants shared memory, and waits for it;
/// no answer to the request.
enum class ReplyKind : std::uint32_t {
  ready = 1,
  start_failed = 2,
  done = 3,
  failed = 4,
  declined = 5,
  grow = 6,
  arrived = 7
};

/// Worker to host, where a DoneWord does not say it all.
struct ReplyToken {
  ReplyKind kind = ReplyKind::done;
  std::uint32_t incarnation = 0;
  std::uint32_t block = 0;
  std::uint32_t generation = 0;
  std::uint64_t sequence = 0;
  std::uint64_t busy_nanoseconds = 0;  // a hint for dispatch, believed within bounds
  std::uint32_t text_bytes = 0;    // of the failure's text, in the text of the same place; grow: of the extents
  std::uint32_t stop = 0;          // 1: the body called Runtime::stop()
  std::uint32_t again = 0;         // 1, failed: for want of memory, which a fresh process may have
  std::uint32_t skip = 0;          // 1, done: the message makes no item
  std::uint64_t wanted_bytes = 0;  // grow: at least 1
  std::uint32_t wanted_dtype = 0;  // grow: a hint, as are the extents, for whoever looks at what is alive
  std::uint32_t returned =
      0;  // grow: 1 + the page of the store where memory begins that the body has done with
};
static_assert(sizeof(ReplyToken) == kCacheLine);

using RequestWriter = RingWriter<RequestToken>;
using RequestReader = RingReader<RequestToken>;
using ReplyWriter = RepliesWriter<ReplyToken>;
using ReplyReader = RepliesReader<ReplyToken>;

/// The areas of one worker slot.
struct ChannelLayout {
  static constexpr std::size_t kTextBytes = kReasonBytes;

  std::uint32_t capacity = 0;  // of both rings; a power of two
  std::size_t offset = 0;      // of the request area in the segment

  std::size_t request_bytes() const noexcept {
    return round_up(kCacheLine + ring_bytes(capacity), Segment::page_bytes());
  }
  std::size_t reply_offset() const noexcept { return offset + request_bytes(); }
  std::size_t reply_bytes() const noexcept {
    return round_up(kCacheLine + replies_bytes(capacity) + capacity * kTextBytes, Segment::page_bytes());
  }
  std::size_t bytes() const noexcept { return request_bytes() + reply_bytes(); }

  RequestHead& head(std::byte* base) const noexcept { return *reinterpret_cast<RequestHead*>(base + offset); }
  std::byte* request_ring(std::byte* base) const noexcept { return base + offset + kCacheLine; }
  ReplyHead& reply_head(std::byte* base) const noexcept {
    return *reinterpret_cast<ReplyHead*>(base + reply_offset());
  }
  std::byte* reply_ring(std::byte* base) const noexcept { return base + reply_offset() + kCacheLine; }
  /// The text that belongs to the reply at a place of the ring.
  std::byte* text(std::byte* base, std::uint64_t place) const noexcept {
    return reply_ring(base) + replies_bytes(capacity) + (place & (capacity - 1)) * kTextBytes;
  }
};

}  // namespace tandem
