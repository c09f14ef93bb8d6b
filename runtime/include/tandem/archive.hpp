#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <boost/container/small_vector.hpp>
#include <cereal/archives/binary.hpp>
#include <cereal/cereal.hpp>
#include <cereal/types/array.hpp>
#include <cereal/types/complex.hpp>
#include <cereal/types/deque.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/optional.hpp>
#include <cereal/types/set.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/tuple.hpp>
#include <cereal/types/unordered_map.hpp>
#include <cereal/types/utility.hpp>
#include <cereal/types/variant.hpp>
#include <cereal/types/vector.hpp>

#include <tandem/shared_array.hpp>

// Values as bytes, between two processes of one program on one machine, by cereal; and shared arrays in them, whose elements stay
// where they are.

namespace tandem {

/// What stands for a shared array between processes. All in bytes.
struct ArrayToken {
  std::uint64_t offset = 0;  // of the array's memory in the store
  std::uint64_t bytes = 0;   // of it
  std::uint64_t room = 0;
  std::uint64_t first_byte = 0;  // of the part that is meant
  std::uint32_t dtype = 0;
  std::uint32_t item_bytes = 0;
  std::uint32_t rank = 0;
  std::uint32_t read_only = 0;  // 1: lent for reading
};

/// Finds the memory that a token names.
class ArrayFinder {
 public:
  /// Errors    throws Error when nobody lent it.
  virtual std::shared_ptr<ArrayBlock> find(const ArrayToken& token) = 0;
  /// The same for one in a file; see ArrayBlock::kOfFiles.
  virtual std::shared_ptr<ArrayBlock> find_file(const ArrayToken& token, const FileMapping::Facts&) {
    return find(token);
  }

 protected:
  ~ArrayFinder() = default;
};

/// Threads   one at a time. Errors: those of the values' own functions.
class ArchiveWriter : public cereal::OutputArchive<ArchiveWriter, cereal::AllowEmptyClassElision> {
 public:
  ArchiveWriter() : OutputArchive{this} {}

  void write(const void* data, std::size_t bytes) {
    const auto* const first = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), first, first + bytes);
  }
  void write_array(const std::shared_ptr<ArrayBlock>& block, std::size_t first_byte, Dtype dtype,
                   std::size_t item_bytes, const Shape& shape, bool read_only);
  /// Whether the arrays from here on are lent for reading, whatever their handles allow.
  void set_reading(bool reading) noexcept { reading_ = reading; }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {bytes_.data(), bytes_.size()}; }
  /// The arrays that were written, each once for each time.
  [[nodiscard]] std::vector<std::shared_ptr<ArrayBlock>>& arrays() noexcept { return arrays_; }

 private:
  boost::container::small_vector<std::byte, 512> bytes_;
  std::vector<std::shared_ptr<ArrayBlock>> arrays_;
  bool reading_ = false;
};

/// Reads what need not be true: sizes that the bytes cannot hold are refused before any memory is taken for them.
/// Errors    throws Error for bytes that are not what was wanted.
class ArchiveReader : public cereal::InputArchive<ArchiveReader, cereal::AllowEmptyClassElision> {
 public:
  ArchiveReader(std::span<const std::byte> bytes, ArrayFinder& finder)
      : InputArchive{this}, rest_{bytes}, finder_{finder} {}

  void read(void* data, std::size_t bytes) {
    if (bytes > rest_.size()) refuse();
    if (bytes > 0) std::memcpy(data, rest_.data(), bytes);
    rest_ = rest_.subspan(bytes);
  }
  /// To be called when all has been read that there is to read; on_end hears it.
  void end() const {
    if (on_end) on_end();
  }
  std::function<void()> on_end;
  /// Not every byte is one.
  bool read_bool() {
    std::uint8_t byte = 0;
    read(&byte, sizeof byte);
    if (byte > 1) refuse();
    return byte == 1;
  }
  void check_size(std::uint64_t size) const {
    if (size > rest_.size()) refuse();
  }
  std::shared_ptr<ArrayBlock> read_array(Dtype dtype, std::size_t item_bytes, std::size_t alignment,
                                         std::size_t& first_byte, Shape& shape);

 private:
  FileMapping::Facts read_file();
  [[noreturn]] static void refuse();

  std::span<const std::byte> rest_;
  ArrayFinder& finder_;
};

namespace detail {

template <class T>
inline constexpr bool kIsView = false;  // NOLINT(*-naming)
template <class C, class Traits>
inline constexpr bool kIsView<std::basic_string_view<C, Traits>> = true;
template <class T, std::size_t N>
inline constexpr bool kIsView<std::span<T, N>> = true;

}  // namespace detail

/// A struct that is its bytes, and for which nobody has said how it is serialised.
template <class T>
concept PlainStruct = std::is_class_v<T> && std::is_trivially_copyable_v<T> && !detail::kIsView<T> &&
                      !cereal::traits::is_output_serializable<T, cereal::BinaryOutputArchive>::value;

// What cereal looks for, by argument-dependent lookup.

template <class T>
  requires std::is_arithmetic_v<T>
void CEREAL_SAVE_FUNCTION_NAME(ArchiveWriter& archive, const T& value) {
  archive.write(&value, sizeof value);
}
template <class T>
  requires std::is_arithmetic_v<T>
void CEREAL_LOAD_FUNCTION_NAME(ArchiveReader& archive, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    value = archive.read_bool();
  } else {
    archive.read(&value, sizeof value);
  }
}

// The archive first: whether a struct is a plain one is found out with another archive, which must not ask here again.
template <class Archive, class T>
  requires(std::same_as<Archive, ArchiveWriter> && PlainStruct<T>)
void CEREAL_SAVE_FUNCTION_NAME(Archive& archive, const T& value) {
  archive.write(&value, sizeof value);
}
template <class Archive, class T>
  requires(std::same_as<Archive, ArchiveReader> && PlainStruct<T>)
void CEREAL_LOAD_FUNCTION_NAME(Archive& archive, T& value) {
  archive.read(static_cast<void*>(&value), sizeof value);
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(ArchiveWriter& archive, const cereal::NameValuePair<T>& pair) {
  archive(pair.value);
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(ArchiveReader& archive, cereal::NameValuePair<T>& pair) {
  archive(pair.value);
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(ArchiveWriter& archive, const cereal::SizeTag<T>& tag) {
  const std::uint64_t size = tag.size;
  archive.write(&size, sizeof size);
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(ArchiveReader& archive, cereal::SizeTag<T>& tag) {
  std::uint64_t size = 0;
  archive.read(&size, sizeof size);
  archive.check_size(size);  // an element is a byte at least
  tag.size = static_cast<std::decay_t<T>>(size);
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(ArchiveWriter& archive, const cereal::BinaryData<T>& data) {
  archive.write(data.data, static_cast<std::size_t>(data.size));
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(ArchiveReader& archive, cereal::BinaryData<T>& data) {
  archive.read(data.data, static_cast<std::size_t>(data.size));
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(ArchiveWriter& archive, const SharedArray<T>& array) {
  using Value = std::remove_const_t<T>;
  archive.write_array(array.block(), array.first_byte(), dtype_of<Value>, sizeof(Value), array.shape(),
                      SharedArray<T>::kReadOnly);
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(ArchiveReader& archive, SharedArray<T>& array) {
  using Value = std::remove_const_t<T>;
  std::size_t first_byte = 0;
  Shape shape;
  auto block = archive.read_array(dtype_of<Value>, sizeof(Value), alignof(Value), first_byte, shape);
  array = block ? SharedArray<T>{std::move(block), first_byte, shape} : SharedArray<T>{};
}

}  // namespace tandem

CEREAL_REGISTER_ARCHIVE(tandem::ArchiveWriter)
CEREAL_REGISTER_ARCHIVE(tandem::ArchiveReader)
CEREAL_SETUP_ARCHIVE_TRAITS(tandem::ArchiveReader, tandem::ArchiveWriter)
