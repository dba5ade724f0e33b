// The published vectors of the v1 wire, both ways: what we encode is these bytes, and these bytes decode to the values.
#include "vectors.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <functional>
#include <set>

#include "support/hex.hpp"
#include "wire/exchange.hpp"
#include "wire/hello.hpp"

using namespace rp::handoff;
using namespace rp::handoff::wire;
using namespace rp::test;

namespace {

std::uint64_t number(const Vector &vector, const char *field, int base = 10) {
    return std::strtoull(vector.value.at(field).c_str(), nullptr, base);
}

template <class Message>
std::string encoded(const Message &message) {
    std::string out;
    append(out, message);
    return out;
}

// Header and envelope around a payload, as the three messages of a handoff have it.
std::string in_frame(const Vector &vector) {
    const Bytes payload = unhex(vector.payload);
    Frame frame;
    frame.envelope_version = envelope_v1;
    frame.kind = vector.message == "HandoffOffer" ? Kind::request
                 : vector.kind == "EVENT"         ? Kind::event
                                                  : Kind::response;
    frame.payload_protocol = protocol_handoff;
    frame.payload = {payload.data(), payload.size()};
    frame.request_id = number(vector, "correlation_id");
    const std::string body = encoded(frame);
    return hex(encode_header(static_cast<std::uint32_t>(body.size()))) + hex(body);
}

ByteView body_of(const Bytes &wire) {
    REQUIRE(decode_header({wire.data(), wire.size()}).value() == wire.size() - header_size);
    return {wire.data() + header_size, wire.size() - header_size};
}

void check(const HandoffOffer &offer, const Vector &vector) {
    CHECK(offer.handle_value == number(vector, "handle_value"));
    CHECK(hex(offer.token) == vector.value.at("token"));
    CHECK(offer.service_name == vector.value.at("service_name"));
    CHECK(offer.correlation_id == number(vector, "correlation_id"));
}

void check(const HandoffAck &ack, const Vector &vector) {
    CHECK(hex(ack.token) == vector.value.at("token"));
    CHECK(ack.accepted == (vector.value.at("accepted") == "1"));
    CHECK(ack.error_detail == vector.value.at("error_detail"));
    CHECK(ack.correlation_id == number(vector, "correlation_id"));
}

void check(const Frame &frame, const Vector &vector) {
    CHECK(frame.envelope_version == number(vector, "envelope_version"));
    CHECK(static_cast<std::uint64_t>(frame.kind) == number(vector, "kind"));
    CHECK(frame.payload_protocol == number(vector, "payload_protocol"));
    CHECK(hex(frame.payload) == vector.value.at("payload"));
    CHECK(frame.request_id == number(vector, "request_id"));
    CHECK(static_cast<std::uint64_t>(frame.payload_encoding) == number(vector, "payload_encoding"));
    CHECK(frame.deadline_unix_ms == number(vector, "deadline_unix_ms"));
    CHECK(frame.traceparent == vector.value.at("traceparent"));
    CHECK(frame.tracestate == vector.value.at("tracestate"));
}

void check(const Hello &hello, const Vector &vector) {
    CHECK(hello.client_min_protocol == number(vector, "client_min_protocol"));
    CHECK(hello.client_max_protocol == number(vector, "client_max_protocol"));
    CHECK(hello.service_name == vector.value.at("service_name"));
    CHECK(hello.wanted_version == vector.value.at("wanted_version"));
    CHECK(hello.client_version == vector.value.at("client_version"));
    CHECK(hello.client_capabilities == number(vector, "client_capabilities", 16));
    CHECK(hex(hello.auth_token) == vector.value.at("auth_token"));
    CHECK(hello.request_id == vector.value.at("request_id"));
    CHECK(hello.connection_id == number(vector, "connection_id"));
    CHECK(hello.peer_pid == number(vector, "peer_pid"));
    CHECK(hello.client_lib_name == vector.value.at("client_lib_name"));
    CHECK(hello.client_lib_version == vector.value.at("client_lib_version"));
    CHECK(hex(hello.peer_attestation_nonce) == vector.value.at("peer_attestation_nonce"));
    CHECK(hex(hello.capability_token) == vector.value.at("capability_token"));
    CHECK(hello.client_keepalive_secs == number(vector, "client_keepalive_secs"));
}

void check(const Negotiated &negotiated, const Vector &vector) {
    std::string warnings;
    for (const std::string_view warning : negotiated.warnings) {
        warnings += (warnings.empty() ? "" : ",") + std::string(warning);
    }
    CHECK(negotiated.negotiated_protocol == number(vector, "negotiated_protocol"));
    CHECK(negotiated.daemon_version == vector.value.at("daemon_version"));
    CHECK(negotiated.backend_pipe == vector.value.at("backend_pipe"));
    CHECK(warnings == vector.value.at("warnings"));
    CHECK(negotiated.server_capabilities == number(vector, "server_capabilities", 16));
    CHECK(negotiated.keepalive_interval_secs == number(vector, "keepalive_interval_secs"));
    CHECK(hex(negotiated.handle_passed_token) == vector.value.at("handle_passed_token"));
    CHECK(negotiated.connection_id == number(vector, "connection_id"));
}

void check(const Refused &refused, const Vector &vector) {
    std::string details;
    for (const auto &[key, value] : refused.details) {
        details += (details.empty() ? "" : ",") + std::string(key) + "=" + std::string(value);
    }
    CHECK(refused.reason == vector.value.at("reason"));
    CHECK(refused.daemon_min_protocol == number(vector, "daemon_min_protocol"));
    CHECK(refused.daemon_max_protocol == number(vector, "daemon_max_protocol"));
    CHECK(static_cast<std::uint64_t>(refused.code) == number(vector, "code"));
    CHECK(details == vector.value.at("details"));
    CHECK(refused.retry_after_ms == number(vector, "retry_after_ms"));
}

template <class Decode>
void check_payload(const Vector &vector, Decode decode) {
    const Bytes payload = unhex(vector.payload);
    const auto message = decode(ByteView(payload.data(), payload.size()));
    REQUIRE(message);
    check(*message, vector);
    CHECK(hex(encoded(*message)) == vector.payload);
}

void check_wire(const Vector &vector) {
    if (vector.wire.empty()) {
        return;
    }
    CHECK(in_frame(vector) == vector.wire);
    const Bytes wire = unhex(vector.wire);
    if (vector.message == "HandoffOffer") {
        const auto offer = open_offer(body_of(wire));
        REQUIRE(offer);
        check(*offer, vector);
    } else {
        const Kind kind = vector.kind == "EVENT" ? Kind::event : Kind::response;
        const auto ack = open_ack(body_of(wire), kind);
        REQUIRE(ack);
        check(*ack, vector);
        CHECK(hex(encode_ack_frame(*ack, kind).view()) == vector.wire);
    }
}

} // namespace

TEST_CASE("the published vectors are what is encoded and decoded") {
    const std::map<std::string, std::function<void(const Vector &)>> checks = {
        {"Frame", [](const Vector &v) { check_payload(v, decode_frame); }},
        {"HandoffOffer", [](const Vector &v) { check_payload(v, decode_offer), check_wire(v); }},
        {"HandoffAck", [](const Vector &v) { check_payload(v, decode_ack), check_wire(v); }},
        {"Hello", [](const Vector &v) { check_payload(v, decode_hello); }},
        {"Negotiated", [](const Vector &v) { check_payload(v, decode_negotiated); }},
        {"Refused", [](const Vector &v) { check_payload(v, decode_refused); }},
    };
    std::set<std::string> checked;
    for (const Vector &vector : vectors) {
        CAPTURE(vector.name);
        REQUIRE(checks.count(vector.message) == 1);
        checks.at(vector.message)(vector);
        checked.insert(vector.message);
    }
    CHECK(vectors.size() == 7);
    CHECK(checked.size() == checks.size());
}

TEST_CASE("every vector of the handoff exchange comes with its frame") {
    std::set<std::string> framed;
    for (const Vector &vector : vectors) {
        if (!vector.wire.empty()) {
            framed.insert(vector.name);
        }
    }
    CHECK(framed == std::set<std::string>{"offer", "ack accepted", "ready"});
}
