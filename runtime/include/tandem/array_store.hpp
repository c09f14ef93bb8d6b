#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <tandem/array.hpp>
#include <tandem/audit.hpp>
#include <tandem/file_mapping.hpp>
#include <tandem/role.hpp>
#include <tandem/segment.hpp>

namespace tandem {

class ArrayStore;

/// What is known of one shared array.
struct ArrayInfo {
  std::uint64_t id = 0;  ///< never used again
  Dtype dtype = Dtype::uint8;
  Shape shape;
  std::size_t bytes = 0;
  long handles = 0;                  ///< in this process
  std::vector<std::string> holders;  ///< what was lent it now: "node 'adders', call 17"
};

/// The memory of one shared array. In the host it is the store's record of it, and gives the pages back with its last
/// handle. In a worker it stands for what the worker was lent for one call, and is refused after that.
/// Threads   all by any thread.
class ArrayBlock {
 public:
  /// Where it lies in its store, in bytes: what identifies it while it lives. room: whole pages from there on.
  /// lent      in a worker process, for one call.
  ArrayBlock(std::byte* data, std::size_t offset, std::size_t bytes, std::size_t room, bool lent = false)
      : data_{data}, offset_{offset}, bytes_{bytes}, room_{room}, lent_{lent} {}
  /// In a file, and in no store; the offset is a number that is no place in one.
  ArrayBlock(std::shared_ptr<FileMapping> file, std::size_t offset, std::size_t bytes, bool lent = false);
  static constexpr std::size_t kOfFiles = std::size_t{1} << 63;  // offsets from here on
  /// For the host: one that nobody else has.
  static std::size_t next_of_files() noexcept;
  ArrayBlock(const ArrayBlock&) = delete;
  ArrayBlock& operator=(const ArrayBlock&) = delete;

  std::size_t offset() const noexcept { return offset_; }
  std::size_t bytes() const noexcept { return bytes_; }
  std::size_t room() const noexcept { return room_; }

  /// The first byte, to be read.
  /// Errors    throws Error in a worker after the call that it was lent for.
  std::byte* readable() const {
    if (over_.load(std::memory_order_relaxed)) [[unlikely]]
      refuse();
    return data_;
  }
  /// The first byte, to be written: a worker process cannot write the array before it has asked for it once.
  /// Errors    as readable().
  std::byte* writable() {
    if (!writable_.load(std::memory_order_relaxed) && (lent_ || is_worker_process())) [[unlikely]]
      make_writable();
    return readable();
  }
  /// In a worker: it is lent for writing, too.
  void lend_for_writing() noexcept { for_reading_ = false; }
  /// The file that it lies in; null: none.
  const std::shared_ptr<FileMapping>& file() const noexcept { return file_; }
  /// Returns when the system has written these bytes to the file.
  /// Errors    throws Error when there is none, or it could not be written; as readable().
  void sync(std::size_t first, std::size_t bytes) const;
  bool was_writable() const noexcept { return writable_.load(std::memory_order_relaxed); }
  /// In a worker: already writable, since an earlier call.
  void set_writable() noexcept { writable_.store(true, std::memory_order_relaxed); }
  /// In a worker: the call is over.
  void end() noexcept { over_.store(true, std::memory_order_relaxed); }

 private:
  friend class ArrayStore;
  [[noreturn]] void refuse() const;
  void make_writable();

  std::byte* const data_;
  const std::size_t offset_;
  const std::size_t bytes_;
  const std::size_t room_;
  const bool lent_;
  bool for_reading_ = lent_;
  const std::shared_ptr<FileMapping> file_;
  // Relaxed, both: they carry no data. A thread that a body left behind may see the end one look later.
  std::atomic<bool> over_{false};
  std::atomic<bool> writable_{false};

  // Of the store, and guarded by its mutex.
  std::uint64_t id_ = 0;
  Dtype dtype_ = Dtype::uint8;
  Shape shape_;
  std::vector<std::string> holders_;
};

/// Where shared arrays live: a sealed memory file of its own, whose books (what is free, what is alive, who holds it) are in
/// the host's heap alone. Workers map it read-only, and write what they were lent.
///
///     free + alive = all, whenever nothing moves
///
/// An array takes whole pages, so that what a worker may write ends where the array ends. First fit from the lowest
/// address; neighbours that are free become one. The pages of arrays that are gone are kept for the next ones: to take new ones
/// costs many times as much as to use them again.
/// Threads   all functions by any thread.
/// Locks     mutex_ is the last that a thread takes, and nothing is called under it but the kernel.
/// Lifetime  kept by its blocks.
class ArrayStore final : public std::enable_shared_from_this<ArrayStore> {
 public:
  /// bytes     how much all arrays may take together, in whole pages. Address space; pages are taken when they are needed.
  /// Errors    throws MemoryError when the system refuses the address space.
  explicit ArrayStore(std::size_t bytes);

  /// Memory for an array, of indeterminate contents.
  /// Errors    throws MemoryError, with numbers, when there is no room, or the system refuses the pages.
  [[nodiscard]] std::shared_ptr<ArrayBlock> allocate(std::size_t bytes, Dtype dtype, const Shape& shape);
  /// The same; null when there is no room.
  [[nodiscard]] std::shared_ptr<ArrayBlock> try_allocate(std::size_t bytes, Dtype dtype, const Shape& shape);

  /// Notes who is lent an array, for arrays(); and that it is not any more. Not of those in files, which are in no store.
  void note_holder(ArrayBlock& block, const std::string& holder);
  void forget_holder(ArrayBlock& block, const std::string& holder);

  /// Whether something is held by a message or a call (note_holder()), and so comes back by itself.
  [[nodiscard]] bool any_held() const;
  /// Messages that wait for room. Others take none meanwhile before it is their turn, or a large one would wait for ever.
  [[nodiscard]] bool anybody_waits() const noexcept { return waiting_.load(std::memory_order_relaxed) > 0; }
  void begin_waiting() noexcept { waiting_.fetch_add(1, std::memory_order_relaxed); }
  void end_waiting() noexcept { waiting_.fetch_sub(1, std::memory_order_relaxed); }
  /// Whether the memory is of this store or in a file, and not of another runtime's.
  [[nodiscard]] bool owns(const ArrayBlock& block) const noexcept {
    if (block.file()) return true;
    return block.data_ >= segment_.base() && block.data_ < segment_.base() + segment_.size();
  }

  /// All arrays that are alive, by id.
  [[nodiscard]] std::vector<ArrayInfo> arrays() const;
  /// Bytes in all, and those in use now, in whole pages.
  [[nodiscard]] std::size_t size() const noexcept { return segment_.size(); }
  [[nodiscard]] std::size_t used() const;
  [[nodiscard]] Segment& segment() noexcept { return segment_; }
  /// Adds what is wrong with the books.
  void audit(Audit& audit) const;

 private:
  void take_back(ArrayBlock& block) noexcept;
  std::optional<std::size_t> take_pages(std::size_t bytes, std::size_t room);
  std::size_t take_place(std::size_t room);
  void put_place(std::size_t offset, std::size_t room);
  [[noreturn]] void refuse(std::size_t bytes) const;

  Segment segment_;
  std::atomic<int> waiting_{0};                             // relaxed: who sees it late takes room once more
  mutable std::mutex mutex_;                                // guards all below
  std::map<std::size_t, std::size_t> free_;                 // bytes by offset; no two touch
  std::map<std::size_t, std::weak_ptr<ArrayBlock>> alive_;  // by offset
  std::uint64_t next_id_ = 0;
  std::size_t used_ = 0;
  std::size_t backed_ = 0;  // pages exist from the beginning to here: no array was ever beyond
};

}  // namespace tandem
