// One framed message across a socket before a deadline.
#pragma once

#include <string_view>

#include "base/clock.hpp"
#include "base/status.hpp"
#include "base/wiped_buffer.hpp"
#include "wire/recognise.hpp"

namespace rp::handoff {

struct FrameRead {
    Status status = Status::ok; // timed_out, closed, unexpected_eof, frame_version, frame_too_large, no_memory, system
    int os_error = 0;
    std::string_view part; // what was being read when it failed: "framing byte", "length", "body"
    wire::Protocol speaks = wire::Protocol::undecided; // after frame_version: what the first byte looks like
};

// Into `body`; never a byte beyond the frame. A body longer than `cap` is refused before any of it is read.
FrameRead read_frame(int fd, std::uint32_t cap, Instant deadline, TimeSource &time, FrameBuffer &body) noexcept;

} // namespace rp::handoff
