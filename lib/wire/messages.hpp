// The messages of the handoff exchange: values to protobuf bytes and back. The frozen v1 schema, package
// running_process.broker.v1.
//
// Pure. Decoded text and bytes are views into what was decoded. Encoding is canonical: ascending field numbers,
// defaults omitted, minimal varints; decoding takes what prost takes.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/status.hpp"
#include "wire/framing.hpp"

namespace rp::handoff::wire {

enum class Kind : std::int32_t { request = 0, response = 1, event = 2, cancel = 3 };
enum class Encoding : std::int32_t { none = 0, zstd = 1, snappy = 2, lz4 = 3 };

inline constexpr std::uint32_t envelope_v1 = 1;
inline constexpr std::uint32_t protocol_handoff = 0xD0FF;

// kind and payload_encoding may hold numbers that have no name.
struct Frame {
    std::uint32_t envelope_version = 0;
    Kind kind = Kind::request;
    std::uint32_t payload_protocol = 0;
    ByteView payload;
    std::uint64_t request_id = 0;
    Encoding payload_encoding = Encoding::none;
    std::uint64_t deadline_unix_ms = 0;
    std::string_view traceparent;
    std::string_view tracestate;
};

struct HandoffOffer {
    std::uint64_t handle_value = 0;
    ByteView token;
    std::string_view service_name;
    std::uint64_t correlation_id = 0;
};

struct HandoffAck {
    ByteView token;
    bool accepted = false;
    std::string_view error_detail;
    std::uint64_t correlation_id = 0;
};

// Appends to a protozero buffer, which may throw: std::string (bad_alloc), or fixed memory that the caller has made
// large enough. Defined for both in messages.cpp.
template <class Buffer>
void append(Buffer &out, const Frame &frame);
template <class Buffer>
void append(Buffer &out, const HandoffOffer &offer);
template <class Buffer>
void append(Buffer &out, const HandoffAck &ack);

Result<Frame> decode_frame(ByteView body) noexcept;
Result<HandoffOffer> decode_offer(ByteView payload) noexcept;
Result<HandoffAck> decode_ack(ByteView payload) noexcept;

// Why an envelope is not the expected one; the first that applies, in this order.
enum class EnvelopeError { none, envelope_version, kind, payload_protocol, payload_encoding };
EnvelopeError validate_envelope(const Frame &frame, Kind kind, std::uint32_t payload_protocol) noexcept;

// The fixed texts that peers compare.
std::string_view envelope_error_text(EnvelopeError error, Kind expected) noexcept;

} // namespace rp::handoff::wire
