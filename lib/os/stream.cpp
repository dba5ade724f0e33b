#include "os/stream.hpp"

#include <cerrno>
#include <poll.h>
#include <sys/socket.h>

#include "os/descriptor.hpp"

namespace rp::handoff::os {

namespace {

// attempt(offset) does one non-blocking system call: its return value and errno.
template <class Attempt>
StreamResult move_bytes(int fd, std::size_t enough, short events, Instant deadline, TimeSource &time,
                        Attempt attempt) noexcept {
    StreamResult result;
    while (result.bytes < enough) {
        if (is_due(deadline, time.now())) {
            result.status = Status::timed_out;
            return result;
        }
        const ssize_t n = attempt(result.bytes);
        if (n > 0) {
            result.bytes += static_cast<std::size_t>(n);
        } else if (n == 0) {
            result.status = result.bytes == 0 ? Status::closed : Status::unexpected_eof;
            return result;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (time.wait(fd, events, deadline) == Wait::timed_out) {
                result.status = Status::timed_out;
                return result;
            }
        } else if (errno != EINTR) {
            result.status = Status::system;
            result.os_error = errno;
            return result;
        }
    }
    return result;
}

} // namespace

StreamResult read_some(int fd, std::uint8_t *out, std::size_t length, Instant deadline, TimeSource &time) noexcept {
    return move_bytes(fd, 1, POLLIN, deadline, time,
                      [fd, out, length](std::size_t) noexcept { return recv(fd, out, length, MSG_DONTWAIT); });
}

StreamResult read_exactly(int fd, std::uint8_t *out, std::size_t length, Instant deadline, TimeSource &time) noexcept {
    return move_bytes(fd, length, POLLIN, deadline, time, [fd, out, length](std::size_t done) noexcept {
        return recv(fd, out + done, length - done, MSG_DONTWAIT);
    });
}

StreamResult write_all(int fd, ByteView bytes, Instant deadline, TimeSource &time) noexcept {
    return move_bytes(fd, bytes.size(), POLLOUT, deadline, time, [fd, bytes](std::size_t done) noexcept {
        return ::send(fd, bytes.data() + done, bytes.size() - done, MSG_DONTWAIT | MSG_NOSIGNAL);
    });
}

Result<UniqueFd> receive_exactly(int connection, std::uint8_t *out, std::size_t length, Instant deadline,
                                 TimeSource &time) noexcept {
    UniqueFd fd;
    for (std::size_t done = 0; done < length;) {
        if (is_due(deadline, time.now())) {
            return Failure(Status::timed_out);
        }
        Received got = receive(connection, out + done, length - done);
        if (got.os_error == EAGAIN) {
            if (time.wait(connection, POLLIN, deadline) == Wait::timed_out) {
                return Failure(Status::timed_out);
            }
            continue;
        }
        if (got.os_error != 0) {
            errno = got.os_error;
            return Failure(Status::system);
        }
        if (got.end) {
            return Failure(done == 0 ? Status::closed : Status::unexpected_eof);
        }
        if (got.surplus || static_cast<bool>(got.fd) == (done > 0)) {
            return Failure(Status::descriptors);
        }
        if (got.fd) {
            fd = std::move(got.fd);
        }
        done += got.bytes;
    }
    return fd;
}

} // namespace rp::handoff::os
