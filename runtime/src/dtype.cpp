#include <tandem/dtype.hpp>

#include <cstddef>
#include <string_view>

namespace tandem {

std::size_t item_bytes(Dtype dtype) noexcept {
  switch (dtype) {
    case Dtype::boolean:
    case Dtype::int8:
    case Dtype::uint8: return 1;
    case Dtype::int16:
    case Dtype::uint16:
    case Dtype::float16:
    case Dtype::bfloat16: return 2;
    case Dtype::int32:
    case Dtype::uint32:
    case Dtype::float32: return 4;
    case Dtype::int64:
    case Dtype::uint64:
    case Dtype::float64:
    case Dtype::complex64: return 8;
    case Dtype::complex128: return 16;
    case Dtype::record: break;
  }
  return 0;
}

std::string_view name_of(Dtype dtype) noexcept {
  switch (dtype) {
    case Dtype::boolean: return "bool";
    case Dtype::int8: return "int8";
    case Dtype::int16: return "int16";
    case Dtype::int32: return "int32";
    case Dtype::int64: return "int64";
    case Dtype::uint8: return "uint8";
    case Dtype::uint16: return "uint16";
    case Dtype::uint32: return "uint32";
    case Dtype::uint64: return "uint64";
    case Dtype::float16: return "float16";
    case Dtype::bfloat16: return "bfloat16";
    case Dtype::float32: return "float32";
    case Dtype::float64: return "float64";
    case Dtype::complex64: return "complex64";
    case Dtype::complex128: return "complex128";
    case Dtype::record: return "record";
  }
  return "unknown";
}

}  // namespace tandem
