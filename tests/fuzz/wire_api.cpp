// Arbitrary bytes through the decoding functions of the C API. What is given points into the bytes, what failed touched
// nothing, the consumed bytes are a frame and one byte less is none, and what decodes can be encoded to decode to the
// same.
#include "rp_handoff.h"

#include <cstring>
#include <string>
#include <vector>

#include "check.hpp"

namespace {

using Bytes = std::vector<std::uint8_t>;

bool is_decoding_error(std::int32_t status) {
    return status == RP_HANDOFF_ERR_FRAME_INCOMPLETE || status == RP_HANDOFF_ERR_FRAME_VERSION ||
           status == RP_HANDOFF_ERR_FRAME_TOO_LARGE || status == RP_HANDOFF_ERR_FRAME_MALFORMED ||
           status == RP_HANDOFF_ERR_FRAME_UNEXPECTED;
}

template <class T>
std::string content(const T *data, std::size_t length) {
    return length == 0 ? std::string() : std::string(reinterpret_cast<const char *>(data), length);
}

// The three messages with what differs between them.
struct FrameCalls {
    using Message = rp_handoff_wire_frame;

    std::int32_t decode(const Bytes &in, Message *out, std::size_t *consumed) const {
        return rp_handoff_wire_decode_frame(in.data(), in.size(), out, consumed);
    }
    std::int32_t encode(const Message &in, std::uint8_t *out, std::size_t capacity, std::size_t *length) const {
        return rp_handoff_wire_encode_frame(&in, out, capacity, length);
    }
    static std::vector<std::string> contents(const Message &m) {
        return {content(m.payload, m.payload_length), content(m.traceparent, m.traceparent_length),
                content(m.tracestate, m.tracestate_length)};
    }
    static std::vector<std::int64_t> numbers(const Message &m) {
        return {m.envelope_version, m.kind,
                m.payload_protocol, static_cast<std::int64_t>(m.request_id),
                m.payload_encoding, static_cast<std::int64_t>(m.deadline_unix_ms)};
    }
    static std::vector<const void *> pointers(const Message &m) { return {m.payload, m.traceparent, m.tracestate}; }
};

struct OfferCalls {
    using Message = rp_handoff_wire_offer;

    std::int32_t decode(const Bytes &in, Message *out, std::size_t *consumed) const {
        return rp_handoff_wire_decode_offer(in.data(), in.size(), out, consumed);
    }
    std::int32_t encode(const Message &in, std::uint8_t *out, std::size_t capacity, std::size_t *length) const {
        return rp_handoff_wire_encode_offer(&in, out, capacity, length);
    }
    static std::vector<std::string> contents(const Message &m) {
        return {content(m.token, m.token_length), content(m.service_name, m.service_name_length)};
    }
    static std::vector<std::int64_t> numbers(const Message &m) {
        return {static_cast<std::int64_t>(m.handle_value), static_cast<std::int64_t>(m.correlation_id)};
    }
    static std::vector<const void *> pointers(const Message &m) { return {m.token, m.service_name}; }
};

struct AckCalls {
    using Message = rp_handoff_wire_ack;
    std::int32_t kind;

    std::int32_t decode(const Bytes &in, Message *out, std::size_t *consumed) const {
        return rp_handoff_wire_decode_ack(in.data(), in.size(), kind, out, consumed);
    }
    std::int32_t encode(const Message &in, std::uint8_t *out, std::size_t capacity, std::size_t *length) const {
        return rp_handoff_wire_encode_ack(&in, kind, out, capacity, length);
    }
    static std::vector<std::string> contents(const Message &m) {
        return {content(m.token, m.token_length), content(m.error_detail, m.error_detail_length)};
    }
    static std::vector<std::int64_t> numbers(const Message &m) {
        return {m.accepted, static_cast<std::int64_t>(m.correlation_id)};
    }
    static std::vector<const void *> pointers(const Message &m) { return {m.token, m.error_detail}; }
};

struct HelloCalls {
    using Message = rp_handoff_wire_hello;
    static constexpr std::uint64_t frame_request_id = 3;

    std::int32_t decode(const Bytes &in, Message *out, std::size_t *consumed) const {
        std::uint64_t ignored = 0;
        return rp_handoff_wire_decode_hello(in.data(), in.size(), out, &ignored, consumed);
    }
    std::int32_t encode(const Message &in, std::uint8_t *out, std::size_t capacity, std::size_t *length) const {
        return rp_handoff_wire_encode_hello(&in, frame_request_id, out, capacity, length);
    }
    static std::vector<rp_handoff_wire_text> texts(const Message &m) {
        const auto bytes = [](const std::uint8_t *data, std::size_t length) {
            return rp_handoff_wire_text{reinterpret_cast<const char *>(data), length};
        };
        return {{m.service_name, m.service_name_length},
                {m.wanted_version, m.wanted_version_length},
                {m.client_version, m.client_version_length},
                bytes(m.auth_token, m.auth_token_length),
                {m.request_id, m.request_id_length},
                {m.client_lib_name, m.client_lib_name_length},
                {m.client_lib_version, m.client_lib_version_length},
                bytes(m.peer_attestation_nonce, m.peer_attestation_nonce_length),
                bytes(m.capability_token, m.capability_token_length)};
    }
    static std::vector<std::string> contents(const Message &m) {
        std::vector<std::string> found;
        for (const rp_handoff_wire_text &text : texts(m)) {
            found.push_back(content(text.data, text.length));
        }
        return found;
    }
    static std::vector<std::int64_t> numbers(const Message &m) {
        return {m.client_min_protocol,
                m.client_max_protocol,
                m.peer_pid,
                static_cast<std::int64_t>(m.client_capabilities),
                static_cast<std::int64_t>(m.connection_id),
                static_cast<std::int64_t>(m.client_keepalive_secs)};
    }
    static std::vector<const void *> pointers(const Message &m) {
        std::vector<const void *> found;
        for (const rp_handoff_wire_text &text : texts(m)) {
            found.push_back(text.data);
        }
        return found;
    }
};

template <class Calls>
typename Calls::Message blank() {
    typename Calls::Message message;
    std::memset(&message, 0x5A, sizeof message);
    message.struct_size = sizeof message;
    return message;
}

template <class Calls>
void check_pointers(const typename Calls::Message &message, const Bytes &in) {
    const auto pointers = Calls::pointers(message);
    const auto contents = Calls::contents(message);
    for (std::size_t i = 0; i < pointers.size(); ++i) {
        const auto *start = static_cast<const std::uint8_t *>(pointers[i]);
        CHECK(contents[i].empty() || (start >= in.data() && start + contents[i].size() <= in.data() + in.size()));
    }
}

template <class Calls>
void check_encoding(const Calls &calls, const typename Calls::Message &message) {
    std::size_t length = 0;
    CHECK(calls.encode(message, nullptr, 0, &length) == RP_HANDOFF_OK);
    Bytes out(length, 0x77);
    std::size_t written = 0;
    CHECK(calls.encode(message, out.data(), length - 1, &written) == RP_HANDOFF_ERR_BUFFER_TOO_SMALL);
    CHECK(written == 0 && out == Bytes(length, 0x77));
    CHECK(calls.encode(message, out.data(), length, &written) == RP_HANDOFF_OK);
    CHECK(written == length);
    auto again = blank<Calls>();
    std::size_t consumed = 0;
    CHECK(calls.decode(out, &again, &consumed) == RP_HANDOFF_OK);
    CHECK(consumed == length);
    CHECK(Calls::contents(again) == Calls::contents(message));
    CHECK(Calls::numbers(again) == Calls::numbers(message));
}

bool is_inside(const void *data, std::size_t length, const Bytes &in) {
    const auto *start = static_cast<const std::uint8_t *>(data);
    return length == 0 || (start >= in.data() && start + length <= in.data() + in.size());
}
bool is_inside(const rp_handoff_wire_text &text, const Bytes &in) {
    return is_inside(text.data, text.length, in);
}

// A reply has lists, in arrays of the caller's: no more is written than there is room for, and all of it is inside.
std::int32_t check_reply(const Bytes &in) {
    rp_handoff_wire_text warnings[3] = {};
    rp_handoff_wire_detail details[3] = {};
    rp_handoff_wire_reply reply{};
    reply.struct_size = sizeof reply;
    reply.warnings = warnings;
    reply.warnings_capacity = 2;
    reply.details = details;
    reply.details_capacity = 2;
    std::uint64_t request_id = 0;
    std::size_t consumed = 0;
    const std::int32_t status = rp_handoff_wire_decode_reply(in.data(), in.size(), &reply, &request_id, &consumed);
    CHECK(warnings[2].data == nullptr && details[2].key.data == nullptr);
    if (status != RP_HANDOFF_OK) {
        CHECK(is_decoding_error(status) && consumed == 0 && request_id == 0 && reply.choice == 0);
        return status;
    }
    CHECK(consumed >= RP_HANDOFF_FRAME_HEADER_SIZE && consumed <= in.size());
    CHECK(reply.choice >= 0 && reply.choice <= RP_HANDOFF_REPLY_REFUSED);
    CHECK(is_inside(reply.daemon_version, reply.daemon_version_length, in));
    CHECK(is_inside(reply.backend_pipe, reply.backend_pipe_length, in));
    CHECK(is_inside(reply.reason, reply.reason_length, in));
    CHECK(is_inside(reply.handle_passed_token, reply.handle_passed_token_length, in));
    for (std::size_t i = 0; i < 2; ++i) {
        CHECK(is_inside(warnings[i], in) && is_inside(details[i].key, in) && is_inside(details[i].value, in));
    }
    return status;
}

// The status, after all that can be said of the call was checked.
template <class Calls>
std::int32_t check(const Calls &calls, const Bytes &in) {
    auto message = blank<Calls>();
    const auto untouched = message;
    std::size_t consumed = 4711;
    const std::int32_t status = calls.decode(in, &message, &consumed);
    if (status != RP_HANDOFF_OK) {
        CHECK(is_decoding_error(status));
        CHECK(consumed == 4711 && std::memcmp(&message, &untouched, sizeof message) == 0);
        return status;
    }
    CHECK(consumed >= RP_HANDOFF_FRAME_HEADER_SIZE && consumed <= in.size());
    check_pointers<Calls>(message, in);
    check_encoding(calls, message);

    // The same without what follows; and no frame without its last byte.
    const auto end = in.begin() + static_cast<std::ptrdiff_t>(consumed);
    auto other = blank<Calls>();
    const Bytes exact(in.begin(), end);
    CHECK(calls.decode(exact, &other, &consumed) == RP_HANDOFF_OK && consumed == exact.size());
    CHECK(Calls::contents(other) == Calls::contents(message));
    const Bytes cut(in.begin(), end - 1);
    CHECK(calls.decode(cut, &other, &consumed) == RP_HANDOFF_ERR_FRAME_INCOMPLETE);
    return status;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    const Bytes in(data, data + size);
    const std::int32_t frame = check(FrameCalls{}, in);
    const std::int32_t others[] = {check(OfferCalls{}, in), check(AckCalls{RP_HANDOFF_KIND_RESPONSE}, in),
                                   check(AckCalls{RP_HANDOFF_KIND_EVENT}, in), check(HelloCalls{}, in),
                                   check_reply(in)};
    int successes = 0;
    for (const std::int32_t other : others) {
        CHECK(frame == RP_HANDOFF_OK || other == frame);
        successes += other == RP_HANDOFF_OK;
    }
    CHECK(successes <= 1); // their kinds and protocols exclude each other
    return 0;
}
