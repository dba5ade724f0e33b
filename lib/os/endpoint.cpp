#include "os/endpoint.hpp"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "os/descriptor.hpp"
#include "os/fork_mark.hpp"

namespace rp::handoff::os {

namespace {

constexpr int backlog = 128;

struct Address {
    sockaddr_un un{};
    socklen_t length = 0;
    const sockaddr *get() const noexcept { return reinterpret_cast<const sockaddr *>(&un); }
};

// The caller has checked the path.
Address to_address(const char *path) noexcept {
    Address address;
    address.un.sun_family = AF_UNIX;
    const std::size_t length = std::strlen(path);
    std::memcpy(address.un.sun_path, path, length);
    address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length + 1);
    return address;
}

// Rounded up, for to SO_SNDTIMEO zero means for ever.
timeval to_timeval(Duration d) noexcept {
    const std::uint64_t us = d.count() / 1000 + 1;
    return {static_cast<time_t>(us / 1'000'000), static_cast<suseconds_t>(us % 1'000'000)};
}

int connect_repeatedly(int fd, const Address &address, Instant deadline, TimeSource &time) noexcept {
    for (;;) {
        const Instant now = time.now();
        if (is_due(deadline, now)) {
            return EAGAIN;
        }
        if (deadline != end_of_time) {
            const timeval left = to_timeval(elapsed(now, deadline));
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left);
        }
        if (connect(fd, address.get(), address.length) == 0) {
            return 0;
        }
        if (errno != EINTR) {
            return errno;
        }
    }
}

bool same_user(const struct stat &info) noexcept {
    return info.st_uid == geteuid();
}

// The directory that holds the name, opened without following a link in its last component, if only its owner can reach
// into it.
Result<UniqueFd> open_directory(const std::string &path) {
    const std::size_t slash = path.rfind('/');
    const std::string name = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    UniqueFd directory(open(name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory) {
        return Failure(errno == ENOTDIR || errno == ELOOP ? Status::path_unsafe : Status::system);
    }
    struct stat info {};
    if (fstat(directory.get(), &info) != 0) {
        return Failure(Status::system);
    }
    if (!same_user(info) || (info.st_mode & 0777U) != 0700U) {
        return Failure(Status::path_unsafe);
    }
    return directory;
}

// ok if nothing is in the way any more.
Status remove_stale(const char *path, const Address &address) noexcept {
    struct stat info {};
    if (lstat(path, &info) != 0) {
        return errno == ENOENT ? Status::ok : Status::system;
    }
    if (!S_ISSOCK(info.st_mode) || !same_user(info)) {
        return Status::path_foreign;
    }
    const UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!probe) {
        return Status::system;
    }
    if (connect(probe.get(), address.get(), address.length) == 0 || errno == EAGAIN) {
        return Status::path_in_use;
    }
    if (errno != ECONNREFUSED) {
        return errno == EPROTOTYPE ? Status::path_foreign : Status::system;
    }
    return unlink(path) == 0 || errno == ENOENT ? Status::ok : Status::system;
}

Status bind_privately(int fd, const Address &address) noexcept {
    // The kernel gives the name the mode of the socket's own inode, less the umask (unix_bind_bsd in
    // net/unix/af_unix.c), so that no moment passes in which the name has another.
    if (fchmod(fd, 0600) != 0 || bind(fd, address.get(), address.length) != 0) {
        return errno == EADDRINUSE ? Status::path_in_use : Status::system;
    }
    // What a umask took from the owner too is given back.
    return chmod(address.un.sun_path, 0600) == 0 && listen(fd, backlog) == 0 ? Status::ok : Status::system;
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

} // namespace

bool is_valid_path(const char *path) noexcept {
    const std::size_t length = std::strlen(path);
    return length > 0 && path[0] != '@' && length < sizeof(sockaddr_un::sun_path);
}

tl::expected<UniqueFd, DialFailure> dial(const char *path, Instant deadline, TimeSource &time) noexcept {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) {
        return tl::unexpected(DialFailure{errno, false});
    }
    const int error = connect_repeatedly(fd.get(), to_address(path), deadline, time);
    if (error != 0) {
        const bool late = error == EAGAIN && is_due(deadline, time.now());
        return tl::unexpected(DialFailure{error, late});
    }
    // It may be given to the caller, whose writes have no time-out of ours.
    const timeval none{};
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none);
    return fd;
}

Result<Endpoint> Endpoint::listen(const char *path) {
    if (!is_valid_path(path)) {
        return Failure(Status::path_invalid);
    }
    Endpoint endpoint;
    const std::string whole = path;
    endpoint.name_ = whole.substr(whole.rfind('/') + 1);
    Result<UniqueFd> directory = open_directory(whole);
    if (!directory) {
        return Failure(directory.error());
    }
    endpoint.directory_ = std::move(*directory);
    // Two processes of this user that find the same stale socket must not both replace it.
    while (flock(endpoint.directory_.get(), LOCK_EX) != 0) {
        if (errno != EINTR) {
            return Failure(Status::system);
        }
    }
    const Address address = to_address(path);
    if (const Status status = remove_stale(path, address); status != Status::ok) {
        return Failure(status);
    }
    endpoint.socket_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!endpoint.socket_) {
        return Failure(Status::system);
    }
    if (const Status status = bind_privately(endpoint.fd(), address); status != Status::ok) {
        return Failure(status);
    }
    struct stat info {};
    if (lstat(path, &info) != 0) {
        return Failure(Status::system);
    }
    endpoint.device_ = info.st_dev;
    endpoint.inode_ = info.st_ino;
    endpoint.owner_ = fork_mark();
    flock(endpoint.directory_.get(), LOCK_UN);
    return endpoint;
}

Endpoint::~Endpoint() {
    struct stat info {};
    if (socket_ && owner_ == fork_mark() && fstatat(directory_.get(), name_.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
        info.st_dev == device_ && info.st_ino == inode_) {
        unlinkat(directory_.get(), name_.c_str(), 0);
    }
}

Status adopt_listener(int fd) noexcept {
    int listening = 0;
    socklen_t length = sizeof listening;
    if (!is_unix_stream(fd) || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) != 0 || listening == 0) {
        return Status::invalid_argument;
    }
    Address address;
    address.length = sizeof address.un;
    if (getsockname(fd, reinterpret_cast<sockaddr *>(&address.un), &address.length) != 0) {
        return Status::system;
    }
    if (address.length > offsetof(sockaddr_un, sun_path) && address.un.sun_path[0] == '\0') {
        return Status::path_invalid;
    }
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0
               ? Status::ok
               : Status::system;
}

Dialled dial_now(const char *path) noexcept {
    if (!is_valid_path(path)) {
        return {UniqueFd(), ENAMETOOLONG};
    }
    Dialled dialled{UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)), 0};
    if (!dialled.socket) {
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
    while (connect(socket, address.get(), address.length) != 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return take_connection(socket) == Status::ok ? 0 : errno;
}

Status take_connection(int fd) noexcept {
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0
               ? Status::ok
               : Status::system;
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
    return SocketPair{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

tl::expected<UniqueFd, int> accept(int listener) noexcept {
    for (;;) {
        const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            return UniqueFd(fd);
        }
        if (errno != EINTR && errno != ECONNABORTED) {
            return tl::unexpected(errno);
        }
    }
}

} // namespace rp::handoff::os
