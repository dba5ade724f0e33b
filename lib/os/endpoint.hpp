// Unix socket endpoints in the file system: dialling one, and listening on one that only its owner can reach.
#pragma once

#include <string>
#include <sys/types.h>

#include "base/clock.hpp"
#include "base/status.hpp"
#include "base/unique_fd.hpp"

namespace rp::handoff::os {

// Whether a path is one that this library dials and binds: not empty, not abstract ('@' or NUL first, since abstract
// names have no permissions), and short enough for a sockaddr_un.
bool is_valid_path(const char *path) noexcept;

// connect(2), waiting for a place in the backlog until the deadline. Linux lets no poll(2) wait for that, so the wait
// is under SO_SNDTIMEO, in real time.
struct DialFailure {
    int os_error;
    bool late; // the deadline has passed
};
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

// A listening socket and the name that it has in the file system. The name is removed with it, if it still is this
// socket's and this is the process that made it.
class Endpoint {
  public:
    // path_invalid, path_unsafe, path_in_use, path_foreign, unsupported, system.
    static Result<Endpoint> listen(const char *path);

    Endpoint(Endpoint &&other) noexcept = default;
    Endpoint &operator=(Endpoint &&) = delete;
    Endpoint(const Endpoint &) = delete;
    Endpoint &operator=(const Endpoint &) = delete;
    ~Endpoint();

    int fd() const noexcept { return socket_.get(); }

  private:
    Endpoint() = default;

    UniqueFd socket_;
    UniqueFd directory_; // so that the name is found again after chdir(2)
    std::string name_;
    dev_t device_ = 0;
    ino_t inode_ = 0;
    std::uint64_t owner_ = 0; // the mark of the process that made it
};

// For a listener from outside: a listening Unix stream socket whose address is not abstract. Makes it non-blocking.
// invalid_argument, path_invalid, unsupported, system.
Status adopt_listener(int fd) noexcept;

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
