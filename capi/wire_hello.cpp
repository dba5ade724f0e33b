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

std::string_view view(const rp_handoff_wire_text &text) noexcept {
    return text_view(text.data, text.length);
}
ByteView bytes(const rp_handoff_wire_text &text) noexcept {
    return wire::as_bytes(view(text));
}
rp_handoff_wire_text to_c(std::string_view text) noexcept {
    return {text.data(), text.size()};
}
rp_handoff_wire_text to_c(ByteView data) noexcept {
    return {reinterpret_cast<const char *>(data.data()), data.size()};
}

Status check_text(const rp_handoff_wire_text &text) noexcept {
    return capi::check_text(text.data, text.length);
}
Status check_bytes(const rp_handoff_wire_text &data) noexcept {
    return capi::check_bytes(data.data, data.length);
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
    return first_failure({check_text(h.service_name), check_text(h.wanted_version), check_text(h.client_version),
                          check_bytes(h.auth_token), check_text(h.request_id), check_text(h.client_lib_name),
                          check_text(h.client_lib_version), check_bytes(h.peer_attestation_nonce),
                          check_bytes(h.capability_token)});
}

Status check(const rp_handoff_wire_reply &r) noexcept {
    const bool known = r.choice == RP_HANDOFF_REPLY_NEGOTIATED || r.choice == RP_HANDOFF_REPLY_REFUSED;
    return first_failure({check_argument(known), check_text(r.daemon_version), check_text(r.backend_pipe),
                          check_bytes(r.handle_passed_token), check_text(r.reason),
                          check_all(r.warnings, r.warning_count, check_text),
                          check_all(r.details, r.detail_count, check_detail)});
}

wire::HelloReply to_core(const rp_handoff_wire_reply &r) {
    wire::HelloReply reply;
    if (r.choice == RP_HANDOFF_REPLY_NEGOTIATED) {
        std::vector<std::string_view> warnings;
        std::transform(r.warnings, r.warnings + r.warning_count, std::back_inserter(warnings), view);
        reply.negotiated = wire::Negotiated{
            r.negotiated_protocol, view(r.daemon_version),    view(r.backend_pipe),         std::move(warnings),
            r.server_capabilities, r.keepalive_interval_secs, bytes(r.handle_passed_token), r.connection_id};
        return reply;
    }
    reply.refused = wire::Refused{
        view(r.reason),  r.daemon_min_protocol, r.daemon_max_protocol, static_cast<wire::RefusalCode>(r.code), {},
        r.retry_after_ms};
    for (std::size_t i = 0; i < r.detail_count; ++i) {
        reply.refused->details[view(r.details[i].key)] = view(r.details[i].value);
    }
    return reply;
}

void put_negotiated(rp_handoff_wire_reply &out, const wire::Negotiated &n) {
    out.choice = RP_HANDOFF_REPLY_NEGOTIATED;
    out.negotiated_protocol = n.negotiated_protocol;
    out.daemon_version = to_c(n.daemon_version);
    out.backend_pipe = to_c(n.backend_pipe);
    out.server_capabilities = n.server_capabilities;
    out.keepalive_interval_secs = n.keepalive_interval_secs;
    out.handle_passed_token = to_c(n.handle_passed_token);
    out.connection_id = n.connection_id;
    out.warning_count = n.warnings.size();
    for (std::size_t i = 0; i < std::min(out.warning_capacity, n.warnings.size()); ++i) {
        out.warnings[i] = to_c(n.warnings[i]);
    }
}

void put_refused(rp_handoff_wire_reply &out, const wire::Refused &r) {
    out.choice = RP_HANDOFF_REPLY_REFUSED;
    out.reason = to_c(r.reason);
    out.daemon_min_protocol = r.daemon_min_protocol;
    out.daemon_max_protocol = r.daemon_max_protocol;
    out.code = static_cast<std::int32_t>(r.code);
    out.retry_after_ms = r.retry_after_ms;
    out.detail_count = r.details.size();
    std::size_t i = 0;
    for (const auto &[key, value] : r.details) {
        if (i >= out.detail_capacity) {
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
                     wire::Hello{h.client_min_protocol, h.client_max_protocol, view(h.service_name),
                                 view(h.wanted_version), view(h.client_version), h.client_capabilities,
                                 bytes(h.auth_token), view(h.request_id), h.connection_id, h.peer_pid,
                                 view(h.client_lib_name), view(h.client_lib_version), bytes(h.peer_attestation_nonce),
                                 bytes(h.capability_token), h.client_keepalive_secs});
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
        if (!is_given(data, length) || out_frame_request_id == nullptr || out_consumed == nullptr ||
            check_result_struct(out_hello) != Status::ok) {
            return Status::invalid_argument;
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
        core.service_name = to_c(h->service_name);
        core.wanted_version = to_c(h->wanted_version);
        core.client_version = to_c(h->client_version);
        core.client_capabilities = h->client_capabilities;
        core.auth_token = to_c(h->auth_token);
        core.request_id = to_c(h->request_id);
        core.connection_id = h->connection_id;
        core.client_lib_name = to_c(h->client_lib_name);
        core.client_lib_version = to_c(h->client_lib_version);
        core.peer_attestation_nonce = to_c(h->peer_attestation_nonce);
        core.capability_token = to_c(h->capability_token);
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
            !is_given(given.warnings, given.warning_capacity) || !is_given(given.details, given.detail_capacity)) {
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
        core.warning_capacity = given.warning_capacity;
        core.details = given.details;
        core.detail_capacity = given.detail_capacity;
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
