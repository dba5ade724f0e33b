// A mutex for critical sections of less than a microsecond that several threads may want all the time.
//
// Who finds it taken lets others run for some microseconds before looking again: so a thread works for a stretch, with
// the data in its core's cache, and has nobody to wake when it unlocks. With std::mutex, four threads together did half as
// much as one. Who still finds it taken after a while sleeps between looks, since then its holder has lost the
// processor, and may have to get it from the one who looks.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

namespace rp::handoff {

class ContendedMutex {
  public:
    void lock() noexcept {
        for (unsigned looks = 0; taken_.test_and_set(std::memory_order_acquire); ++looks) {
            wait(looks);
        }
    }
    bool try_lock() noexcept { return !taken_.test_and_set(std::memory_order_acquire); }
    void unlock() noexcept { taken_.clear(std::memory_order_release); }

  private:
    static void wait(unsigned looks) noexcept {
        if (looks > 3) {
            std::this_thread::sleep_for(std::chrono::microseconds(50));
            return;
        }
        for (unsigned i = 0; i < 64U << looks; ++i) {
            std::this_thread::yield();
        }
    }

    std::atomic_flag taken_ = ATOMIC_FLAG_INIT;
};

} // namespace rp::handoff
