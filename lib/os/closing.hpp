// Closing what a peer gave, or may have put into a queue, so that close(2) does not wait for as long as the peer chose.
//
// The close of the last copy of a TCP socket with SO_LINGER waits until its bytes are acknowledged (socket(7)), and whoever
// sent us that socket may have dropped its own copy. A Unix socket waits in the same way for such sockets that lie
// unreceived in its queue. None of this is called with a lock held all the same: a peer that shares the socket can set the
// option again at any moment, or can send a Unix socket in whose queue another one lies, which nobody looks into.
#pragma once

#include "base/unique_fd.hpp"

namespace rp::handoff::os {

// For what came unasked, in surplus, or from somebody who was not authenticated: takes SO_LINGER away before it closes. The
// option is shared with all copies, so never for a connection that may be the sender's again: such a one is closed as it is.
void discard(UniqueFd fd) noexcept;

// What becomes of descriptors that were sent and not received.
enum class Unreceived {
    discard, // nobody has a claim on them any more
    close    // they may be the sender's again, which revoked them
};

// For a Unix socket of our own, connection or listener, that nobody shares: ends receiving, takes out all that was sent and
// not received (of a listener: accepts all who wait, each of whom may have sent something), and closes. Does not wait for
// anybody. shutdown(2) tells the peer, and whoever else holds a copy.
void drain_and_close(UniqueFd socket, Unreceived unreceived = Unreceived::discard) noexcept;
// The same at the end of its owner, unless it is released before.
class DrainedFd {
  public:
    explicit DrainedFd(UniqueFd socket) noexcept : socket_(std::move(socket)) {}
    DrainedFd(DrainedFd &&) noexcept = default;
    DrainedFd &operator=(DrainedFd &&) = delete;
    ~DrainedFd() { drain_and_close(std::move(socket_)); }

    int get() const noexcept { return socket_.get(); }
    explicit operator bool() const noexcept { return static_cast<bool>(socket_); }
    UniqueFd release() noexcept { return std::move(socket_); }

  private:
    UniqueFd socket_;
};
// All but the close, of a connection.
void drain(int socket, Unreceived unreceived = Unreceived::discard) noexcept;

// No descriptor can come by this socket any more; who tries to send one is told (EPERM). False where the kernel does not
// have SO_PASSRIGHTS (Linux 6.16), and then they come as before.
bool refuse_descriptors(int socket) noexcept;

} // namespace rp::handoff::os
