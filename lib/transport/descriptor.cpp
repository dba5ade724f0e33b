#include "descriptor.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>

namespace rp::handoff::transport {

const bool supported = true;

namespace {

// Linux 6.5; the headers of Debian 12 do not have it. Source: include/linux/socket.h.
constexpr int scm_pidfd = 4;
constexpr int scm_security = 3;

// Room for one descriptor, and for what the kernel adds of itself where the socket came from outside with SO_PASSCRED
// or SO_PASSPIDFD set. CMSG_SPACE rounds up, so that there is room for a second descriptor: cmsg_len tells.
constexpr std::size_t control_size = CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int));

void take_descriptors(const cmsghdr &header, Received &received) noexcept {
    const std::size_t count = (header.cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(&header) + i * sizeof fd, sizeof fd);
        UniqueFd owned(fd);
        if (received.fd) {
            received.surplus = true;
        } else {
            received.fd = std::move(owned);
        }
    }
}

void take_control_message(const cmsghdr &header, Received &received) noexcept {
    if (header.cmsg_level != SOL_SOCKET) {
        received.surplus = true;
        return;
    }
    switch (header.cmsg_type) {
    case SCM_RIGHTS:
        take_descriptors(header, received);
        return;
    case scm_pidfd: {
        Received unwanted;
        take_descriptors(header, unwanted);
        return;
    }
    case SCM_CREDENTIALS:
    case scm_security:
        return;
    default:
        received.surplus = true;
    }
}

void take_control(msghdr &message, Received &received) noexcept {
    for (cmsghdr *header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
        take_control_message(*header, received);
    }
    received.truncated = (message.msg_flags & MSG_CTRUNC) != 0;
    received.surplus = received.surplus || received.truncated;
}

} // namespace

Sent send(int connection, int fd, ByteView bytes) noexcept {
    if (bytes.empty()) {
        return {0, EINVAL};
    }
    iovec part{const_cast<std::uint8_t *>(bytes.data()), bytes.size()}; // sendmsg(2) does not write to it
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::uint8_t control[CMSG_SPACE(sizeof fd)] = {};
    if (fd >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    for (;;) {
        const ssize_t n = sendmsg(connection, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            return {static_cast<std::size_t>(n), 0};
        }
        if (n == 0) {
            return {0, EAGAIN}; // a write that accepts nothing is no progress
        }
        if (errno != EINTR) {
            return {0, errno};
        }
    }
}

Received receive(int connection, std::uint8_t *out, std::size_t length) noexcept {
    iovec part{out, length};
    alignas(cmsghdr) std::uint8_t control[control_size];
    Received received;
    for (;;) {
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        const ssize_t n = recvmsg(connection, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n >= 0) {
            received.bytes = static_cast<std::size_t>(n);
            received.end = n == 0;
            take_control(message, received);
            return received;
        }
        if (errno != EINTR) {
            received.os_error = errno;
            return received;
        }
    }
}

} // namespace rp::handoff::transport
