#pragma once

#include <pthread.h>

namespace tandem {

/// A mutex for what mostly takes a few instructions: who finds it taken tries again for a moment before it sleeps, since a sleep and a
/// wake-up cost more than the wait. It does sleep in the end, so a holder that has lost the processor gets it back.
/// Source    PTHREAD_MUTEX_ADAPTIVE_NP of the GNU C library, which learns how long is worth it.
class BriefMutex {
 public:
  BriefMutex() = default;
  ~BriefMutex() { pthread_mutex_destroy(&mutex_); }
  BriefMutex(const BriefMutex&) = delete;
  BriefMutex& operator=(const BriefMutex&) = delete;

  void lock() noexcept { pthread_mutex_lock(&mutex_); }
  bool try_lock() noexcept { return pthread_mutex_trylock(&mutex_) == 0; }
  void unlock() noexcept { pthread_mutex_unlock(&mutex_); }

 private:
  pthread_mutex_t mutex_ = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
};

}  // namespace tandem
