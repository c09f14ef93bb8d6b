#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include <tandem/archive.hpp>
#include <tandem/context.hpp>
#include <tandem/node.hpp>

// What an Executor and its workers say to each other: which function, and its arguments as bytes; its result as bytes.

namespace tandem {

/// Reads the arguments of a call, makes it, and writes the result.
using Thunk = void (*)(ArchiveReader& arguments, ArchiveWriter& result, Context& context);

/// A function of the program, or of a library that it has loaded, as another process of the same program finds it.
struct CodeAddress {
  std::uint64_t module = 0;  // XXH3 of its file's name
  std::uint64_t offset = 0;  // from where it is loaded

  /// Errors    throws Error when the address is in no file.
  static CodeAddress of(const void* function);
  /// Errors    throws Error when this process has not loaded that file.
  [[nodiscard]] const void* find() const;
};

/// Host to worker.
struct CallMessage {
  static constexpr std::size_t kInline = 208;

  CodeAddress thunk;
  std::uint64_t bytes = 0;  // of the arguments
  std::uint64_t place = 0;  // in the store of shared arrays, when they are more than kInline
  std::uint64_t once = 0;   // 1: it may write to its arguments, so it must not be begun again
  std::uint64_t call = 0;   // the host's record, for workers that are threads of the host
  alignas(8) std::byte arguments[kInline] = {};
};
static_assert(sizeof(CallMessage) == 256);

/// Worker to host. Not believed.
struct CallResult {
  static constexpr std::size_t kInline = 240;

  std::uint64_t bytes = 0;
  std::uint64_t place = 0;  // in the store of shared arrays, when they are more than kInline
  std::byte result[kInline] = {};
};
static_assert(sizeof(CallResult) == 256);

/// Finds arrays among those of a call, in the host.
class LentArrays final : public ArrayFinder {
 public:
  explicit LentArrays(std::span<const std::shared_ptr<ArrayBlock>> arguments,
                      std::span<const std::shared_ptr<ArrayBlock>> granted = {})
      : arguments_{arguments}, granted_{granted} {}
  std::shared_ptr<ArrayBlock> find(const ArrayToken& token) override;
  std::shared_ptr<ArrayBlock> find_file(const ArrayToken& token, const FileMapping::Facts& facts) override;

 private:
  std::span<const std::shared_ptr<ArrayBlock>> arguments_;
  std::span<const std::shared_ptr<ArrayBlock>> granted_;
};

/// The body of an Executor's node. arrays_of: the arrays of a call of which CallMessage::call is the record, for threads.
[[nodiscard]] std::unique_ptr<Body> make_call_body(
    std::function<void(Context&)> initialise,
    std::span<const std::shared_ptr<ArrayBlock>> (*arrays_of)(std::uint64_t call));

}  // namespace tandem
