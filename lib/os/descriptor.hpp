// Descriptors across a Unix stream socket: one sendmsg(2) or recvmsg(2) each, SCM_RIGHTS beside the bytes.
//
// No policy, no waiting, no framing. A build for a platform without the transport replaces this folder by
// unsupported.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/bytes.hpp"
#include "base/unique_fd.hpp"

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

struct Received {
    std::size_t bytes = 0;
    int os_error = 0; // 0, or why nothing was received: EAGAIN if there is nothing yet
    bool end = false; // end of file
    UniqueFd fd;      // the first descriptor that came, close-on-exec; any others are closed already
    bool surplus =
        false; // more than one came, or the kernel dropped some (MSG_CTRUNC), or control data of another kind
    bool truncated =
        false; // of these, MSG_CTRUNC: this process is out of descriptors, or more came than there was room for
};

// Borrows the connection. Never waits; repeats after EINTR. Takes at most `length` bytes.
Received receive(int connection, std::uint8_t *out, std::size_t length) noexcept;

// ---- for sessions: many descriptors with one message, and who sent it ----------------------------------------------

// As above, with the bytes in several pieces. Borrows `count` descriptors, at most 253.
Sent send_many(int connection, const int *fds, std::size_t count, const iovec *pieces,
               std::size_t piece_count) noexcept;

// The descriptors of one message, in their order; those that nobody takes are closed.
class DescriptorGroup {
  public:
    static constexpr std::size_t capacity = 253; // unix(7)

    DescriptorGroup() noexcept = default;
    DescriptorGroup(const DescriptorGroup &) = delete;
    DescriptorGroup &operator=(const DescriptorGroup &) = delete;
    ~DescriptorGroup() { clear(); }

    std::size_t size() const noexcept { return end_ - next_; }
    bool empty() const noexcept { return size() == 0; }
    void push(UniqueFd fd) noexcept { // what does not fit is closed
        if (end_ < capacity) {
            fds_[end_++] = fd.release();
        }
    }
    UniqueFd take() noexcept { return UniqueFd(empty() ? -1 : fds_[next_++]); }
    void clear() noexcept {
        while (!empty()) {
            take();
        }
        next_ = end_ = 0;
    }

  private:
    int fds_[capacity]; // only those from next_ to end_ mean anything
    std::size_t next_ = 0;
    std::size_t end_ = 0;
};

// What came beside the bytes of one recvmsg(2).
struct Ancillary {
    DescriptorGroup descriptors; // close-on-exec
    bool truncated = false;      // MSG_CTRUNC: out of descriptors; those that came are a prefix of what was sent
    bool foreign = false;        // control data that a session has no use for
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
        truncated = foreign = false;
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

// Fills `beside`, which is empty. wait: as long as the socket's SO_RCVTIMEO allows, then EAGAIN; a signal is EINTR then.
Moved receive_message(int connection, std::uint8_t *out, std::size_t length, bool wait, Ancillary &beside) noexcept;
// The same without control data: a descriptor that comes along is closed by the kernel.
Moved receive_bytes(int connection, std::uint8_t *out, std::size_t length, bool wait) noexcept;

// Makes the kernel tell the senders of what this socket receives from now on: SCM_CREDENTIALS, and SCM_PIDFD where it has
// that. False: not even the first.
struct Identification {
    bool credentials;
    bool pidfd;
};
Identification identify_senders(int socket, bool wanted) noexcept;

// The same descriptor under a number above 2, where no write to a standard stream goes by accident.
UniqueFd above_stdio(UniqueFd fd) noexcept;

// Closes what nobody asked for, without waiting for what SO_LINGER says of it: that is switched off first.
void discard(UniqueFd fd) noexcept;

// Closes a Unix socket of this process's own. What it was sent and did not receive is received and discarded first, for the
// kernel would close that inside close(2), and wait where SO_LINGER says so.
void drain_and_close(UniqueFd socket) noexcept;
void drain(int socket) noexcept; // all but the close

// No descriptor reaches this socket any more: the kernel refuses them at the sender (SO_PASSRIGHTS, Linux 6.16). False where
// it does not know how.
bool refuse_descriptors(int socket) noexcept;

// How much of the kernel's memory holds what was sent by this Unix socket and is unread; 0 also if the other end is closed,
// and where the kernel does not tell.
std::uint64_t unread_memory(int socket) noexcept;

// How many descriptors this process may have, as far as it is known.
std::uint64_t descriptor_limit() noexcept;

} // namespace rp::handoff::os
