// The first contact's messages, for front doors of the caller's own.
#include "wire/hello.hpp"

#include <vector>

#include "base/text.hpp"
#include "base/wiped_string.hpp"
#include "boundary.hpp"
#include "wire_frames.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

static_assert(RP_HANDOFF_PROTOCOL_CONTROL == wire::protocol_control);
static_assert(RP_HANDOFF_CAPABILITY_HANDLE_PASSING == wire::capability_handle_passing);

namespace {

// A text or bytes of a struct: the member and its length.
#define RP_HANDOFF_TEXT(s, member) text_view((s).member, (s).member##_length)
#define RP_HANDOFF_BYTES(s, member) byte_view((s).member, (s).member##_length)
#define RP_HANDOFF_CHECK_TEXT(s, member) capi::check_text((s).member, (s).member##_length)
#define RP_HANDOFF_CHECK_BYTES(s, member) capi::check_bytes((s).member, (s).member##_length)

template <class T>
void put(T view, const typename T::value_type *&data, std::size_t &length) noexcept {
    data = view.data();
    length = view.size();
}
#define RP_HANDOFF_PUT(out, member, view) put(view, (out).member, (out).member##_length)

std::string_view view(const rp_handoff_wire_text &text) noexcept {
    return text_view(text.data, text.length);
}
rp_handoff_wire_text to_c(std::string_view text) noexcept {
    return {text.data(), text.size()};
}

Status check_text(const rp_handoff_wire_text &text) noexcept {
    return capi::check_text(text.data, text.length);
}
Status check_detail(const rp_handoff_wire_detail &detail) noexcept {
    return first_failure({check_text(detail.key), check_text(detail.value)});
}

template <class T>
Status check_all(const T *items, std::size_t count, Status (*check)(const T &)) noexcept {
    Status status = check_argument(is_given(items, count));
    for (std::size_t i = 0; i < count && status == Status::ok; ++i) {
        status = check(items[i]);
    }
    return status;
}

Status check(const rp_handoff_wire_hello &h) noexcept {
    return first_failure({RP_HANDOFF_CHECK_TEXT(h, service_name), RP_HANDOFF_CHECK_TEXT(h, wanted_version),
                          RP_HANDOFF_CHECK_TEXT(h, client_version), RP_HANDOFF_CHECK_BYTES(h, auth_token),
                          RP_HANDOFF_CHECK_TEXT(h, request_id), RP_HANDOFF_CHECK_TEXT(h, client_lib_name),
                          RP_HANDOFF_CHECK_TEXT(h, client_lib_version),
                          RP_HANDOFF_CHECK_BYTES(h, peer_attestation_nonce),
                          RP_HANDOFF_CHECK_BYTES(h, capability_token)});
}

Status check(const rp_handoff_wire_reply &r) noexcept {
    const bool known = r.choice == RP_HANDOFF_REPLY_NEGOTIATED || r.choice == RP_HANDOFF_REPLY_REFUSED;
    return first_failure({check_argument(known), RP_HANDOFF_CHECK_TEXT(r, daemon_version),
                          RP_HANDOFF_CHECK_TEXT(r, backend_pipe), RP_HANDOFF_CHECK_BYTES(r, handle_passed_token),
                          RP_HANDOFF_CHECK_TEXT(r, reason), check_all(r.warnings, r.warnings_length, check_text),
                          check_all(r.details, r.details_length, check_detail)});
}

wire::HelloReply to_core(const rp_handoff_wire_reply &r) {
    wire::HelloReply reply;
    if (r.choice == RP_HANDOFF_REPLY_NEGOTIATED) {
        std::vector<std::string_view> warnings;
        std::transform(r.warnings, r.warnings + r.warnings_length, std::back_inserter(warnings), view);
        reply.negotiated = wire::Negotiated{r.negotiated_protocol,
                                            RP_HANDOFF_TEXT(r, daemon_version),
                                            RP_HANDOFF_TEXT(r, backend_pipe),
                                            std::move(warnings),
                                            r.server_capabilities,
                                            r.keepalive_interval_secs,
                                            RP_HANDOFF_BYTES(r, handle_passed_token),
                                            r.connection_id};
        return reply;
    }
    reply.refused = wire::Refused{RP_HANDOFF_TEXT(r, reason),
                                  r.daemon_min_protocol,
                                  r.daemon_max_protocol,
                                  static_cast<wire::RefusalCode>(r.code),
                                  {},
                                  r.retry_after_ms};
    for (std::size_t i = 0; i < r.details_length; ++i) {
        reply.refused->details[view(r.details[i].key)] = view(r.details[i].value);
    }
    return reply;
}

void put_negotiated(rp_handoff_wire_reply &out, const wire::Negotiated &n) {
    out.choice = RP_HANDOFF_REPLY_NEGOTIATED;
    out.negotiated_protocol = n.negotiated_protocol;
    RP_HANDOFF_PUT(out, daemon_version, n.daemon_version);
    RP_HANDOFF_PUT(out, backend_pipe, n.backend_pipe);
    out.server_capabilities = n.server_capabilities;
    out.keepalive_interval_secs = n.keepalive_interval_secs;
    RP_HANDOFF_PUT(out, handle_passed_token, n.handle_passed_token);
    out.connection_id = n.connection_id;
    out.warnings_length = n.warnings.size();
    for (std::size_t i = 0; i < std::min(out.warnings_capacity, n.warnings.size()); ++i) {
        out.warnings[i] = to_c(n.warnings[i]);
    }
}

void put_refused(rp_handoff_wire_reply &out, const wire::Refused &r) {
    out.choice = RP_HANDOFF_REPLY_REFUSED;
    RP_HANDOFF_PUT(out, reason, r.reason);
    out.daemon_min_protocol = r.daemon_min_protocol;
    out.daemon_max_protocol = r.daemon_max_protocol;
    out.code = static_cast<std::int32_t>(r.code);
    out.retry_after_ms = r.retry_after_ms;
    out.details_length = r.details.size();
    std::size_t i = 0;
    for (const auto &[key, value] : r.details) {
        if (i >= out.details_capacity) {
            break;
        }
        out.details[i++] = {to_c(key), to_c(value)};
    }
}

} // namespace

int32_t rp_handoff_wire_encode_hello(const rp_handoff_wire_hello *hello, uint64_t frame_request_id, uint8_t *out,
                                     size_t capacity, size_t *out_length) {
    return guarded([&] {
        rp_handoff_wire_hello h{};
        if (const Status status = read_struct(hello, h); status != Status::ok) {
            return status;
        }
        const Status valid = first_failure({check_argument(out_length != nullptr), check(h)});
        if (valid != Status::ok) {
            return valid;
        }
        std::string payload;
        wire::append(payload,
                     wire::Hello{h.client_min_protocol, h.client_max_protocol, RP_HANDOFF_TEXT(h, service_name),
                                 RP_HANDOFF_TEXT(h, wanted_version), RP_HANDOFF_TEXT(h, client_version),
                                 h.client_capabilities, RP_HANDOFF_BYTES(h, auth_token), RP_HANDOFF_TEXT(h, request_id),
                                 h.connection_id, h.peer_pid, RP_HANDOFF_TEXT(h, client_lib_name),
                                 RP_HANDOFF_TEXT(h, client_lib_version), RP_HANDOFF_BYTES(h, peer_attestation_nonce),
                                 RP_HANDOFF_BYTES(h, capability_token), h.client_keepalive_secs});
        return put_payload(payload, wire::Kind::request, wire::protocol_control, frame_request_id, out, capacity,
                           out_length);
    });
}

int32_t rp_handoff_wire_encode_reply(const rp_handoff_wire_reply *reply, uint64_t frame_request_id, uint8_t *out,
                                     size_t capacity, size_t *out_length) {
    return guarded([&] {
        rp_handoff_wire_reply r{};
        if (const Status status = read_struct(reply, r); status != Status::ok) {
            return status;
        }
        const Status valid = first_failure({check_argument(out_length != nullptr), check(r)});
        if (valid != Status::ok) {
            return valid;
        }
        const wire::HelloReply core = to_core(r);
        WipedString payload(wire::room_for(core));
        wire::append(payload.text(), core);
        return put_payload(payload.text(), wire::Kind::response, wire::protocol_control, frame_request_id, out,
                           capacity, out_length);
    });
}

int32_t rp_handoff_wire_decode_hello(const uint8_t *data, size_t length, rp_handoff_wire_hello *out_hello,
                                     uint64_t *out_frame_request_id, size_t *out_consumed) {
    return guarded([&] {
        const bool valid = is_given(data, length) && out_frame_request_id != nullptr && out_consumed != nullptr;
        if (const Status given = check_decoding(valid, out_hello); given != Status::ok) {
            return given;
        }
        const Result<FoundFrame> found = find_frame(data, length, wire::Kind::request, wire::protocol_control);
        const Result<wire::Hello> h =
            found.and_then([](const FoundFrame &f) { return wire::decode_hello(f.frame.payload); });
        if (!h) {
            return h.error();
        }
        rp_handoff_wire_hello core{};
        core.client_min_protocol = h->client_min_protocol;
        core.client_max_protocol = h->client_max_protocol;
        core.peer_pid = h->peer_pid;
        RP_HANDOFF_PUT(core, service_name, h->service_name);
        RP_HANDOFF_PUT(core, wanted_version, h->wanted_version);
        RP_HANDOFF_PUT(core, client_version, h->client_version);
        core.client_capabilities = h->client_capabilities;
        RP_HANDOFF_PUT(core, auth_token, h->auth_token);
        RP_HANDOFF_PUT(core, request_id, h->request_id);
        core.connection_id = h->connection_id;
        RP_HANDOFF_PUT(core, client_lib_name, h->client_lib_name);
        RP_HANDOFF_PUT(core, client_lib_version, h->client_lib_version);
        RP_HANDOFF_PUT(core, peer_attestation_nonce, h->peer_attestation_nonce);
        RP_HANDOFF_PUT(core, capability_token, h->capability_token);
        core.client_keepalive_secs = h->client_keepalive_secs;
        write_struct(out_hello, core);
        *out_frame_request_id = found->frame.request_id;
        *out_consumed = found->size;
        return Status::ok;
    });
}

int32_t rp_handoff_wire_decode_reply(const uint8_t *data, size_t length, rp_handoff_wire_reply *inout_reply,
                                     uint64_t *out_frame_request_id, size_t *out_consumed) {
    return guarded([&] {
        rp_handoff_wire_reply given{};
        if (const Status status = read_struct(inout_reply, given); status != Status::ok) {
            return status;
        }
        if (!is_given(data, length) || out_frame_request_id == nullptr || out_consumed == nullptr ||
            !is_given(given.warnings, given.warnings_capacity) || !is_given(given.details, given.details_capacity)) {
            return Status::invalid_argument;
        }
        const Result<FoundFrame> found = find_frame(data, length, wire::Kind::response, wire::protocol_control);
        const Result<wire::HelloReply> reply =
            found.and_then([](const FoundFrame &f) { return wire::decode_hello_reply(f.frame.payload); });
        if (!reply) {
            return reply.error();
        }
        rp_handoff_wire_reply core{};
        core.warnings = given.warnings;
        core.warnings_capacity = given.warnings_capacity;
        core.details = given.details;
        core.details_capacity = given.details_capacity;
        if (reply->negotiated) {
            put_negotiated(core, *reply->negotiated);
        } else if (reply->refused) {
            put_refused(core, *reply->refused);
        }
        write_struct(inout_reply, core);
        *out_frame_request_id = found->frame.request_id;
        *out_consumed = found->size;
        return Status::ok;
    });
}
