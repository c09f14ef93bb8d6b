#include "processors.hpp"

#include <sched.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <stdexcept>

#include <fmt/format.h>

namespace bench {

int use_processors(int count) {
  cpu_set_t may{};
  cpu_set_t use{};
  bool done = sched_getaffinity(0, sizeof may, &may) == 0;
  for (std::size_t processor = 0; processor < CPU_SETSIZE && CPU_COUNT(&use) < count; ++processor) {
    if (CPU_ISSET(processor, &may)) CPU_SET(processor, &use);
  }
  done = done && sched_setaffinity(0, sizeof use, &use) == 0;
  if (!done)
    throw std::runtime_error(fmt::format("cannot choose {} processors: {}", count, std::strerror(errno)));
  return CPU_COUNT(&use);
}

}  // namespace bench
