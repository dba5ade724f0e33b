#include "base/adaptive_mutex.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

using namespace rp::handoff;

TEST_CASE("of several threads one at a time holds the mutex") {
    AdaptiveMutex mutex;
    int count = 0; // not atomic
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int k = 0; k < 20'000; ++k) {
                const std::lock_guard<AdaptiveMutex> lock(mutex);
                ++count;
            }
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    CHECK(count == 4 * 20'000);
}

TEST_CASE("who waits for a mutex that is held for long gets it in the end, and not before") {
    AdaptiveMutex mutex;
    std::atomic<bool> held{true};
    std::atomic<bool> begun{false};
    bool was_held = true;
    mutex.lock();
    std::thread waiter([&] {
        begun = true;
        const std::lock_guard<AdaptiveMutex> lock(mutex);
        was_held = held;
    });
    while (!begun) {
        std::this_thread::yield();
    }
    for (int i = 0; i < 20'000; ++i) { // longer than a waiter stays awake
        std::this_thread::yield();
    }
    held = false;
    mutex.unlock();
    waiter.join();
    CHECK_FALSE(was_held);
}
