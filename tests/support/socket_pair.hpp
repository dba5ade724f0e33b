// Two connected Unix sockets.
#pragma once

#include <doctest/doctest.h>

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

} // namespace rp::test
