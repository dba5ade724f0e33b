#include "wire/exchange.hpp"

#include <algorithm>
#include <protozero/buffer_fixed.hpp>

namespace rp::handoff::wire {

namespace {

// The payload in its envelope in its frame, behind what `out` already holds. The capacity was chosen for the longest.
template <std::size_t Capacity, class Payload>
void append_framed(FixedBytes<Capacity> &out, const Payload &payload, Kind kind) noexcept {
    std::array<char, Capacity> encoded{};
    protozero::fixed_size_buffer_adaptor inner(encoded);
    append(inner, payload);

    Frame frame;
    frame.envelope_version = envelope_v1;
    frame.kind = kind;
    frame.payload_protocol = protocol_handoff;
    frame.payload = {reinterpret_cast<const std::uint8_t *>(inner.data()), inner.size()};
    frame.request_id = payload.correlation_id;

    const std::size_t start = out.size + header_size;
    protozero::fixed_size_buffer_adaptor body(reinterpret_cast<char *>(out.data.data()) + start, Capacity - start);
    append(body, frame);
    const Header header = encode_header(static_cast<std::uint32_t>(body.size()));
    std::copy(header.begin(), header.end(), out.data.begin() + static_cast<std::ptrdiff_t>(out.size));
    out.size = start + body.size();
    explicit_bzero(encoded.data(), inner.size());
}

template <class Payload>
tl::expected<Payload, FrameError> open(ByteView body, Kind kind, Result<Payload> (*decode)(ByteView) noexcept,
                                       std::string_view id_mismatch) noexcept {
    const auto fail = [](Status status, std::string_view words) { return tl::unexpected(FrameError{status, words}); };
    const Result<Frame> frame = decode_frame(body);
    if (!frame) {
        return fail(frame.error(), "frame is not a valid message");
    }
    const EnvelopeError error = validate_envelope(*frame, kind, protocol_handoff);
    if (error != EnvelopeError::none) {
        return fail(Status::frame_unexpected, envelope_error_text(error, kind));
    }
    const Result<Payload> payload = decode(frame->payload);
    if (!payload) {
        return fail(payload.error(), "payload is not a valid message");
    }
    if (frame->request_id != payload->correlation_id) {
        return fail(Status::frame_unexpected, id_mismatch);
    }
    return *payload;
}

} // namespace

OfferMessage encode_offer_message(ByteView token, std::string_view service_name,
                                  std::uint64_t correlation_id) noexcept {
    OfferMessage out;
    std::copy_n(token.begin(), token_size, out.data.begin());
    out.size = token_size;
    append_framed(
        out, HandoffOffer{0, token.substr(0, token_size), service_name.substr(0, max_service_name), correlation_id},
        Kind::request);
    return out;
}

AckMessage encode_ack_frame(const HandoffAck &ack, Kind kind) noexcept {
    AckMessage out;
    HandoffAck bounded = ack;
    bounded.token = ack.token.substr(0, 64);
    bounded.error_detail = ack.error_detail.substr(0, max_error_detail);
    append_framed(out, bounded, kind);
    return out;
}

std::string framed(const Frame &frame) {
    std::string bytes;
    // At once, so that no outgrown copy of a token stays behind.
    bytes.reserve(header_size + frame.payload.size() + frame.traceparent.size() + frame.tracestate.size() + 80);
    bytes.resize(header_size);
    append(bytes, frame);
    const Header header = encode_header(static_cast<std::uint32_t>(bytes.size() - header_size));
    std::copy(header.begin(), header.end(), bytes.begin());
    return bytes;
}

tl::expected<HandoffOffer, FrameError> open_offer(ByteView body) noexcept {
    return open(body, Kind::request, decode_offer, "frame request_id does not match HandoffOffer correlation_id");
}

tl::expected<HandoffAck, FrameError> open_ack(ByteView body, Kind kind) noexcept {
    return open(body, kind, decode_ack, "frame request_id does not match HandoffAck correlation_id");
}

} // namespace rp::handoff::wire
