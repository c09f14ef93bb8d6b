#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <Eigen/Core>
#include <tandem/array.hpp>
#include <tandem/context.hpp>

#include "image.hpp"

namespace tiles {

constexpr std::size_t kPatches = 64;  // in a batch
constexpr std::size_t kSide = 256;    // pixels of a patch
constexpr std::size_t kRowValues = kSide * kChannels;
constexpr std::size_t kPatchValues = kSide * kRowValues;

/// The message: asks for one batch.
struct Request {
  std::uint64_t batch;
};

/// The commander: asks for `batches` of them.
class Requests {
 public:
  explicit Requests(std::uint64_t batches) : batches_{batches} {}
  std::optional<Request> operator()() {
    if (next_ == batches_) return std::nullopt;
    return Request{next_++};
  }

 private:
  std::uint64_t batches_;
  std::uint64_t next_ = 0;
};

/// The first producer: cuts a batch of patches from a picture, at random places, some mirrored, each
/// a little brighter or darker. The picture is the host's: a forked worker shares its pages.
class Reader {
 public:
  static std::vector<tandem::ArraySpec> outputs();

  explicit Reader(std::shared_ptr<const Image> image) : image_{std::move(image)} {}
  void operator()(const Request&, tandem::Arrays& out, tandem::Context& context) const;

 private:
  std::shared_ptr<const Image> image_;
};

/// The second producer: levels become float32 with mean 0 and deviation 1, by the picture's own levels.
class Normalise {
 public:
  static std::vector<tandem::ArraySpec> outputs();

  explicit Normalise(const Levels& levels);
  void operator()(const tandem::Arrays& in, tandem::Arrays& out) const;

 private:
  using Row = Eigen::Array<float, kRowValues, 1>;
  Row scale_;  // one of each per value of a row, so that a row is one operation on vectors
  Row offset_;
};

}  // namespace tiles
