#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include <tandem/archive.hpp>
#include <tandem/array_store.hpp>

namespace tandem {

/// The files whose arrays a worker process was lent last: it opens them once, and not for each call. Each can be read, until
/// its array is asked for its elements through a handle that is not constant.
class FileMappings {
 public:
  /// Errors    throws Error as FileMapping::again().
  std::shared_ptr<FileMapping> find(const ArrayToken& token, const FileMapping::Facts& facts);

 private:
  static constexpr std::size_t kMost = 16;
  std::vector<std::shared_ptr<FileMapping>> last_;  // the last first
};

/// The shared arrays that a worker process was lent with one call or message. What an earlier one has made writable, and this one is
/// lent again, stays so: to change the protection of pages that were touched costs much more than to leave it.
/// Lifetime  that of the call: with it, all handles to its arrays are refused.
/// Threads   one at a time.
class WorkerArrays final : public ArrayFinder {
 public:
  /// What a worker keeps from one call to the next.
  struct Kept {
    std::map<std::uint64_t, std::uint64_t> writable;  // room by offset
    FileMappings files;
  };

  /// base, bytes   where this process sees the store, and how large it is
  WorkerArrays(std::byte* base, std::size_t bytes, Kept& kept)
      : base_{base}, bytes_{bytes}, writable_{kept.writable}, files_{kept.files} {}
  ~WorkerArrays();
  WorkerArrays(const WorkerArrays&) = delete;
  WorkerArrays& operator=(const WorkerArrays&) = delete;

  std::shared_ptr<ArrayBlock> find(const ArrayToken& token) override;
  std::shared_ptr<ArrayBlock> find_file(const ArrayToken& token, const FileMapping::Facts& facts) override;
  /// All that is lent has been found: nothing else stays writable.
  void known();

 private:
  void keep_writable(ArrayBlock& block);

  std::byte* const base_;
  const std::size_t bytes_;
  std::map<std::uint64_t, std::uint64_t>& writable_;
  FileMappings& files_;
  std::vector<std::shared_ptr<ArrayBlock>> blocks_;
};

}  // namespace tandem
