#include <tandem/context.hpp>

#include <tandem/array.hpp>
#include <tandem/error.hpp>

#include <xxhash.h>

namespace tandem {

void Random::next_lap() {
  Stream::ctr_type counter = stream_.counter();
  ++counter[1];
  stream_.reset(counter, {{stream_key_, 0}});
  left_in_lap_ = kNumbersPerLap;
}

std::shared_ptr<ArrayBlock> Context::grant(std::size_t bytes, Dtype dtype, const Shape& shape,
                                           const std::shared_ptr<ArrayBlock>& done_with) const {
  if (grant_ == nullptr) {
    throw Error(
        "there are no shared arrays in this run: make the first one with Runtime::array(), or an Executor, "
        "before the run "
        "starts");
  }
  return (*grant_)(bytes, dtype, shape, done_with);
}

std::uint64_t stream_key(std::uint64_t seed, std::string_view node) {
  return XXH3_64bits_withSeed(node.data(), node.size(), seed);
}

}  // namespace tandem
