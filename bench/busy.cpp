#include "busy.hpp"

#include <algorithm>

namespace bench {

using Clock = std::chrono::steady_clock;

void busy(std::uint64_t steps) noexcept {
  std::uint64_t state = steps + 1;
  for (std::uint64_t step = 0; step < steps; ++step)
    state = state * 6364136223846793005U + 1442695040888963407U;
  asm volatile("" : "+r"(state));
}

std::uint64_t steps_in(std::chrono::nanoseconds time) {
  constexpr std::uint64_t kSteps = 1'000'000;
  auto fastest = Clock::duration::max();
  for (int attempt = 0; attempt < 20; ++attempt) {
    const auto begin = Clock::now();
    busy(kSteps);
    fastest = std::min(fastest, Clock::now() - begin);
  }
  return static_cast<std::uint64_t>(static_cast<double>(kSteps) * (std::chrono::duration<double>{time} /
                                                                   std::chrono::duration<double>{fastest}));
}

}  // namespace bench
