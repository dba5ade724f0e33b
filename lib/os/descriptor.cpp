#include "os/descriptor.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

namespace rp::handoff::os {

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

// A message's control data with these descriptors.
void attach(msghdr &message, std::uint8_t *control, const int *fds, std::size_t count) noexcept {
    const std::size_t size = count * sizeof(int);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(size);
    cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(header), fds, size);
    std::memset(control + CMSG_LEN(size), 0, CMSG_SPACE(size) - CMSG_LEN(size)); // padding, which sendmsg(2) reads
}

Sent send_message(int connection, const msghdr &message) noexcept {
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

} // namespace

Sent send(int connection, int fd, ByteView bytes) noexcept {
    if (bytes.empty()) {
        return {0, EINVAL};
    }
    iovec part{const_cast<std::uint8_t *>(bytes.data()), bytes.size()}; // sendmsg(2) does not write to it
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::uint8_t control[CMSG_SPACE(sizeof fd)];
    if (fd >= 0) {
        attach(message, control, &fd, 1);
    }
    return send_message(connection, message);
}

Sent send_many(int connection, const int *fds, std::size_t count, const iovec *pieces,
               std::size_t piece_count) noexcept {
    msghdr message{};
    message.msg_iov = const_cast<iovec *>(pieces); // sendmsg(2) does not write to it
    message.msg_iovlen = piece_count;
    alignas(cmsghdr) std::uint8_t control[CMSG_SPACE(DescriptorGroup::capacity * sizeof(int))];
    if (count > 0) {
        attach(message, control, fds, count);
    }
    return send_message(connection, message);
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

namespace {

void take_rights(const cmsghdr &header, DescriptorGroup &group) noexcept {
    const std::size_t count = (header.cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(&header) + i * sizeof fd, sizeof fd);
        group.push(UniqueFd(fd));
    }
}

// A process that is gone has no pidfd, and the kernel gives the negative errno instead (scm_pidfd_recv, net/core/scm.c).
void take_pidfd(const cmsghdr &header, Ancillary &beside) noexcept {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(&header), sizeof fd);
    beside.pidfd.reset(fd < 0 ? -1 : fd);
    beside.pidfd_error = fd < 0 ? -fd : 0;
}

void take_beside(msghdr &message, Ancillary &beside) noexcept {
    for (cmsghdr *header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            take_rights(*header, beside.descriptors);
        } else if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_CREDENTIALS) {
            ucred sender{};
            std::memcpy(&sender, CMSG_DATA(header), sizeof sender);
            beside.sender = {sender.pid, sender.uid, sender.gid};
        } else if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == scm_pidfd) {
            take_pidfd(*header, beside);
        } else if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != scm_security) {
            beside.foreign = true;
        }
    }
    beside.truncated = (message.msg_flags & MSG_CTRUNC) != 0;
}

// With `wait` a signal ends the call, so that who waits looks at the time again.
template <class Call>
Moved received(Call call, bool wait) noexcept {
    for (;;) {
        const ssize_t n = call();
        if (n >= 0) {
            return {static_cast<std::size_t>(n), 0, n == 0};
        }
        if (errno != EINTR || wait) {
            return {0, errno, false};
        }
    }
}

// Linux 6.5; the headers of Debian 12 do not have it. Source: include/uapi/asm-generic/socket.h.
constexpr int so_passpidfd = 76;

} // namespace

Moved receive_message(int connection, std::uint8_t *out, std::size_t length, bool wait, Ancillary &beside) noexcept {
    constexpr std::size_t size =
        CMSG_SPACE(DescriptorGroup::capacity * sizeof(int)) + CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int));
    alignas(cmsghdr) std::uint8_t control[size];
    iovec part{out, length};
    msghdr message{};
    const Moved moved = received(
        [&] {
            message.msg_iov = &part;
            message.msg_iovlen = 1;
            message.msg_control = control;
            message.msg_controllen = sizeof control;
            return recvmsg(connection, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
        },
        wait);
    if (moved.os_error == 0) {
        take_beside(message, beside);
    }
    return moved;
}

Moved receive_bytes(int connection, std::uint8_t *out, std::size_t length, bool wait) noexcept {
    return received([&] { return recv(connection, out, length, wait ? 0 : MSG_DONTWAIT); }, wait);
}

Identification identify_senders(int socket, bool wanted) noexcept {
    const int on = wanted ? 1 : 0;
    return {setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0,
            setsockopt(socket, SOL_SOCKET, so_passpidfd, &on, sizeof on) == 0};
}

UniqueFd above_stdio(UniqueFd fd) noexcept {
    return fd && fd.get() <= STDERR_FILENO ? UniqueFd(fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1))
                                           : std::move(fd);
}

void discard(UniqueFd fd) noexcept {
    const linger none{0, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none); // fails on what is no socket
}

void drain(int socket) noexcept {
    ::shutdown(socket, SHUT_RD);
    std::array<std::uint8_t, 4096> bytes{};
    for (;;) {
        Ancillary beside;
        const Moved moved = receive_message(socket, bytes.data(), bytes.size(), false, beside);
        while (!beside.descriptors.empty()) {
            discard(beside.descriptors.take());
        }
        if (moved.bytes == 0) {
            return;
        }
    }
}

void drain_and_close(UniqueFd socket) noexcept {
    drain(socket.get());
}

bool refuse_descriptors(int socket) noexcept {
    constexpr int so_passrights = 83; // include/uapi/asm-generic/socket.h
    const int off = 0;
    return setsockopt(socket, SOL_SOCKET, so_passrights, &off, sizeof off) == 0;
}

// SIOCOUTQ: not the bytes, as unix(7) has it, but what holds them (unix_outq_len in net/unix/af_unix.c).
std::uint64_t unread_memory(int socket) noexcept {
    int unread = 0;
    return ioctl(socket, SIOCOUTQ, &unread) == 0 && unread > 0 ? static_cast<std::uint64_t>(unread) : 0;
}

std::uint64_t descriptor_limit() noexcept {
    rlimit limit{};
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
}

} // namespace rp::handoff::os
