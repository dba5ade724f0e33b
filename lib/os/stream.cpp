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

// Not recv(2), in which the kernel closes descriptors that nobody asked for, and may wait for that.
ssize_t read_bytes(int fd, std::uint8_t *out, std::size_t length) noexcept {
    Ancillary unasked;
    const Moved moved = receive_message(fd, out, length, false, unasked);
    errno = moved.os_error;
    return moved.os_error == 0 ? static_cast<ssize_t>(moved.bytes) : -1;
}

// Whether what came beside is exactly one descriptor with the first byte, which `kept` gets.
bool keep_the_one(Ancillary &beside, bool at_start, DescriptorGroup &kept) noexcept {
    if (beside.truncation != Truncation::none || beside.descriptors.size() != (at_start ? 1U : 0U)) {
        return false;
    }
    if (at_start) {
        kept.push(beside.descriptors.take());
    }
    return true;
}

} // namespace

StreamResult read_some(int fd, std::uint8_t *out, std::size_t length, Instant deadline, TimeSource &time) noexcept {
    return move_bytes(fd, 1, POLLIN, deadline, time,
                      [fd, out, length](std::size_t) noexcept { return read_bytes(fd, out, length); });
}

StreamResult read_exactly(int fd, std::uint8_t *out, std::size_t length, Instant deadline, TimeSource &time) noexcept {
    return move_bytes(fd, length, POLLIN, deadline, time, [fd, out, length](std::size_t done) noexcept {
        return read_bytes(fd, out + done, length - done);
    });
}

StreamResult write_all(int fd, ByteView bytes, Instant deadline, TimeSource &time) noexcept {
    return move_bytes(fd, bytes.size(), POLLOUT, deadline, time, [fd, bytes](std::size_t done) noexcept {
        return ::send(fd, bytes.data() + done, bytes.size() - done, MSG_DONTWAIT | MSG_NOSIGNAL);
    });
}

Result<UniqueFd> receive_exactly(int connection, std::uint8_t *out, std::size_t length, Instant deadline,
                                 TimeSource &time) noexcept {
    DescriptorGroup kept;
    bool right = true;
    const StreamResult result =
        move_bytes(connection, length, POLLIN, deadline, time, [&](std::size_t done) noexcept -> ssize_t {
            Ancillary beside;
            const Moved moved = receive_message(connection, out + done, length - done, false, beside);
            right = moved.os_error != 0 || moved.end || keep_the_one(beside, done == 0, kept);
            errno = right ? moved.os_error : EPROTO;
            return errno == 0 ? static_cast<ssize_t>(moved.bytes) : -1;
        });
    if (result.status == Status::ok && right) {
        return kept.take();
    }
    errno = result.os_error;
    return Failure(right ? result.status : Status::descriptors);
}

} // namespace rp::handoff::os
