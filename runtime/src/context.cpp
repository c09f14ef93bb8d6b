#include <tandem/context.hpp>

#include <xxhash.h>

namespace tandem {

void Random::next_lap() {
  Stream::ctr_type counter = stream_.counter();
  ++counter[1];
  stream_.reset(counter, {{stream_key_, 0}});
  left_in_lap_ = kNumbersPerLap;
}

std::uint64_t stream_key(std::uint64_t seed, std::string_view node) {
  return XXH3_64bits_withSeed(node.data(), node.size(), seed);
}

}  // namespace tandem
