// Descriptors across a Unix stream socket: one sendmsg(2) or recvmsg(2) each, SCM_RIGHTS beside the bytes.
//
// No policy, no waiting, no framing. A build for a platform without the transport replaces this folder by
// unsupported.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../token.hpp"
#include "../unique_fd.hpp"

namespace rp::handoff::transport {

// Whether this build can pass descriptors. If not, every function of this folder says ENOTSUP in its own way.
extern const bool supported;

struct Sent {
    std::size_t bytes = 0;
    int os_error = 0; // 0, or why nothing was sent
};

// Borrows both. Never waits and raises no signal; repeats after EINTR. `fd` rides on the first byte; a short count
// means that it has left. fd < 0 sends bytes alone. No bytes: EINVAL.
Sent send(int connection, int fd, ByteView bytes) noexcept;

struct Received {
    std::size_t bytes = 0;
    int os_error = 0; // 0, or why nothing was received: EAGAIN if there is nothing yet
    bool end = false; // end of file
    UniqueFd fd;      // the first descriptor that came, close-on-exec; any others are closed already
    bool surplus =
        false; // more than one came, or the kernel dropped some (MSG_CTRUNC), or control data of another kind
    bool truncated =
        false; // of these, MSG_CTRUNC: this process is out of descriptors, or more came than there was room for
};

// Borrows the connection. Never waits; repeats after EINTR. Takes at most `length` bytes.
Received receive(int connection, std::uint8_t *out, std::size_t length) noexcept;

} // namespace rp::handoff::transport
