#include <tandem/growing_arrays.hpp>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include <tandem/error.hpp>

namespace tandem {

GrowingArrays::GrowingArrays(const ArraysLayout& layout, const Context& context)
    : layout_{layout}, context_{context}, header_(layout.header_words()), pieces_(layout.specs().size()) {}

Arrays GrowingArrays::arrays(std::byte* block) {
  Arrays arrays{layout_, block, header_.data(), context_.arrays(), this};
  arrays.make_whole();
  return arrays;
}

void GrowingArrays::write(std::byte* block) const noexcept {
  std::memcpy(block, header_.data(), header_.size() * sizeof header_[0]);
}

std::size_t GrowingArrays::room(std::size_t i) const noexcept {
  return pieces_[i] ? pieces_[i]->room() / *layout_.specs()[i].bytes_of_rows(1) : 0;
}

void GrowingArrays::grow(std::size_t i, std::size_t rows) {
  const ArraySpec& spec = layout_.specs()[i];
  if (!spec.bytes_of_rows(rows)) {
    throw MemoryError(fmt::format("array '{}' is to have {} rows, which are more bytes than can be addressed",
                                  spec.name, rows));
  }
  const std::size_t had = room(i);
  std::shared_ptr<ArrayBlock> piece = take(spec, std::max(rows, had + had / 2), rows);
  std::byte* const data = piece->writable();
  if (had > 0) std::memcpy(data, pieces_[i]->readable(), *spec.bytes_of_rows(header_[i]));
  header_[layout_.specs().size() + i] = piece->offset();
  replaced_ = std::exchange(pieces_[i], std::move(piece));
}

// More than is asked for, if there is so much.
std::shared_ptr<ArrayBlock> GrowingArrays::take(const ArraySpec& spec, std::size_t rows, std::size_t least) {
  if (rows > least) {
    try {
      return take(spec, rows);
    } catch (const MemoryError&) {}
  }
  try {
    return take(spec, least);
  } catch (const MemoryError& error) {
    throw MemoryError(fmt::format("array '{}' cannot grow to {} rows: {}", spec.name, least, error.what()));
  }
}

std::shared_ptr<ArrayBlock> GrowingArrays::take(const ArraySpec& spec, std::size_t rows) {
  const std::optional<std::size_t> bytes = spec.bytes_of_rows(rows);
  if (!bytes) throw MemoryError("more bytes than can be addressed");
  return context_.grant(*bytes, spec.dtype, spec.shape.with_first(rows), std::exchange(replaced_, nullptr));
}

std::string check_grown(const ArraysLayout& layout, std::span<const std::uint64_t> header,
                        std::vector<std::shared_ptr<ArrayBlock>>& grants) {
  const std::vector<ArraySpec>& specs = layout.specs();
  std::vector<std::shared_ptr<ArrayBlock>> named;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const std::uint64_t rows = header[i];
    if (!specs[i].growing || rows == 0) continue;
    const std::uint64_t place = header[specs.size() + i];
    const auto grant =
        std::find_if(grants.begin(), grants.end(), [place](const auto& one) { return one->offset() == place; });
    const std::optional<std::size_t> bytes = specs[i].bytes_of_rows(rows);
    const std::size_t room = grant == grants.end() ? 0 : (*grant)->room();
    if (!bytes || *bytes > room) {
      return fmt::format(
          "the record of array '{}' was overwritten: it tells of {} rows at byte {} of the shared arrays, "
          "where this "
          "message was given {} bytes; look for writes beyond the arrays of the body's block",
          specs[i].name, rows, place, room);
    }
    named.push_back(*grant);
  }
  grants = std::move(named);
  return {};
}

void bound_grown(const ArraysLayout& layout, std::span<std::uint64_t> header,
                 std::size_t store_bytes) noexcept {
  if (!layout.grows()) return;
  const std::vector<ArraySpec>& specs = layout.specs();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (!specs[i].growing) continue;
    const std::uint64_t place = header[specs.size() + i];
    const std::optional<std::size_t> bytes = specs[i].bytes_of_rows(header[i]);
    const bool fits = bytes && place <= store_bytes && *bytes <= store_bytes - place;
    if (!fits || place % ArraysLayout::kAlignment != 0) header[i] = 0;
  }
}

}  // namespace tandem
