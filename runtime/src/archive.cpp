#include <tandem/archive.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

#include <fmt/format.h>

#include <tandem/error.hpp>

namespace tandem {

void ArchiveWriter::write_array(const std::shared_ptr<ArrayBlock>& block, std::size_t first_byte, Dtype dtype,
                                std::size_t item_bytes, const Shape& shape, bool read_only) {
  ArrayToken token;
  token.read_only = read_only || reading_ ? 1 : 0;
  token.item_bytes = static_cast<std::uint32_t>(item_bytes);
  token.dtype = static_cast<std::uint32_t>(dtype);
  token.rank = static_cast<std::uint32_t>(shape.rank());
  if (block) {
    token.offset = block->offset();
    token.bytes = block->bytes();
    token.room = block->room();  // never 0: says that there is an array
    token.first_byte = first_byte;
    arrays_.push_back(block);
  }
  write(&token, sizeof token);
  write(shape.begin(), shape.rank() * sizeof(std::size_t));
  if (!block || !block->file()) return;
  const FileMapping::Facts& facts = block->file()->facts();
  const std::uint64_t numbers[] = {facts.device, facts.inode, facts.path.size()};
  write(numbers, sizeof numbers);
  write(facts.path.data(), facts.path.size());
}

FileMapping::Facts ArchiveReader::read_file() {
  std::uint64_t numbers[3];
  read(numbers, sizeof numbers);
  check_size(numbers[2]);
  FileMapping::Facts facts{std::string(numbers[2], '\0'), numbers[0], numbers[1]};
  read(facts.path.data(), facts.path.size());
  return facts;
}

std::shared_ptr<ArrayBlock> ArchiveReader::read_array(Dtype dtype, std::size_t item_bytes,
                                                      std::size_t alignment, std::size_t& first_byte,
                                                      Shape& shape) {
  ArrayToken token;
  read(&token, sizeof token);
  std::array<std::size_t, Shape::kMaxRank> extents{};
  if (token.rank > extents.size()) refuse();
  read(extents.data(), token.rank * sizeof(std::size_t));
  if (token.room == 0) return nullptr;
  const bool in_file = token.offset >= ArrayBlock::kOfFiles;
  const FileMapping::Facts facts = in_file ? read_file() : FileMapping::Facts{};
  if (token.dtype != static_cast<std::uint32_t>(dtype) || token.item_bytes != item_bytes) {
    throw Error(fmt::format(
        "a shared array of {} of {} bytes was handed over, and one of {} of {} bytes was wanted",
        token.dtype <= static_cast<std::uint32_t>(Dtype::record) ? name_of(static_cast<Dtype>(token.dtype))
                                                                 : std::string_view{"nothing known"},
        token.item_bytes, name_of(dtype), item_bytes));
  }
  std::shared_ptr<ArrayBlock> block = in_file ? finder_.find_file(token, facts) : finder_.find(token);
  std::size_t bytes = item_bytes;
  bool fits = true;
  bool any = true;
  for (std::size_t i = 0; i < token.rank; ++i) {
    any = any && extents[i] != 0;
    fits = !__builtin_mul_overflow(bytes, std::max<std::size_t>(extents[i], 1), &bytes) && fits;
  }
  fits = fits && bytes <= std::size_t{std::numeric_limits<std::ptrdiff_t>::max()};
  if (!any) bytes = 0;
  if (!fits || token.first_byte > block->bytes() || bytes > block->bytes() - token.first_byte ||
      token.first_byte % alignment != 0) {
    throw Error("a shared array was handed over with extents that its memory does not have");
  }
  first_byte = token.first_byte;
  shape = Shape{std::span<const std::size_t>{extents.data(), token.rank}};
  return block;
}

void ArchiveReader::refuse() {
  throw Error("what was handed over is not what was wanted: its bytes end too early");
}

}  // namespace tandem
