// Unix sockets that listen: one with a name in the file system that only its owner can reach, or one from outside.
//
// The rule for a path, which does not depend on how it is spelled: the name is bound in a directory that belongs to this
// process's effective user and has mode 0700, and that is the directory itself and no symbolic link to one. A path is the
// same with more slashes or with "." in it; ".." is no link; links further up (/var/run) are allowed. What the socket was
// bound into is looked at again afterwards, through the directory that was checked.
#pragma once

#include <string>
#include <sys/types.h>

#include "base/explanation.hpp"
#include "os/connection.hpp"

namespace rp::handoff::os {

// A listening socket, non-blocking, and the name that it has in the file system, if this is the process that gave it one:
// the name is removed with it, if it still is this socket's.
//
// May be shared: whoever accepts from it holds it.
class Endpoint {
  public:
    // How long another process may hold the directory's lock; in real time, so that no clock of a caller's matters. The lock
    // keeps two processes of this user that find the same stale socket from both replacing it. Others take it too: service
    // managers ask for flock(2) of directories that they are not to clean up.
    static constexpr Duration longest_lock_wait = std::chrono::seconds(2);

    // path_invalid, path_unsafe, path_in_use, path_foreign, path_locked, unsupported, system. A failure leaves no name behind.
    static Result<Endpoint> listen(const char *path, Explanation &why);

    // A listening Unix stream socket from outside whose address is not abstract. The descriptor stays the caller's until
    // keep(), so that a failure in between can leave it there. Whoever else holds the socket goes on, so neither its name nor
    // its queue is touched at the end. invalid_argument, path_invalid, unsupported, system.
    static Result<Endpoint> adopt(int fd, Explanation &why) noexcept;
    void keep() noexcept;

    Endpoint(Endpoint &&other) noexcept = default;
    Endpoint &operator=(Endpoint &&) = delete;
    Endpoint(const Endpoint &) = delete;
    Endpoint &operator=(const Endpoint &) = delete;
    ~Endpoint();

    int fd() const noexcept { return socket_ ? socket_.get() : theirs_; }

  private:
    Endpoint() = default;

    Status bind_and_listen(const char *path, Explanation &why) noexcept;
    bool is_at_its_name() const noexcept;

    UniqueFd socket_;
    int theirs_ = -1;    // the caller's descriptor, of which socket_ is a copy above 2 if it has to be
    UniqueFd directory_; // so that the name is found again after chdir(2)
    std::string name_;
    dev_t device_ = 0;
    ino_t inode_ = 0;
    std::uint64_t owner_ = 0; // the mark of the process that made it
};

} // namespace rp::handoff::os
