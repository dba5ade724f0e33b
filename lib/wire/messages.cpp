#include "wire/messages.hpp"

#include <protozero/buffer_fixed.hpp>
#include <protozero/buffer_string.hpp>

#include "wire/codec.hpp"

namespace rp::handoff::wire {

namespace {

template <class Message, class Field>
Result<Message> decode(ByteView bytes, Field field) noexcept {
    Message message;
    if (!merge_fields(message, bytes, field)) {
        return Failure(Status::frame_malformed);
    }
    return message;
}

} // namespace

template <class Buffer>
void append(Buffer &out, const Frame &frame) {
    Writer<Buffer> w(out);
    w.number(1, frame.envelope_version);
    w.enumeration(2, static_cast<std::int32_t>(frame.kind));
    w.number(3, frame.payload_protocol);
    w.bytes(4, frame.payload);
    w.number(5, frame.request_id);
    w.enumeration(6, static_cast<std::int32_t>(frame.payload_encoding));
    w.number(7, frame.deadline_unix_ms);
    w.text(8, frame.traceparent);
    w.text(9, frame.tracestate);
}

template <class Buffer>
void append(Buffer &out, const HandoffOffer &offer) {
    Writer<Buffer> w(out);
    w.number(1, offer.handle_value);
    w.bytes(2, offer.token);
    w.text(3, offer.service_name);
    w.number(4, offer.correlation_id);
}

template <class Buffer>
void append(Buffer &out, const HandoffAck &ack) {
    Writer<Buffer> w(out);
    w.bytes(1, ack.token);
    w.number(2, ack.accepted ? 1 : 0);
    w.text(3, ack.error_detail);
    w.number(4, ack.correlation_id);
}

template void append(std::string &, const Frame &);
template void append(std::string &, const HandoffOffer &);
template void append(std::string &, const HandoffAck &);
template void append(protozero::fixed_size_buffer_adaptor &, const Frame &);
template void append(protozero::fixed_size_buffer_adaptor &, const HandoffOffer &);
template void append(protozero::fixed_size_buffer_adaptor &, const HandoffAck &);

Result<Frame> decode_frame(ByteView body) noexcept {
    return decode<Frame>(body, [](Frame &frame, FieldReader &field) {
        switch (field.tag()) {
        case 1:
            frame.envelope_version = field.u32();
            break;
        case 2:
            frame.kind = static_cast<Kind>(field.enumeration());
            break;
        case 3:
            frame.payload_protocol = field.u32();
            break;
        case 4:
            frame.payload = field.bytes();
            break;
        case 5:
            frame.request_id = field.varint();
            break;
        case 6:
            frame.payload_encoding = static_cast<Encoding>(field.enumeration());
            break;
        case 7:
            frame.deadline_unix_ms = field.varint();
            break;
        case 8:
            frame.traceparent = field.text();
            break;
        case 9:
            frame.tracestate = field.text();
            break;
        default:
            field.skip();
        }
    });
}

Result<HandoffOffer> decode_offer(ByteView payload) noexcept {
    return decode<HandoffOffer>(payload, [](HandoffOffer &offer, FieldReader &field) {
        switch (field.tag()) {
        case 1:
            offer.handle_value = field.varint();
            break;
        case 2:
            offer.token = field.bytes();
            break;
        case 3:
            offer.service_name = field.text();
            break;
        case 4:
            offer.correlation_id = field.varint();
            break;
        default:
            field.skip();
        }
    });
}

Result<HandoffAck> decode_ack(ByteView payload) noexcept {
    return decode<HandoffAck>(payload, [](HandoffAck &ack, FieldReader &field) {
        switch (field.tag()) {
        case 1:
            ack.token = field.bytes();
            break;
        case 2:
            ack.accepted = field.boolean();
            break;
        case 3:
            ack.error_detail = field.text();
            break;
        case 4:
            ack.correlation_id = field.varint();
            break;
        default:
            field.skip();
        }
    });
}

EnvelopeError validate_envelope(const Frame &frame, Kind kind, std::uint32_t payload_protocol) noexcept {
    if (frame.envelope_version != envelope_v1) {
        return EnvelopeError::envelope_version;
    }
    if (frame.kind != kind) {
        return EnvelopeError::kind;
    }
    if (frame.payload_protocol != payload_protocol) {
        return EnvelopeError::payload_protocol;
    }
    return frame.payload_encoding == Encoding::none ? EnvelopeError::none : EnvelopeError::payload_encoding;
}

std::string_view envelope_error_text(EnvelopeError error, Kind expected) noexcept {
    switch (error) {
    case EnvelopeError::none:
        return "";
    case EnvelopeError::envelope_version:
        return "envelope_version is not v1";
    case EnvelopeError::payload_protocol:
        return "payload_protocol is not handoff";
    case EnvelopeError::payload_encoding:
        return "payload is compressed";
    case EnvelopeError::kind:
        break;
    }
    switch (expected) {
    case Kind::request:
        return "kind is not REQUEST";
    case Kind::event:
        return "kind is not EVENT";
    default:
        return "kind is not RESPONSE";
    }
}

} // namespace rp::handoff::wire
