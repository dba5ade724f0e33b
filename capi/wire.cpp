#include <cerrno>
#include <poll.h>
#include <protozero/buffer_string.hpp>
#include <string>

#include "base/text.hpp"
#include "base/wiped_string.hpp"
#include "environment.hpp"
#include "os/descriptor.hpp"
#include "os/stream.hpp"
#include "wire_frames.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

static_assert(RP_HANDOFF_FRAME_HEADER_SIZE == wire::header_size);
static_assert(RP_HANDOFF_FRAME_BODY_MAX == wire::max_body);
static_assert(RP_HANDOFF_PROTOCOL_HANDOFF == wire::protocol_handoff);

namespace {

constexpr std::size_t room_for_numbers = 64; // and keys, of offers and answers

bool is_ack_kind(std::int32_t kind) noexcept {
    return kind == RP_HANDOFF_KIND_RESPONSE || kind == RP_HANDOFF_KIND_EVENT;
}

} // namespace

Status capi::put_frame(const wire::Frame &frame, std::uint8_t *out, std::size_t capacity, std::size_t *out_length) {
    if (out == nullptr && capacity > 0) {
        return Status::invalid_argument;
    }
    if (frame.payload.size() > wire::max_body) {
        return Status::frame_too_large;
    }
    const WipedString framed(wire::framed(frame));
    const std::string &bytes = framed.text();
    if (bytes.size() > wire::header_size + wire::max_body) {
        return Status::frame_too_large;
    }
    if (out != nullptr && capacity < bytes.size()) {
        return Status::buffer_too_small;
    }
    if (out != nullptr) {
        std::copy(bytes.begin(), bytes.end(), out);
    }
    *out_length = bytes.size();
    return Status::ok;
}

Status capi::put_payload(std::string_view payload, wire::Kind kind, std::uint32_t protocol, std::uint64_t request_id,
                         std::uint8_t *out, std::size_t capacity, std::size_t *out_length) {
    wire::Frame frame;
    frame.envelope_version = wire::envelope_v1;
    frame.kind = kind;
    frame.payload_protocol = protocol;
    frame.payload = wire::as_bytes(payload);
    frame.request_id = request_id;
    return put_frame(frame, out, capacity, out_length);
}

Result<ByteView> capi::find_body(const std::uint8_t *data, std::size_t length) noexcept {
    const Result<std::uint32_t> body = wire::decode_header(byte_view(data, length));
    if (!body) {
        return Failure(body.error());
    }
    if (length - wire::header_size < *body) {
        return Failure(Status::frame_incomplete);
    }
    return ByteView(data + wire::header_size, *body);
}

Result<FoundFrame> capi::find_frame(const std::uint8_t *data, std::size_t length, wire::Kind kind,
                                    std::uint32_t protocol) noexcept {
    const Result<ByteView> body = find_body(data, length);
    const Result<wire::Frame> frame = body.and_then(wire::decode_frame);
    if (!frame) {
        return Failure(frame.error());
    }
    if (wire::validate_envelope(*frame, kind, protocol) != wire::EnvelopeError::none) {
        return Failure(Status::frame_unexpected);
    }
    return FoundFrame{*frame, wire::header_size + body->size()};
}

int32_t rp_handoff_wire_encode_frame(const rp_handoff_wire_frame *frame, uint8_t *out, size_t capacity,
                                     size_t *out_length) {
    return guarded([&] {
        rp_handoff_wire_frame f{};
        if (const Status status = read_struct(frame, f); status != Status::ok) {
            return status;
        }
        const wire::Frame core{f.envelope_version,
                               static_cast<wire::Kind>(f.kind),
                               f.payload_protocol,
                               byte_view(f.payload, f.payload_length),
                               f.request_id,
                               static_cast<wire::Encoding>(f.payload_encoding),
                               f.deadline_unix_ms,
                               text_view(f.traceparent, f.traceparent_length),
                               text_view(f.tracestate, f.tracestate_length)};
        const Status valid = first_failure(
            {check_argument(out_length != nullptr), check_bytes(f.payload, f.payload_length),
             check_text(f.traceparent, f.traceparent_length), check_text(f.tracestate, f.tracestate_length)});
        return valid == Status::ok ? put_frame(core, out, capacity, out_length) : valid;
    });
}

int32_t rp_handoff_wire_encode_offer(const rp_handoff_wire_offer *offer, uint8_t *out, size_t capacity,
                                     size_t *out_length) {
    return guarded([&] {
        rp_handoff_wire_offer o{};
        if (const Status status = read_struct(offer, o); status != Status::ok) {
            return status;
        }
        const wire::HandoffOffer core{o.handle_value, byte_view(o.token, o.token_length),
                                      text_view(o.service_name, o.service_name_length), o.correlation_id};
        const Status valid = first_failure({check_argument(out_length != nullptr), check_bytes(o.token, o.token_length),
                                            check_text(o.service_name, o.service_name_length)});
        if (valid != Status::ok) {
            return valid;
        }
        WipedString payload(o.token_length + o.service_name_length + room_for_numbers);
        wire::append(payload.text(), core);
        return put_payload(payload.text(), wire::Kind::request, wire::protocol_handoff, core.correlation_id, out,
                           capacity, out_length);
    });
}

int32_t rp_handoff_wire_encode_ack(const rp_handoff_wire_ack *ack, int32_t kind, uint8_t *out, size_t capacity,
                                   size_t *out_length) {
    return guarded([&] {
        rp_handoff_wire_ack a{};
        if (const Status status = read_struct(ack, a); status != Status::ok) {
            return status;
        }
        const wire::HandoffAck core{byte_view(a.token, a.token_length), a.accepted != 0,
                                    text_view(a.error_detail, a.error_detail_length), a.correlation_id};
        const Status valid =
            first_failure({check_argument(out_length != nullptr && is_ack_kind(kind)),
                           check_bytes(a.token, a.token_length), check_text(a.error_detail, a.error_detail_length)});
        if (valid != Status::ok) {
            return valid;
        }
        WipedString payload(a.token_length + a.error_detail_length + room_for_numbers);
        wire::append(payload.text(), core);
        return put_payload(payload.text(), static_cast<wire::Kind>(kind), wire::protocol_handoff, core.correlation_id,
                           out, capacity, out_length);
    });
}

int32_t rp_handoff_wire_decode_frame(const uint8_t *data, size_t length, rp_handoff_wire_frame *out_frame,
                                     size_t *out_consumed) {
    return guarded([&] {
        if (const Status given = check_decoding(is_given(data, length) && out_consumed != nullptr, out_frame);
            given != Status::ok) {
            return given;
        }
        const Result<ByteView> body = find_body(data, length);
        const Result<wire::Frame> frame = body.and_then(wire::decode_frame);
        if (!frame) {
            return frame.error();
        }
        write_struct(out_frame, {0, frame->envelope_version, static_cast<std::int32_t>(frame->kind),
                                 frame->payload_protocol, frame->payload.data(), frame->payload.size(),
                                 frame->request_id, static_cast<std::int32_t>(frame->payload_encoding), 0,
                                 frame->deadline_unix_ms, frame->traceparent.data(), frame->traceparent.size(),
                                 frame->tracestate.data(), frame->tracestate.size()});
        *out_consumed = wire::header_size + body->size();
        return Status::ok;
    });
}

int32_t rp_handoff_wire_decode_offer(const uint8_t *data, size_t length, rp_handoff_wire_offer *out_offer,
                                     size_t *out_consumed) {
    return guarded([&] {
        if (const Status given = check_decoding(is_given(data, length) && out_consumed != nullptr, out_offer);
            given != Status::ok) {
            return given;
        }
        const Result<ByteView> body = find_body(data, length);
        if (!body) {
            return body.error();
        }
        const auto offer = wire::open_offer(*body);
        if (!offer) {
            return offer.error().status;
        }
        write_struct(out_offer, {0, 0, offer->handle_value, offer->token.data(), offer->token.size(),
                                 offer->service_name.data(), offer->service_name.size(), offer->correlation_id});
        *out_consumed = wire::header_size + body->size();
        return Status::ok;
    });
}

int32_t rp_handoff_wire_decode_ack(const uint8_t *data, size_t length, int32_t kind, rp_handoff_wire_ack *out_ack,
                                   size_t *out_consumed) {
    return guarded([&] {
        const bool valid = is_given(data, length) && is_ack_kind(kind) && out_consumed != nullptr;
        if (const Status given = check_decoding(valid, out_ack); given != Status::ok) {
            return given;
        }
        const Result<ByteView> body = find_body(data, length);
        if (!body) {
            return body.error();
        }
        const auto ack = wire::open_ack(*body, static_cast<wire::Kind>(kind));
        if (!ack) {
            return ack.error().status;
        }
        write_struct(out_ack, {0, ack->accepted ? 1 : 0, ack->token.data(), ack->token.size(), ack->error_detail.data(),
                               ack->error_detail.size(), ack->correlation_id});
        *out_consumed = wire::header_size + body->size();
        return Status::ok;
    });
}

int32_t rp_handoff_wire_send(int32_t connection_fd, int32_t fd, const uint8_t *data, size_t length, size_t *out_sent) {
    return guarded([&] {
        if (connection_fd < 0 || fd < 0 || data == nullptr || length == 0 || out_sent == nullptr) {
            return Status::invalid_argument;
        }
        if (!os::supported) {
            return Status::unsupported;
        }
        const os::Sent sent = os::send(connection_fd, fd, {data, length});
        if (sent.os_error != 0) {
            errno = sent.os_error;
            return Status::system;
        }
        *out_sent = sent.bytes;
        return Status::ok;
    });
}

int32_t rp_handoff_wire_receive(int32_t connection_fd, uint8_t *data, size_t length, uint64_t timeout_ns,
                                int32_t *out_fd) {
    return guarded([&] {
        if (connection_fd < 0 || data == nullptr || length == 0 || out_fd == nullptr) {
            return Status::invalid_argument;
        }
        if (!os::supported) {
            return Status::unsupported;
        }
        SystemTime time;
        const Instant deadline =
            timeout_ns == RP_HANDOFF_FOREVER ? end_of_time : after(time.now(), duration(timeout_ns));
        Result<UniqueFd> fd = os::receive_exactly(connection_fd, data, length, deadline, time);
        if (!fd) {
            return fd.error();
        }
        *out_fd = fd->release();
        return Status::ok;
    });
}
