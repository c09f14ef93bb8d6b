#pragma once

#include <chrono>
#include <cstdint>

namespace bench {

/// Arithmetic of which each step needs the one before. Unlike a loop that looks at the clock, it takes longer
/// when something else has the processor.
void busy(std::uint64_t steps) noexcept;

/// How many steps take so long here. The fastest of some tries, because others may use the machine too. Ask once,
/// for all variants.
std::uint64_t steps_in(std::chrono::nanoseconds time);

}  // namespace bench
