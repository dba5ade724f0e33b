// Two connected Unix sockets, and what is asked of any.
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <poll.h>
#include <sys/socket.h>

#include "base/unique_fd.hpp"

namespace rp::test {

using handoff::UniqueFd;

struct SocketPair {
    UniqueFd a;
    UniqueFd b;

    explicit SocketPair(int type = SOCK_STREAM) {
        int ends[2];
        REQUIRE(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0);
        a.reset(ends[0]);
        b.reset(ends[1]);
    }
};

// Until nothing more fits.
inline void fill_up(int fd) {
    const std::array<char, 4096> junk{};
    while (send(fd, junk.data(), junk.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
    }
}
inline void fill_up(const UniqueFd &fd) {
    fill_up(fd.get());
}

inline bool is_readable(int fd) {
    pollfd target{fd, POLLIN, 0};
    return poll(&target, 1, 0) > 0;
}

} // namespace rp::test
