#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <typeinfo>
#include <utility>
#include <vector>

#include <tandem/array.hpp>
#include <tandem/error.hpp>

// A lease is the host's record of one item: whose message it is, which block it lives in, and how
// many handles keep it. All leases are in the host's private heap and are made once, before the
// first message. No worker process can see one.
//
// A *root* lease belongs to a source and carries one credit and the message itself. A *child*
// lease belongs to a producer node's pool and carries one block. Every child keeps its root alive.
//
// Handles are counted in two parts: those inside the graph (on edges, in queues, with workers) and
// those in the user's hands. Each part of a child holds one reference of the same part on the root:
//
//     root.graph = own graph handles + children whose graph part is not zero
//     root.user  = own user handles  + children whose user part is not zero
//
// so that "the graph is done with message n" is exactly the root's graph part reaching zero, and
// "its credit is free" is exactly both parts reaching zero. The graph part rises from zero only
// when a user puts an item back into a graph.

namespace tandem {

struct Lease;
class ArrayBlock;

/// A message that the graph is done with; only users may still hold it.
struct Departure {
  std::uint64_t sequence = 0;
  std::uint64_t sequencers = 0;  // those that knew of it
};

/// Takes leases back. Called by whichever thread drops the last handle; must not throw or block.
class LeaseOwner {
 public:
  /// A user put an item back into a graph that was done with its message (roots only).
  virtual void entered_graph() noexcept = 0;
  /// The graph is done with these messages (roots only).
  virtual void left_graph(std::span<const Departure> messages) noexcept = 0;
  /// Nobody holds the lease any more; the owner may lend it again.
  virtual void ended(Lease& lease) noexcept = 0;

 protected:
  ~LeaseOwner() = default;
};

/// Which of the two counts a handle belongs to.
enum class Part : std::uint8_t { graph, user };

class Handle;

/// Messages that the graph is done with, and whose source has not been told: that costs less for several at once.
/// They are told of at the latest when this ends; until then the source counts them as the graph's.
/// Threads   one.
class Departures {
 public:
  /// More than this are told of in between.
  static constexpr std::size_t kMost = 64;

  Departures() noexcept {}  // NOLINT: the entries need no values
  ~Departures() { tell(); }
  Departures(const Departures&) = delete;
  Departures& operator=(const Departures&) = delete;

  void add(LeaseOwner& source, Departure message) noexcept {
    if (count_ == kMost || (count_ > 0 && source_ != &source)) tell();
    source_ = &source;
    messages_[count_++] = message;
  }
  void tell() noexcept {
    if (count_ > 0) source_->left_graph({messages_, std::exchange(count_, 0)});
  }

 private:
  LeaseOwner* source_ = nullptr;  // of all of them
  std::size_t count_ = 0;
  union {
    Departure messages_[kMost];
  };
};

/// Of a message that a split_node made: which part of which item it is.
struct Piece {
  Lease* whole = nullptr;       // that item, kept by one user's handle; null: this is no part
  Lease* block = nullptr;       // the item in whose block it lies; null: in a commander's messages
  std::uint64_t number = 0;     // from 0
  std::uint64_t count = 1;      // how many parts the item has
  std::uint64_t offset = 0;     // of a struct: bytes from the beginning of the block's output
  std::uint32_t split = kNone;  // of arrays: which split node it was

  static constexpr std::uint32_t kNone = 0xFFFFFFFFU;
};

/// Where a message stands in the rounds of its commander. end: it is no message, but the mark of a round's end; skipped,
/// so that nobody works on it.
enum class Round : std::uint8_t { none, inside, end };

/// One item, as the host knows it. Everything but the two atomics is written by the one thread
/// that fills the lease, before the first handle to it is handed on, and is constant afterwards.
/// What every thread on a message's way needs comes first, in one cache line; the rest is left to the one that lends it.
struct alignas(64) Lease {
  // Constant after construction.
  LeaseOwner* owner = nullptr;

  // Constant from the first handle to the last.
  Lease* root = nullptr;             // the message's lease; the lease itself in a root, for good
  std::uint64_t sequence = 0;        // the message's place in its source's order; none in a loan
  void* payload = nullptr;           // a T in the message store or in a block, or &arrays
  std::unique_ptr<Failure> failure;  // set when the item carries an error and no value

 private:
  std::atomic<std::uint64_t> references_{0};  // graph handles in the upper half, user's in the lower

 public:
  // Bit i: sequencer i knows of the message (of a root). Set by sequencers, read at left_graph().
  std::atomic<std::uint64_t> sequencers{0};

  std::uint32_t source = 0;   // which source of the runtime made the message
  bool skipped = false;       // it holds no value, because its body said so
  bool granted = false;       // there may be something in grants
  bool is_part = false;       // of a root: piece says of what
  Round round = Round::none;  // of a root

  // The second line: what whoever lends it looks at each time, and then what hardly anybody does.
  std::uint32_t index = 0;       // place in the owner's table; constant after construction
  std::uint32_t generation = 0;  // how often a crew has lent it: tells a late reply from a true one
  std::uint32_t node = 0;        // the node that made it
  std::uint32_t block = 0;       // of a pool: which block of the node it lends
  std::byte* memory = nullptr;   // its address
  std::uint32_t list = 0;        // which of the owner's free lists it comes from and returns to
  int worker = -1;               // who made the item
  int attempt = 1;               // how often its message had to be given out
  bool backed = false;           // its block has pages of its own
  bool begun = false;            // a worker ended that may have been at it
  bool alone = false;            // its worker is given no other message meanwhile
  const void* run = nullptr;     // of a root: identifies the Runtime that its message belongs to; constant
  const std::type_info* type = nullptr;  // of a root: of the messages that a consumer may ask for; constant
  std::uint64_t epoch = 0;               // of a root: which round of its commander the message belongs to
  std::uint64_t epoch_begin = 0;         // the sequence number of that round's first message

  Piece piece;                                      // of a root that is_part
  std::vector<std::shared_ptr<ArrayBlock>> grants;  // shared memory that the item's body asked for
  Arrays arrays;                                    // used when the item is a set of arrays
  std::vector<std::uint64_t> extents;  // of its partial arrays, as they were when it was made; keeps its memory

  void drop_grants() noexcept {
    if (std::exchange(granted, false)) grants.clear();
  }
  void add(Part part) noexcept;
  void drop(Part part) noexcept;
  /// A graph handle becomes a user's one. What the graph is done with by that is left for the caller to tell.
  void leave_graph(Departures& gone) noexcept;
  /// The holder of a user handle makes a graph handle beside it.
  void add_to_graph() noexcept;
  /// Whether anybody holds it; exact only while nothing moves.
  bool held() const noexcept { return references_.load(std::memory_order_relaxed) != 0; }
  /// Starts a new life with one graph handle.
  void open() noexcept;
  /// Ends a life in which no handle was made.
  void cancel() noexcept { references_.store(0, std::memory_order_relaxed); }

 private:
  static constexpr std::uint64_t kGraph = std::uint64_t{1} << 32;
  static constexpr std::uint64_t kUser = 1;
  static constexpr std::uint64_t kUserMask = kGraph - 1;
  static constexpr std::uint64_t unit(Part part) { return part == Part::graph ? kGraph : kUser; }
  // Whether the caller's handle, of this part, is the only one. Nobody else can make one then, so what follows needs no
  // atomic change. Acquire: as ENDED, with those who have dropped theirs.
  bool is_only(Part part) const noexcept { return references_.load(std::memory_order_acquire) == unit(part); }
  void drop_graph_of(Departures& gone) noexcept;
};
static_assert(sizeof(Lease) % 64 == 0);

inline void Lease::add(Part part) noexcept {
  // Relaxed is enough: whoever adds already holds a handle, so the lease cannot end meanwhile, and
  // whatever it hands the new handle to synchronises by its own means.
  references_.fetch_add(unit(part), std::memory_order_relaxed);
}

inline void Lease::open() noexcept { references_.store(kGraph, std::memory_order_relaxed); }

inline void Lease::drop(Part part) noexcept {
  // Read first: once the count is down another thread may end the lease and lend it again.
  LeaseOwner* const my_owner = owner;
  Lease* const my_root = root;
  // Relaxed: a bit set by a holder after this line is missed, and the sequencer is then told of a
  // message that it knows already, which it ignores.
  const Departure me{sequence, part == Part::graph ? sequencers.load(std::memory_order_relaxed) : 0};
  std::uint64_t now = 0;
  if (is_only(part)) {
    references_.store(0, std::memory_order_relaxed);
  } else {
    // ENDED: acq_rel, so that the thread that takes the lease back sees all that the other holders
    // did with it. Weaker: a block could be lent again while its last reader still reads.
    now = references_.fetch_sub(unit(part), std::memory_order_acq_rel) - unit(part);
  }
  const bool part_gone = part == Part::graph ? (now >> 32) == 0 : (now & kUserMask) == 0;
  if (my_root == this) {
    if (part_gone && part == Part::graph) my_owner->left_graph({&me, 1});
    if (now == 0) my_owner->ended(*this);
    return;
  }
  if (now == 0) my_owner->ended(*this);  // the block first, so that a freed credit finds a free block
  if (part_gone) my_root->drop(part);
}

inline void Lease::leave_graph(Departures& gone) noexcept {
  if (is_only(Part::graph)) {
    references_.store(kUser, std::memory_order_relaxed);
    if (root != this) return root->leave_graph(gone);  // what the child's graph part held there
    gone.add(*owner, {sequence, sequencers.load(std::memory_order_relaxed)});
    return;
  }
  const std::uint64_t before = references_.fetch_add(kUser, std::memory_order_relaxed);
  // The first user's handle of a child: our graph handle keeps the root's graph part above zero
  // until after this line, so the root cannot end in between.
  if (root != this && (before & kUserMask) == 0) root->add(Part::user);
  drop_graph_of(gone);
}

// By who holds a user's handle, so that it does not end by this.
inline void Lease::drop_graph_of(Departures& gone) noexcept {
  const std::uint64_t now = references_.fetch_sub(kGraph, std::memory_order_acq_rel) - kGraph;  // ENDED
  if ((now >> 32) != 0) return;
  if (root != this) return root->drop_graph_of(gone);
  gone.add(*owner, {sequence, sequencers.load(std::memory_order_relaxed)});
}

inline void Lease::add_to_graph() noexcept {
  if (root == this) {
    if ((references_.fetch_add(kGraph, std::memory_order_acq_rel) >> 32) == 0) owner->entered_graph();
    return;
  }
  // The root first, and too much rather than too little: another thread that finds our graph part above zero
  // counts on the root's.
  root->add_to_graph();
  const std::uint64_t before = references_.fetch_add(kGraph, std::memory_order_acq_rel);
  if ((before >> 32) != 0) root->drop(Part::graph);
}

/// Keeps one item alive. Eight bytes; copying costs one atomic increment.
/// Threads   different handles to one item may be used and dropped by different threads.
class Handle {
 public:
  Handle() noexcept = default;
  /// Adopts one reference that the caller owns.
  Handle(Lease* lease, Part part) noexcept
      : bits_(reinterpret_cast<std::uintptr_t>(lease) | (part == Part::user ? 1U : 0U)) {}
  Handle(const Handle& other) noexcept : bits_(other.bits_) {
    if (bits_ != 0) get()->add(part());
  }
  Handle(Handle&& other) noexcept : bits_(std::exchange(other.bits_, 0)) {}
  Handle& operator=(Handle other) noexcept {
    std::swap(bits_, other.bits_);
    return *this;
  }
  ~Handle() {
    if (bits_ != 0) get()->drop(part());
  }

  explicit operator bool() const noexcept { return bits_ != 0; }
  Lease* get() const noexcept { return reinterpret_cast<Lease*>(bits_ & ~std::uintptr_t{1}); }
  Lease* operator->() const noexcept { return get(); }
  Lease& operator*() const noexcept { return *get(); }
  Part part() const noexcept { return (bits_ & 1U) != 0 ? Part::user : Part::graph; }

  /// Gives the reference up to the caller.
  Lease* release() noexcept {
    Lease* lease = get();
    bits_ = 0;
    return lease;
  }
  /// A handle that counts as the graph's, whatever this one counts as.
  Handle for_graph() const noexcept {
    if (bits_ == 0 || part() == Part::graph) return *this;
    get()->add_to_graph();
    return Handle{get(), Part::graph};
  }
  /// From now on the item is in the user's hands, not in the graph. Its source is told by `gone`.
  void leave_graph(Departures& gone) noexcept {
    if (bits_ == 0 || part() == Part::user) return;
    get()->leave_graph(gone);
    bits_ |= 1U;
  }
  void leave_graph() noexcept {
    Departures gone;
    leave_graph(gone);
  }

 private:
  std::uintptr_t bits_ = 0;  // the lease's address; bit 0: the user's part
};

}  // namespace tandem
