// Bytes across a connected stream socket before a deadline.
//
// The socket's flags are never touched, since they may be shared with another process: each attempt is non-blocking by
// itself, and waiting is the time source's. The deadline is looked at before every attempt, also when data is there
// already, so that a peer which trickles bytes cannot stretch it.
#pragma once

#include <cstdint>

#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "base/status.hpp"
#include "base/unique_fd.hpp"

namespace rp::handoff::os {

// ok, or why it ended: timed_out, closed (end of file before the first byte), unexpected_eof (later), system with its
// errno.
struct StreamResult {
    Status status = Status::ok;
    int os_error = 0;
    std::size_t bytes = 0; // moved, in any case
};

// A descriptor that comes along is discarded. read_some is content with what comes first, at least one byte.
StreamResult read_some(int fd, std::uint8_t *out, std::size_t length, Instant deadline, TimeSource &time) noexcept;
StreamResult read_exactly(int fd, std::uint8_t *out, std::size_t length, Instant deadline, TimeSource &time) noexcept;
StreamResult write_all(int fd, ByteView bytes, Instant deadline, TimeSource &time) noexcept;

// Exactly `length` bytes and the one descriptor that came with the first of them. timed_out, closed, unexpected_eof,
// descriptors, system. Whatever else came is discarded.
Result<UniqueFd> receive_exactly(int connection, std::uint8_t *out, std::size_t length, Instant deadline,
                                 TimeSource &time) noexcept;

} // namespace rp::handoff::os
