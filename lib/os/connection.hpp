// Connected Unix sockets: dialling a path, accepting, and taking one over from outside.
#pragma once

#include "base/clock.hpp"
#include "base/status.hpp"
#include "base/unique_fd.hpp"

namespace rp::handoff::os {

// Whether a path is one that this library dials and binds: not empty, not abstract ('@' or NUL first, since abstract
// names have no permissions), and short enough for a sockaddr_un.
bool is_valid_path(const char *path) noexcept;

// A Unix stream socket that is connected to nothing yet, in blocking mode, so that it can be prepared before a peer can
// send. Empty: errno.
UniqueFd new_socket() noexcept;

// connect(2) of such a socket, waiting for a place in the backlog until the deadline. Linux lets no poll(2) wait for that,
// so the wait is under SO_SNDTIMEO, in real time. late: the deadline had passed before it was tried at all; EAGAIN without
// that: the backlog was full until the deadline.
struct DialFailure {
    int os_error;
    bool late;
};
tl::expected<void, DialFailure> connect(int socket, const char *path, Instant deadline, TimeSource &time) noexcept;

// Both together.
tl::expected<UniqueFd, DialFailure> dial(const char *path, Instant deadline, TimeSource &time) noexcept;

// The same without waiting: a socket that is connected, or one that is not yet (os_error EAGAIN: the backlog is full and
// connect_again may be tried later). The socket is in blocking mode once it is connected, and identifies senders.
struct Dialled {
    UniqueFd socket;
    int os_error = 0;
};
Dialled dial_now(const char *path) noexcept;
int connect_again(int socket, const char *path) noexcept; // errno, or 0: connected

// Takes over a connected socket from outside: blocking mode, close-on-exec. system.
Status take_connection(int fd) noexcept;

// A Unix stream socket, connected or not.
bool is_unix_stream(int fd) noexcept;

// A connected Unix stream socket from outside. invalid_argument, unsupported, system.
Status check_connection(int fd) noexcept;

// Two connected Unix stream sockets, blocking and close-on-exec. unsupported, system.
struct SocketPair {
    UniqueFd ours;
    UniqueFd theirs;
};
Result<SocketPair> socket_pair() noexcept;

// The next connection, non-blocking and close-on-exec, or errno: EAGAIN if there is none.
tl::expected<UniqueFd, int> accept(int listener) noexcept;

} // namespace rp::handoff::os
