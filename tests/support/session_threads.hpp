// Threads beside a session's loop: one that calls and is gone, one that waits.
#pragma once

#include <atomic>
#include <cstring>
#include <ctime>
#include <thread>

#include "support/session.hpp"

namespace rp::test {

// Calls it in a thread of its own, and returns when that has ended.
template <class Body>
void in_another_thread(Body body) {
    std::thread(body).join();
}

// When this thread, another one of this process, sleeps in the kernel.
inline void await_sleep(pid_t thread) {
    const std::string path = "/proc/self/task/" + std::to_string(thread) + "/stat";
    char state = 0;
    while (state != 'S') {
        char line[256] = {};
        const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
        const ssize_t n = read(file.get(), line, sizeof line - 1);
        const char *const after_name = n > 0 ? std::strrchr(line, ')') : nullptr;
        state = after_name != nullptr ? after_name[2] : '\0';
    }
}

// Of this thread, in nanoseconds.
inline std::uint64_t processor_time() {
    timespec time{};
    REQUIRE(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0);
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

// A thread that waits in a session, and has fallen asleep in it when this is made.
class Waiter {
  public:
    Waiter(const Session &session, std::uint64_t timeout)
        : thread_([this, &session, timeout] {
              id_ = gettid();
              answer_ = rp_handoff_session_wait(session.get(), timeout);
              processor_time_ = processor_time();
          }) {
        while (id_ == 0) {
            std::this_thread::yield();
        }
        await_sleep(id_);
    }
    Waiter(const Waiter &) = delete;
    Waiter &operator=(const Waiter &) = delete;
    ~Waiter() { join(); }

    std::int32_t answer() {
        join();
        return answer_;
    }
    std::uint64_t used() {
        join();
        return processor_time_;
    }

  private:
    void join() {
        if (thread_.joinable()) {
            thread_.join();
        }
    }

    std::atomic<pid_t> id_{0};
    std::int32_t answer_ = -1;
    std::uint64_t processor_time_ = 0;
    std::thread thread_;
};

} // namespace rp::test
