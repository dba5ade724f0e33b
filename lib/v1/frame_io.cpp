#include "v1/frame_io.hpp"

#include "os/stream.hpp"
#include "wire/framing.hpp"

namespace rp::handoff {

FrameRead read_frame(int fd, std::uint32_t cap, Instant deadline, TimeSource &time, FrameBuffer &body) noexcept {
    wire::Header header{};
    auto read = os::read_some(fd, header.data(), header.size(), deadline, time);
    if (read.status != Status::ok) {
        return {read.status, read.os_error, "framing byte", {}};
    }
    // The first byte alone tells whether a length follows.
    if (wire::decode_header({header.data(), 1}).error() == Status::frame_version) {
        return {Status::frame_version, 0, "framing byte", wire::recognise_answer({header.data(), read.bytes})};
    }
    const std::size_t got = read.bytes;
    read = os::read_exactly(fd, header.data() + got, header.size() - got, deadline, time);
    if (read.status != Status::ok) {
        return {read.status == Status::closed ? Status::unexpected_eof : read.status, read.os_error, "length", {}};
    }
    const Result<std::uint32_t> length = wire::decode_header({header.data(), header.size()}, cap);
    if (!length) {
        return {length.error(), 0, "length", {}};
    }
    if (!body.allocate(*length)) {
        return {Status::no_memory, 0, "body", {}};
    }
    read = os::read_exactly(fd, body.data(), *length, deadline, time);
    // The end of file where the body should begin is in the middle of the frame all the same.
    return {read.status == Status::closed ? Status::unexpected_eof : read.status, read.os_error, "body", {}};
}

} // namespace rp::handoff
