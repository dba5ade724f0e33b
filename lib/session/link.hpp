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
#include "session/frames.hpp"

namespace rp::handoff::session {

class Link {
  public:
    // receive_capacity: the longest frame that this side takes; send_capacity: that it sends.
    Link(std::size_t receive_capacity, std::size_t send_capacity);
    Link(const Link &) = delete;
    Link &operator=(const Link &) = delete;
    ~Link();

    void set_socket(UniqueFd socket) noexcept { socket_ = std::move(socket); }
    int socket() const noexcept { return socket_.get(); }
    UniqueFd take_socket() noexcept { return std::move(socket_); }
    void close() noexcept { socket_.reset(); }

    // ---- receiving

    enum class Got { bytes, nothing, end, failed };
    struct Read {
        Got got;
        Status status; // of failed: protocol, or system with os_error
        int os_error;
    };
    // One system call. with_control: also descriptors and the sender. wait: as long as set_timeout said, if the socket is
    // in blocking mode; may be called with the session unlocked, by one thread.
    Read read(bool wait, bool with_control) noexcept;
    // Sets SO_RCVTIMEO to at most `left`. It is set anew only when that is not so already: a power of two that fits.
    void set_timeout(Duration left) noexcept;

    struct Frame {
        Header header;
        ByteView body;
        bool of_one_read; // it came as one, so that beside() is all there is to it
    };
    // The first frame of what was read. frame_incomplete, protocol.
    Result<Frame> frame() const noexcept;
    void drop_frame() noexcept;
    os::Ancillary &beside() noexcept { return beside_; }

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
    void keep_rest(const iovec *pieces, std::size_t piece_count, std::size_t sent) noexcept;

    UniqueFd socket_;
    std::size_t capacity_;
    std::unique_ptr<std::uint8_t[]> received_;
    std::size_t begin_ = 0;      // of the first frame
    std::size_t end_ = 0;        // of what was received
    std::size_t read_began_ = 0; // where the last read that began at a frame put its bytes
    bool control_ = false;       // whether that read was with control data
    os::Ancillary beside_;       // of that read
    Duration timeout_{};         // what SO_RCVTIMEO is; zero: none yet
    std::vector<std::uint8_t> unsent_;
    std::size_t sent_ = 0;
    std::uint64_t messages_sent_ = 0;
};

} // namespace rp::handoff::session
