// The three framed messages of a handoff, whole: header, envelope and payload together, checked against each other.
//
// Pure. Encoding takes a fixed buffer for what this library sends itself, whose texts are bounded; the general forms
// for callers of the C API are in capi/wire.cpp.
#pragma once

#include <array>

#include <cstring>

#include "wire/messages.hpp"

namespace rp::handoff::wire {

inline constexpr std::size_t max_service_name = 255;
inline constexpr std::size_t max_error_detail = 1024;

// Bytes that never allocate, and that are wiped, for a token is among them.
template <std::size_t Capacity>
struct FixedBytes {
    FixedBytes() noexcept = default;
    FixedBytes(const FixedBytes &) = delete;
    FixedBytes &operator=(const FixedBytes &) = delete;
    FixedBytes(FixedBytes &&) noexcept = default;
    FixedBytes &operator=(FixedBytes &&) = delete;
    ~FixedBytes() { explicit_bzero(data.data(), data.size()); }

    std::array<std::uint8_t, Capacity> data{};
    std::size_t size = 0;
    ByteView view() const noexcept { return {data.data(), size}; }
};

inline constexpr std::size_t token_size = 16;

// Overhead of header, envelope and payload around the texts: less than 96 bytes with all integers at their longest.
using OfferMessage = FixedBytes<token_size + max_service_name + token_size + 96>;
using AckMessage = FixedBytes<64 + max_error_detail + 96>;

// What the broker sends in one message: the token's bytes and the framed offer. service_name within its bound.
OfferMessage encode_offer_message(ByteView token, std::string_view service_name, std::uint64_t correlation_id) noexcept;

// Token at most 64 bytes (a malformed one is echoed as it came, cut there), error_detail within its bound.
AckMessage encode_ack_frame(const HandoffAck &ack, Kind kind) noexcept;

// A frame of any size, header and body, in memory of its own; the caller keeps within max_body.
std::string framed(const Frame &frame);

inline ByteView as_bytes(std::string_view text) noexcept {
    return {reinterpret_cast<const std::uint8_t *>(text.data()), text.size()};
}

// What is wrong with a frame that arrived: a status, and for the log the words.
struct FrameError {
    Status status;
    std::string_view words;
};

// From the body of a frame to its payload, by the rules in their order: Frame, envelope, payload, and the frame's
// request id equal to the payload's correlation id.
tl::expected<HandoffOffer, FrameError> open_offer(ByteView body) noexcept;
tl::expected<HandoffAck, FrameError> open_ack(ByteView body, Kind kind) noexcept;

} // namespace rp::handoff::wire
