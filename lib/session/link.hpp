// The socket of a session: cuts what it receives into frames, keeps descriptors with the frame that they came with, and
// sends messages whole, whatever the kernel takes at once.
//
// No policy and no lock. A read never goes beyond the end of a frame that has begun, so that the descriptors which one
// recvmsg(2) gives belong to a frame that begins in the bytes of the same read: the kernel ends a read with the message
// that carries descriptors (unix_stream_read_generic, net/unix/af_unix.c).
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/clock.hpp"
#include "os/descriptor.hpp"
#include "session/discards.hpp"
#include "session/frames.hpp"

namespace rp::handoff::session {

class Link {
  public:
    // receive_capacity: the longest frame that this side takes; send_capacity: that it sends. `strays` gets the descriptors
    // that came and that nobody takes.
    Link(std::size_t receive_capacity, std::size_t send_capacity, Discards &strays);
    Link(const Link &) = delete;
    Link &operator=(const Link &) = delete;
    ~Link();

    void set_socket(UniqueFd socket) noexcept { socket_ = std::move(socket); }
    int socket() const noexcept { return socket_.get(); }
    UniqueFd take_socket() noexcept { return std::move(socket_); }
    // No descriptor may come from now on, as far as the kernel can see to that.
    void refuse_descriptors() noexcept { refused_ = os::refuse_descriptors(socket()); }
    // Nor does it matter any more who sends.
    void expect_bytes_only() noexcept { plain_ = refused_; }

    // ---- receiving

    enum class Got { bytes, nothing, end, failed };
    struct Read {
        Got got;
        Status status; // of failed: protocol, or system with os_error
        int os_error;
    };
    // One system call. wait: as long as set_patience said; may be called with the session unlocked, by one thread.
    Read read(bool wait) noexcept;
    // How long a read that waits does so: SO_RCVTIMEO.
    void set_patience(Duration patience) noexcept;

    struct Frame {
        Header header;
        ByteView body;
        bool of_one_read; // it came as one, so that beside() is all there is to it
    };
    // The first frame of what was read. frame_incomplete, protocol.
    Result<Frame> frame() const noexcept;
    void drop_frame() noexcept;
    os::Ancillary &beside() noexcept { return beside_; }
    void drop_beside(Discards::Kind kind) noexcept;
    // What was received and not taken.
    ByteView unread() const noexcept { return {received_.get() + begin_, end_ - begin_}; }

    // ---- sending

    bool has_unsent() const noexcept { return sent_ < unsent_.size(); }
    // A message that begins now; nothing may be unsent. If a part of it leaves, the rest is kept to follow.
    os::Sent send(const int *fds, std::size_t count, const iovec *pieces, std::size_t piece_count) noexcept;
    os::Sent send(ByteView bytes) noexcept;
    int flush() noexcept; // 0: all has left; EAGAIN; another errno
    void drop_unsent() noexcept;

    std::uint64_t messages_sent() const noexcept { return messages_sent_; }

  private:
    std::size_t wanted(std::size_t &from) noexcept;
    os::Moved receive(std::uint8_t *to, std::size_t length, bool wait, bool at_frame, bool &unasked) noexcept;
    void keep_rest(const iovec *pieces, std::size_t piece_count, std::size_t sent) noexcept;

    UniqueFd socket_;
    Discards &strays_;
    bool refused_ = false; // the kernel lets no descriptor through
    bool plain_ = false;   // control data is not even asked for
    std::size_t capacity_;
    std::unique_ptr<std::uint8_t[]> received_;
    std::size_t begin_ = 0;      // of the first frame
    std::size_t end_ = 0;        // of what was received
    std::size_t read_began_ = 0; // where the last read put its bytes
    bool began_frame_ = false;   // that was where a frame begins
    os::Ancillary beside_;       // of that read
    std::vector<std::uint8_t> unsent_;
    std::size_t sent_ = 0;
    std::uint64_t messages_sent_ = 0;
};

} // namespace rp::handoff::session
