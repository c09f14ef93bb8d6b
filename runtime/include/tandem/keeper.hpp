#pragma once

#include <sys/types.h>

namespace tandem {

/// Makes the end of the calling process cheap, whenever and however it ends: starts a process that shares its
/// address space and does nothing, a keeper. Without one, what a killed process has touched is taken down in
/// its own last moments, before anybody hears of its end: 12 MB of shared memory cost about a millisecond,
/// a gigabyte inherited from the host forty. With one, that is the keeper's end, for which nobody waits.
///
/// server    the calling process's parent, which becomes the keeper's as well.
/// told      a socket; the keeper writes its own pid (pid_t) there first of all. Its parent kills it after the
///           calling process has ended, and must wait for both. It ends with its parent, too.
/// Threads   the calling process must have one thread. After the return of this call the keeper runs nothing but its
///           wait in the kernel, which nothing but its end ends: memory written over at random makes it do nothing.
/// Writes    of the kernel's own into the address space (libaio; see io_setup(2)) go on until the keeper has ended, too.
/// Errors    without memory or processes left for a keeper there is none, and only the time is lost.
void start_keeper(pid_t server, int told) noexcept;

}  // namespace tandem
