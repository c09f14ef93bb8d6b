#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <tandem/array.hpp>
#include <tandem/array_store.hpp>
#include <tandem/context.hpp>

// Arrays that grow lie in the store of shared arrays; all that their item's block holds of them is how many rows there are and
// where, which the worker writes once, when its body is done. Whoever reads it looks first whether it can be true:
//
//     the host       believes what lies in memory that it gave for this message, copies it, and reads no more there
//     a worker       that is given the item may read what the maker has written meanwhile: anything, but within the store

namespace tandem {

/// The arrays of one item in the body that makes it, when one of them grows. Made for one message.
/// Threads   the worker's own.
class GrowingArrays final : public Growth {
 public:
  /// layout, context: outlive it.
  GrowingArrays(const ArraysLayout& layout, const Context& context);

  /// For the body. Lifetime: this object's and the block's.
  [[nodiscard]] Arrays arrays(std::byte* block);
  /// When the body is done: what there is goes into the block.
  void write(std::byte* block) const noexcept;

  void grow(std::size_t i, std::size_t rows) override;
  [[nodiscard]] std::size_t room(std::size_t i) const noexcept override;

 private:
  std::shared_ptr<ArrayBlock> take(const ArraySpec& spec, std::size_t rows, std::size_t least);
  std::shared_ptr<ArrayBlock> take(const ArraySpec& spec, std::size_t rows);

  const ArraysLayout& layout_;
  const Context& context_;
  std::vector<std::uint64_t> header_;                // as it comes into the block
  std::vector<std::shared_ptr<ArrayBlock>> pieces_;  // by array; null: it has none
  std::shared_ptr<ArrayBlock> replaced_;             // by a larger one; given back when the next is asked for
};

/// In the host: what is wrong with a header that a worker wrote; empty: nothing. `grants`: what this message was given. Those
/// that no array lies in are given back.
[[nodiscard]] std::string check_grown(const ArraysLayout& layout, std::span<const std::uint64_t> header,
                                      std::vector<std::shared_ptr<ArrayBlock>>& grants);
/// In a worker that reads an item: an array that does not lie within the store has no rows.
void bound_grown(const ArraysLayout& layout, std::span<std::uint64_t> header, std::size_t store_bytes) noexcept;

}  // namespace tandem
