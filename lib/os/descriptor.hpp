// Descriptors across a Unix stream socket: one sendmsg(2) or recvmsg(2) each, SCM_RIGHTS beside the bytes.
//
// No policy, no waiting, no framing. A build for a platform without the transport replaces this folder by
// unsupported.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/bytes.hpp"
#include "base/unique_fd.hpp"
#include "os/closing.hpp"

namespace rp::handoff::os {

// Whether this build can pass descriptors. If not, every function of this folder says ENOTSUP in its own way.
extern const bool supported;

struct Sent {
    std::size_t bytes = 0;
    int os_error = 0; // 0, or why nothing was sent
};

// Borrows both. Never waits and raises no signal; repeats after EINTR. `fd` rides on the first byte; a short count
// means that it has left. fd < 0 sends bytes alone. No bytes: EINVAL.
Sent send(int connection, int fd, ByteView bytes) noexcept;

// As above, with the bytes in several pieces. Borrows `count` descriptors, at most 253.
Sent send_many(int connection, const int *fds, std::size_t count, const iovec *pieces,
               std::size_t piece_count) noexcept;

// The descriptors of one message, in their order; those that nobody takes are discarded.
class DescriptorGroup {
  public:
    static constexpr std::size_t capacity = 253; // unix(7)

    DescriptorGroup() noexcept = default;
    DescriptorGroup(const DescriptorGroup &) = delete;
    DescriptorGroup &operator=(const DescriptorGroup &) = delete;
    ~DescriptorGroup() { clear(); }

    std::size_t size() const noexcept { return end_ - next_; }
    bool empty() const noexcept { return size() == 0; }
    void push(UniqueFd fd) noexcept { // what does not fit is discarded
        if (end_ < capacity) {
            fds_[end_++] = fd.release();
        } else {
            discard(std::move(fd));
        }
    }
    UniqueFd take() noexcept { return UniqueFd(empty() ? -1 : fds_[next_++]); }
    void clear() noexcept {
        while (!empty()) {
            discard(take());
        }
        next_ = end_ = 0;
    }

  private:
    int fds_[capacity]; // only those from next_ to end_ mean anything
    std::size_t next_ = 0;
    std::size_t end_ = 0;
};

// Whether descriptors of a message were lost on the way in, and why.
enum class Truncation {
    none,
    descriptors, // this process has none left to receive them by
    denied       // it has, so they were kept from it: a security module does that
};

// What came beside the bytes of one recvmsg(2). Control messages of other kinds are passed over: whoever had the socket
// before may have switched on SO_INQ or SO_TIMESTAMP.
struct Ancillary {
    DescriptorGroup descriptors; // close-on-exec, and above 2; where some were lost, the first of those that were sent
    Truncation truncation = Truncation::none;
    struct Sender {
        pid_t pid;
        uid_t uid;
        gid_t gid;
    };
    std::optional<Sender> sender; // SCM_CREDENTIALS, where the socket asks for it
    UniqueFd pidfd;               // SCM_PIDFD, likewise
    int pidfd_error = 0;          // errno, where the kernel says why it gives none

    void clear() noexcept {
        descriptors.clear();
        truncation = Truncation::none;
        sender.reset();
        pidfd.reset();
        pidfd_error = 0;
    }
};

struct Moved {
    std::size_t bytes = 0;
    int os_error = 0; // 0, or why nothing was received: EAGAIN if there is nothing yet
    bool end = false;
};

// Borrows the connection; takes at most `length` bytes. Fills `beside`, which is empty. wait: as long as the socket's
// SO_RCVTIMEO allows, then EAGAIN; a signal is EINTR then, so that who waits looks at the time again. Not waiting, it is
// repeated after EINTR. Who holds a lock takes out of `beside` what he does not want, and closes it after unlocking.
Moved receive_message(int connection, std::uint8_t *out, std::size_t length, bool wait, Ancillary &beside) noexcept;
// The same without control data. The kernel closes what comes along, before it returns and however long that takes: for
// sockets that refuse descriptors.
Moved receive_bytes(int connection, std::uint8_t *out, std::size_t length, bool wait) noexcept;

// Makes the kernel tell the senders of what this socket receives from now on: SCM_CREDENTIALS, and SCM_PIDFD where it has
// that. False: not even the first.
struct Identification {
    bool credentials;
    bool pidfd;
};
Identification identify_senders(int socket, bool wanted) noexcept;

// Makes the kernel say why a descriptor did not come (SO_RIGHTS_NOTRUNC), where it can; the rest is guessed as well as it
// can be.
void ask_why_missing(int socket) noexcept;

// How much of the kernel's memory holds what was sent by this Unix socket and is unread; 0 also if the other end is closed,
// and where the kernel does not tell.
std::uint64_t unread_memory(int socket) noexcept;

// How many descriptors this process may have, as far as it is known.
std::uint64_t descriptor_limit() noexcept;

} // namespace rp::handoff::os
