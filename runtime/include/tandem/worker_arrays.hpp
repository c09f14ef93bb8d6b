#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include <tandem/archive.hpp>
#include <tandem/array_store.hpp>

namespace tandem {

/// The shared arrays that a worker process was lent with one call or message. What an earlier one has made writable, and this one is
/// lent again, stays so: to change the protection of pages that were touched costs much more than to leave it.
/// Lifetime  that of the call: with it, all handles to its arrays are refused.
/// Threads   one at a time.
class WorkerArrays final : public ArrayFinder {
 public:
  using Writable =
      std::map<std::uint64_t, std::uint64_t>;  // room by offset; the worker's, for all of its calls

  /// base, bytes   where this process sees the store, and how large it is
  WorkerArrays(std::byte* base, std::size_t bytes, Writable& writable)
      : base_{base}, bytes_{bytes}, writable_{writable} {}
  ~WorkerArrays();
  WorkerArrays(const WorkerArrays&) = delete;
  WorkerArrays& operator=(const WorkerArrays&) = delete;

  std::shared_ptr<ArrayBlock> find(const ArrayToken& token) override;
  /// All that is lent has been found: nothing else stays writable.
  void known();

 private:
  void keep_writable(ArrayBlock& block);

  std::byte* const base_;
  const std::size_t bytes_;
  Writable& writable_;
  std::vector<std::shared_ptr<ArrayBlock>> blocks_;
};

}  // namespace tandem
