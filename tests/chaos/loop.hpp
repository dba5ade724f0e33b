// One epoll set, level-triggered. What is ready is told by the key that it was watched under: the kind of thing, and its
// number.
#pragma once

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <sys/epoll.h>

#include "base/unique_fd.hpp"

namespace rp::chaos {

using handoff::UniqueFd;

constexpr std::uint64_t millisecond_ns = 1000000;

inline std::uint64_t now_ns() noexcept {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1000 * millisecond_ns + static_cast<std::uint64_t>(now.tv_nsec);
}

enum class Kind : std::uint32_t { listener, arrival, session, served, connection };

struct Key {
    Kind kind;
    std::uint32_t number;
};

class Loop {
  public:
    Loop() : set_(epoll_create1(EPOLL_CLOEXEC)) {
        if (!set_) {
            std::perror("chaos: epoll");
            std::exit(2);
        }
    }

    void watch(int fd, Key key, std::uint32_t events = EPOLLIN) const { control(EPOLL_CTL_ADD, fd, key, events); }
    void change(int fd, Key key, std::uint32_t events) const { control(EPOLL_CTL_MOD, fd, key, events); }
    void forget(int fd) const { epoll_ctl(set_.get(), EPOLL_CTL_DEL, fd, nullptr); }

    // Waits at most so long for something to be ready, and calls handle(key, events) for each thing that is.
    template <class Handler>
    void wait(std::uint64_t until_ns, Handler handle) const {
        const std::uint64_t now = now_ns();
        const std::uint64_t left_ns = until_ns > now ? until_ns - now : 0;
        std::array<epoll_event, 256> ready{};
        const int count = epoll_wait(set_.get(), ready.data(), static_cast<int>(ready.size()),
                                     static_cast<int>((left_ns + millisecond_ns - 1) / millisecond_ns));
        for (int i = 0; i < count; ++i) {
            const epoll_event &event = ready[static_cast<std::size_t>(i)];
            handle(Key{static_cast<Kind>(event.data.u64 >> 32), static_cast<std::uint32_t>(event.data.u64)},
                   event.events);
        }
    }

  private:
    void control(int operation, int fd, Key key, std::uint32_t events) const {
        epoll_event event{};
        event.events = events;
        event.data.u64 = std::uint64_t{static_cast<std::uint32_t>(key.kind)} << 32 | key.number;
        if (epoll_ctl(set_.get(), operation, fd, &event) != 0) {
            std::perror("chaos: epoll_ctl");
            std::exit(2);
        }
    }

    UniqueFd set_;
};

} // namespace rp::chaos
