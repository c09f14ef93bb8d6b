#pragma once

namespace bench {

/// Lets this thread, and all that it starts from now on, use only the first `count` of the processors that it may use
/// now (sched_setaffinity(2)). Returns how many that are: fewer if there are fewer.
/// Errors    throws std::runtime_error when the kernel refuses.
int use_processors(int count);

}  // namespace bench
