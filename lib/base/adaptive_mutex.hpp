// A mutex for critical sections of less than a microsecond that several threads may want all the time: who finds it taken
// looks again for a moment before it sleeps.
#pragma once

#include <pthread.h>

namespace rp::handoff {

class AdaptiveMutex {
  public:
    AdaptiveMutex() noexcept = default;
    AdaptiveMutex(const AdaptiveMutex &) = delete;
    AdaptiveMutex &operator=(const AdaptiveMutex &) = delete;
    ~AdaptiveMutex() { pthread_mutex_destroy(&mutex_); }

    // Fails only for mutexes of other kinds.
    void lock() noexcept { pthread_mutex_lock(&mutex_); }
    bool try_lock() noexcept { return pthread_mutex_trylock(&mutex_) == 0; }
    void unlock() noexcept { pthread_mutex_unlock(&mutex_); }

  private:
#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP // glibc's
    pthread_mutex_t mutex_ = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
#else
    pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
#endif
};

} // namespace rp::handoff
