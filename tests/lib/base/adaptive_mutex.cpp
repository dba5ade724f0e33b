#include "base/adaptive_mutex.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

using namespace rp::handoff;

TEST_CASE("of several threads one at a time holds the mutex") {
    AdaptiveMutex mutex;
    std::atomic<int> inside{0};
    std::atomic<int> most{0};
    std::atomic<int> met{0}; // how often one came while another was inside
    std::atomic<int> total{0};
    int count = 0; // not atomic
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            int own = 0;
            for (; own < 2'000 || met < 100; ++own) {
                met += inside > 0 ? 1 : 0;
                const std::lock_guard<AdaptiveMutex> lock(mutex);
                most = std::max(most.load(), ++inside);
                std::this_thread::yield(); // whoever can come in does it now
                ++count;
                --inside;
            }
            total += own;
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    CHECK(most == 1);
    CHECK(count == total);
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
