// What reached the far end of a connection, counted and thrown away.
#pragma once

#include <cstring>
#include <sys/socket.h>

#include "base/unique_fd.hpp"

namespace rp::test {

struct Arrived {
    std::size_t bytes = 0;
    std::size_t descriptors = 0;
};

inline std::size_t close_descriptors(msghdr &message) {
    std::size_t closed = 0;
    for (cmsghdr *header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
        for (std::size_t at = CMSG_LEN(0); at + sizeof(int) <= header->cmsg_len; at += sizeof(int), ++closed) {
            int fd = -1;
            std::memcpy(&fd, reinterpret_cast<const char *>(header) + at, sizeof fd);
            const handoff::UniqueFd owned(fd);
        }
    }
    return closed;
}

inline Arrived take_all(int connection) {
    Arrived all;
    for (;;) {
        char data[4096];
        iovec part{data, sizeof data};
        alignas(cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))];
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        const ssize_t n = recvmsg(connection, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n <= 0) {
            return all;
        }
        all.bytes += static_cast<std::size_t>(n);
        all.descriptors += close_descriptors(message);
    }
}

} // namespace rp::test
