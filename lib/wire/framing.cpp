#include "wire/framing.hpp"

namespace rp::handoff::wire {

Header encode_header(std::uint32_t body_length) noexcept {
    return {framing_version, static_cast<std::uint8_t>(body_length), static_cast<std::uint8_t>(body_length >> 8U),
            static_cast<std::uint8_t>(body_length >> 16U), static_cast<std::uint8_t>(body_length >> 24U)};
}

Result<std::uint32_t> decode_header(ByteView bytes, std::uint32_t cap) noexcept {
    if (!bytes.empty() && bytes[0] != framing_version) {
        return Failure(Status::frame_version);
    }
    if (bytes.size() < header_size) {
        return Failure(Status::frame_incomplete);
    }
    std::uint32_t length = 0;
    for (std::size_t i = header_size - 1; i > 0; --i) {
        length = length << 8U | bytes[i];
    }
    if (length > cap) {
        return Failure(Status::frame_too_large);
    }
    return length;
}

} // namespace rp::handoff::wire
