#pragma once

#include <concepts>
#include <memory>

#include <tandem/archive.hpp>
#include <tandem/packing.hpp>

// Include it to send messages of types that are not their bytes to producers: strings, vectors, maps, optionals, variants,
// SharedArray, whatever cereal can serialise, and structs of these with a
//
//     template <class Archive> void serialize(Archive& archive) { archive(path, rows, options); }
//
// (https://uscilab.github.io/cereal/). Headers of cereal for types beyond the usual ones are the program's to include, before.

namespace tandem {

/// A type whose values can be packed, and made again from what was packed.
template <class M>
concept SerializableMessage =
    std::default_initializable<M> && cereal::traits::is_output_serializable<M, ArchiveWriter>::value &&
    cereal::traits::is_input_serializable<M, ArchiveReader>::value;

/// Order     where a message names shared arrays, a body in a worker process reads them where they are. They are lent for reading.
template <SerializableMessage M>
struct PackingOf<M> {
  static void pack(const void* message, ArchiveWriter& to) { to(*static_cast<const M*>(message)); }
  static std::shared_ptr<const void> unpack(ArchiveReader& from) {
    auto message = std::make_shared<M>();
    from(*message);
    return message;
  }
};

}  // namespace tandem
