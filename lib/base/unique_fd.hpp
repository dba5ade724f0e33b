// A descriptor that is closed when its owner goes.
#pragma once

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

namespace rp::handoff {

class UniqueFd {
  public:
    UniqueFd() noexcept = default;
    explicit UniqueFd(int fd) noexcept : fd_(fd) {}
    UniqueFd(UniqueFd &&other) noexcept : fd_(other.release()) {}
    UniqueFd &operator=(UniqueFd &&other) noexcept {
        if (this != &other) {
            reset(other.release());
        }
        return *this;
    }
    UniqueFd(const UniqueFd &) = delete;
    UniqueFd &operator=(const UniqueFd &) = delete;
    ~UniqueFd() { reset(); }

    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    int release() noexcept { return std::exchange(fd_, -1); }

    // close(2) is not repeated after EINTR: on Linux the descriptor is gone all the same (close(2), NOTES).
    void reset(int fd = -1) noexcept {
        const int old = std::exchange(fd_, fd);
        if (old >= 0) {
            ::close(old);
        }
    }

  private:
    int fd_ = -1;
};

// The same above 2, close-on-exec: every descriptor that the library keeps goes through here. A program may be started
// without 0, 1 and 2, and what its other parts write "to stderr" must not go to a peer. Empty, with errno, where there is
// no other number to be had; an empty one stays empty and keeps errno.
inline UniqueFd above_stdio(UniqueFd fd) noexcept {
    if (!fd || fd.get() > STDERR_FILENO) {
        return fd;
    }
    UniqueFd higher(fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    const int error = errno;
    fd.reset();
    errno = error;
    return higher;
}

} // namespace rp::handoff
