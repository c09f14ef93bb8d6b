#pragma once

#include <cstdint>
#include <functional>

namespace bench {

/// One of the machine's limits: as many threads as workers, each doing an equal share of `count` pieces of work,
/// with nothing handed over, no order and no check. Returns pieces per second.
/// `prepare`  makes what one thread does for the message of a number; called in each thread, and tried some times,
///            before the clock starts.
double limit_rate(int workers, std::uint64_t count,
                  const std::function<std::function<void(std::uint64_t number)>()>& prepare);

}  // namespace bench
