#include <tandem/linger.hpp>

#include <sched.h>

namespace tandem {

void Linger::give_way() noexcept { sched_yield(); }

}  // namespace tandem
