#include "os/descriptor.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/repeated.hpp"

namespace rp::handoff::os {

const bool supported = true;

namespace {

// Linux 6.5; the headers of Debian 12 do not have it. Source: include/linux/socket.h.
constexpr int scm_pidfd = 4;

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
    const ssize_t n = repeated([&] { return sendmsg(connection, &message, MSG_DONTWAIT | MSG_NOSIGNAL); });
    if (n < 0) {
        return {0, errno};
    }
    return {static_cast<std::size_t>(n), n > 0 ? 0 : EAGAIN}; // a write that accepts nothing is no progress
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

namespace {

// Room for all the descriptors that one message can have, so that the kernel drops none of them by itself, which may wait;
// for who sent it; and for what else may be switched on: a security label, a time stamp, SO_INQ.
constexpr std::size_t control_size =
    CMSG_SPACE(DescriptorGroup::capacity * sizeof(int)) + CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int)) + 1024;

bool is_shortage(int error) noexcept {
    return error == EMFILE || error == ENFILE || error == ENOMEM;
}

// MSG_CTRUNC does not say why (scm_detach_fds in net/core/scm.c); whether another descriptor can be had does.
Truncation why_truncated(int connection) noexcept {
    const UniqueFd spare(fcntl(connection, F_DUPFD_CLOEXEC, 0));
    return spare ? Truncation::denied : Truncation::descriptors;
}

// With SO_RIGHTS_NOTRUNC a descriptor that was kept back comes as the negative errno. What follows one that is missing
// belongs to nothing any more.
void take_rights(const cmsghdr &header, Ancillary &beside) noexcept {
    const std::size_t count = (header.cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(&header) + i * sizeof fd, sizeof fd);
        UniqueFd received(fd);
        UniqueFd own(fd >= 0 && fd <= STDERR_FILENO ? fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)
                                                    : received.release());
        if (!own) {
            discard(std::move(received)); // perhaps the last copy
        }
        if (!own && beside.truncation == Truncation::none) {
            beside.truncation = fd >= 0 || is_shortage(-fd) ? Truncation::descriptors : Truncation::denied;
        }
        if (beside.truncation == Truncation::none) {
            beside.descriptors.push(std::move(own));
        } else {
            discard(std::move(own));
        }
    }
}

// A process that is gone has no pidfd, and the kernel gives the negative errno instead (scm_pidfd_recv, net/core/scm.c).
void take_pidfd(const cmsghdr &header, Ancillary &beside) noexcept {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(&header), sizeof fd);
    beside.pidfd = above_stdio(UniqueFd(fd < 0 ? -1 : fd));
    beside.pidfd_error = fd < 0 ? -fd : 0;
}

void take_beside(int connection, msghdr &message, Ancillary &beside) noexcept {
    for (cmsghdr *header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            take_rights(*header, beside);
        } else if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_CREDENTIALS) {
            ucred sender{};
            std::memcpy(&sender, CMSG_DATA(header), sizeof sender);
            beside.sender = {sender.pid, sender.uid, sender.gid};
        } else if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == scm_pidfd) {
            take_pidfd(*header, beside);
        }
    }
    if (beside.truncation == Truncation::none && (message.msg_flags & MSG_CTRUNC) != 0) {
        beside.truncation = why_truncated(connection);
    }
}

template <class Call>
Moved received(Call call, bool wait) noexcept {
    const ssize_t n = wait ? call() : repeated(call);
    return n < 0 ? Moved{0, errno, false} : Moved{static_cast<std::size_t>(n), 0, n == 0};
}

// Linux 6.5; the headers of Debian 12 do not have it. Source: include/uapi/asm-generic/socket.h.
constexpr int so_passpidfd = 76;
// Later than Linux 7.3.
constexpr int so_rights_notrunc = 85;

} // namespace

Moved receive_message(int connection, std::uint8_t *out, std::size_t length, bool wait, Ancillary &beside) noexcept {
    alignas(cmsghdr) std::uint8_t control[control_size];
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
        take_beside(connection, message, beside);
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

void ask_why_missing(int socket) noexcept {
    const int on = 1;
    setsockopt(socket, SOL_SOCKET, so_rights_notrunc, &on, sizeof on);
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
