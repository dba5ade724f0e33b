// The outermost layer of the v1 wire: one byte 1, the body's length as four bytes little-endian, the body.
//
// Pure, bytes to values and back; nothing here reads a socket.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.hpp"
#include "base/status.hpp"

namespace rp::handoff::wire {

inline constexpr std::uint8_t framing_version = 1;
inline constexpr std::size_t header_size = 5;
inline constexpr std::uint32_t max_body = 16 * 1024 * 1024;

using Header = std::array<std::uint8_t, header_size>;

// The caller has checked that the length is at most max_body.
Header encode_header(std::uint32_t body_length) noexcept;

// The body's length, from what there is of the frame so far: frame_incomplete (fewer than five bytes, all right so
// far), frame_version (told from one byte), frame_too_large (longer than cap; equal is fine).
Result<std::uint32_t> decode_header(ByteView bytes, std::uint32_t cap = max_body) noexcept;

} // namespace rp::handoff::wire
