#pragma once

#include <Eigen/Core>

#include <array>
#include <complex>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace tandem {

/// The type of an array's elements.
enum class Dtype : std::uint8_t {
  boolean,
  int8,
  int16,
  int32,
  int64,
  uint8,
  uint16,
  uint32,
  uint64,
  float16,
  bfloat16,
  float32,
  float64,
  complex64,
  complex128,
  record,  ///< a trivially copyable struct, described by its fields
};

/// Bytes of one element; 0 for records, whose size is their own.
[[nodiscard]] std::size_t item_bytes(Dtype dtype) noexcept;

/// The dtype's name: "bool", "uint8", "float32", "record", ...
[[nodiscard]] std::string_view name_of(Dtype dtype) noexcept;

/// One named member of a record.
struct Field {
  std::string name;
  Dtype dtype = Dtype::uint8;
  std::size_t offset = 0;  ///< bytes from the record's beginning
  std::size_t count = 1;   ///< elements, where the member is itself an array

  bool operator==(const Field&) const = default;
};

/// Describes a struct of the user's as array elements; specialise it with a static fields():
///     template <> struct tandem::RecordFields<Particle> {
///       static std::vector<Field> fields() { return {field<&Particle::x>("x"), field<&Particle::id>("id")}; }
///     };
template <class T>
struct RecordFields;

/// A struct that RecordFields describes.
template <class T>
concept Record = std::is_class_v<T> && std::is_trivially_copyable_v<T> && alignof(T) <= 64 && requires {
  { RecordFields<T>::fields() } -> std::convertible_to<std::vector<Field>>;
};

namespace detail {

template <class T>
[[nodiscard]] consteval std::optional<Dtype> find_dtype() {
  if constexpr (std::is_same_v<T, bool>)
    return Dtype::boolean;
  else if constexpr (std::is_same_v<T, std::int8_t>)
    return Dtype::int8;
  else if constexpr (std::is_same_v<T, std::int16_t>)
    return Dtype::int16;
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return Dtype::int32;
  else if constexpr (std::is_same_v<T, std::int64_t> || std::is_same_v<T, long long>)
    return Dtype::int64;
  else if constexpr (std::is_same_v<T, std::uint8_t>)
    return Dtype::uint8;
  else if constexpr (std::is_same_v<T, std::uint16_t>)
    return Dtype::uint16;
  else if constexpr (std::is_same_v<T, std::uint32_t>)
    return Dtype::uint32;
  else if constexpr (std::is_same_v<T, std::uint64_t> || std::is_same_v<T, unsigned long long>)
    return Dtype::uint64;
  else if constexpr (std::is_same_v<T, Eigen::half>)
    return Dtype::float16;
  else if constexpr (std::is_same_v<T, Eigen::bfloat16>)
    return Dtype::bfloat16;
  else if constexpr (std::is_same_v<T, float>)
    return Dtype::float32;
  else if constexpr (std::is_same_v<T, double>)
    return Dtype::float64;
  else if constexpr (std::is_same_v<T, std::complex<float>>)
    return Dtype::complex64;
  else if constexpr (std::is_same_v<T, std::complex<double>>)
    return Dtype::complex128;
  else if constexpr (Record<T>)
    return Dtype::record;
  else
    return std::nullopt;
}

}  // namespace detail

/// A type that arrays can hold: a dtype's own C++ type or a described record.
template <class T>
concept Element = detail::find_dtype<T>().has_value();

/// The dtype of a C++ type.
template <Element T>
inline constexpr Dtype dtype_of = *detail::find_dtype<T>();  // NOLINT(*-naming): a trait, named like std's

/// The fields of a record, made once; empty for every other type.
template <Element T>
[[nodiscard]] const std::vector<Field>& fields_of() {
  static const std::vector<Field> fields = [] {
    if constexpr (dtype_of<T> == Dtype::record)
      return std::vector<Field>{RecordFields<T>::fields()};
    else
      return std::vector<Field>{};
  }();
  return fields;
}

namespace detail {

template <class T, class Member, class Owner>
[[nodiscard]] Field make_field(Member Owner::*member, std::string name) {
  using Scalar = std::remove_all_extents_t<Member>;
  static_assert(Element<Scalar> && !Record<Scalar>, "a field is a number or an array of numbers");
  // Bytes begin the life of a trivially copyable struct ([intro.object]/10): no constructor is needed.
  alignas(T) std::array<std::byte, sizeof(T)> bytes{};
  const auto* record = reinterpret_cast<const T*>(bytes.data());
  const auto* place = reinterpret_cast<const std::byte*>(&(record->*member));
  return {std::move(name), dtype_of<Scalar>, static_cast<std::size_t>(place - bytes.data()),
          sizeof(Member) / sizeof(Scalar)};
}

template <class Member, class Owner>
Owner owner_of(Member Owner::*);

}  // namespace detail

/// The description of one member: field<&Particle::position>("position").
template <auto MemberPointer>
[[nodiscard]] Field field(std::string name) {
  return detail::make_field<decltype(detail::owner_of(MemberPointer))>(MemberPointer, std::move(name));
}

}  // namespace tandem
