#include "os/connection.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/time.h>

#include "base/repeated.hpp"
#include "os/address.hpp"
#include "os/descriptor.hpp"

namespace rp::handoff::os {

namespace {

// Rounded up, for to SO_SNDTIMEO zero means for ever.
timeval to_timeval(Duration d) noexcept {
    const std::uint64_t us = d.count() / 1000 + 1;
    return {static_cast<time_t>(us / 1'000'000), static_cast<suseconds_t>(us % 1'000'000)};
}

// Each try has what is left of the time, so that signals do not stretch it.
tl::expected<void, DialFailure> connect_repeatedly(int fd, const Address &address, Instant deadline,
                                                   TimeSource &time) noexcept {
    for (bool tried = false;; tried = true) {
        const Instant now = time.now();
        if (is_due(deadline, now)) {
            return tl::unexpected(DialFailure{EAGAIN, !tried});
        }
        if (deadline != end_of_time) {
            const timeval left = to_timeval(elapsed(now, deadline));
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left);
        }
        if (::connect(fd, address.get(), address.length) == 0) {
            return {};
        }
        if (errno != EINTR) {
            return tl::unexpected(DialFailure{errno, false});
        }
    }
}

bool set_flags(int fd, int added, int removed) noexcept {
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, (flags | added) & ~removed) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

} // namespace

bool is_valid_path(const char *path) noexcept {
    const std::size_t length = std::strlen(path);
    return length > 0 && path[0] != '@' && length < sizeof(sockaddr_un::sun_path);
}

UniqueFd new_socket() noexcept {
    return above_stdio(UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
}

tl::expected<void, DialFailure> connect(int socket, const char *path, Instant deadline, TimeSource &time) noexcept {
    const auto connected = connect_repeatedly(socket, to_address(path), deadline, time);
    if (connected) {
        // It may be given to the caller, whose writes have no time-out of ours.
        const timeval none{};
        setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none);
    }
    return connected;
}

tl::expected<UniqueFd, DialFailure> dial(const char *path, Instant deadline, TimeSource &time) noexcept {
    UniqueFd fd = new_socket();
    if (!fd) {
        return tl::unexpected(DialFailure{errno, false});
    }
    if (const auto connected = connect(fd.get(), path, deadline, time); !connected) {
        return tl::unexpected(connected.error());
    }
    return fd;
}

Dialled dial_now(const char *path) noexcept {
    if (!is_valid_path(path)) {
        return {UniqueFd(), ENAMETOOLONG};
    }
    Dialled dialled{new_socket(), 0};
    if (!dialled.socket || !set_flags(dialled.socket.get(), O_NONBLOCK, 0)) {
        return {UniqueFd(), errno};
    }
    identify_senders(dialled.socket.get(), true); // before the peer can send; what is missing shows when it does
    dialled.os_error = connect_again(dialled.socket.get(), path);
    if (dialled.os_error != 0 && dialled.os_error != EAGAIN) {
        dialled.socket.reset();
    }
    return dialled;
}

int connect_again(int socket, const char *path) noexcept {
    const Address address = to_address(path);
    if (repeated([&] { return ::connect(socket, address.get(), address.length); }) != 0) {
        return errno;
    }
    return take_connection(socket) == Status::ok ? 0 : errno;
}

Status take_connection(int fd) noexcept {
    return set_flags(fd, 0, O_NONBLOCK) ? Status::ok : Status::system;
}

bool is_unix_stream(int fd) noexcept {
    int domain = 0;
    int type = 0;
    socklen_t length = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) {
        return false;
    }
    length = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && domain == AF_UNIX && type == SOCK_STREAM;
}

Status check_connection(int fd) noexcept {
    if (!is_unix_stream(fd)) {
        return Status::invalid_argument;
    }
    sockaddr_un peer{};
    socklen_t length = sizeof peer;
    if (getpeername(fd, reinterpret_cast<sockaddr *>(&peer), &length) == 0) {
        return Status::ok;
    }
    return errno == ENOTCONN ? Status::invalid_argument : Status::system;
}

Result<SocketPair> socket_pair() noexcept {
    std::array<int, 2> fds{};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) {
        return Failure(Status::system);
    }
    UniqueFd first(fds[0]);
    UniqueFd second(fds[1]);
    SocketPair pair{above_stdio(std::move(first)), UniqueFd()};
    if (pair.ours) {
        pair.theirs = above_stdio(std::move(second));
    }
    if (!pair.theirs) {
        return Failure(Status::system);
    }
    return pair;
}

tl::expected<UniqueFd, int> accept(int listener) noexcept {
    for (;;) {
        const int fd = repeated([&] { return accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); });
        if (fd >= 0) {
            UniqueFd accepted = above_stdio(UniqueFd(fd));
            return accepted ? tl::expected<UniqueFd, int>(std::move(accepted)) : tl::unexpected(errno);
        }
        if (errno != ECONNABORTED) {
            return tl::unexpected(errno);
        }
    }
}

} // namespace rp::handoff::os
