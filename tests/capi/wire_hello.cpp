// The first contact's messages by hand: Hello and the reply to it.
#include "support/exchange.hpp"

#include <string>

#include "support/pairs.hpp"
#include "support/sizes.hpp"

using namespace rp::test;

namespace {

constexpr std::int32_t invalid = RP_HANDOFF_ERR_INVALID_ARGUMENT;

rp_handoff_wire_text text(std::string_view view) noexcept {
    return {view.data(), view.size()};
}

std::string_view view(const rp_handoff_wire_text &text) noexcept {
    return {text.data, text.length};
}

rp_handoff_wire_hello sample_hello() {
    auto hello = sized<rp_handoff_wire_hello>();
    hello.client_min_protocol = 1;
    hello.client_max_protocol = 3;
    hello.peer_pid = 4242;
    SET_PAIR(hello, service_name, "build-cache");
    SET_PAIR(hello, wanted_version, "1.2.3");
    SET_PAIR(hello, client_version, "3.0.15");
    hello.client_capabilities = 0x8000000000000001U;
    SET_PAIR(hello, auth_token, "\x01\xFF"); // bytes need not be UTF-8
    SET_PAIR(hello, request_id, "req-0001");
    hello.connection_id = 12;
    SET_PAIR(hello, client_lib_name, "running-process");
    SET_PAIR(hello, client_lib_version, "3.0.15");
    SET_PAIR(hello, peer_attestation_nonce, "\xAA");
    SET_PAIR(hello, capability_token, "\xCC");
    hello.client_keepalive_secs = 30;
    return hello;
}

rp_handoff_wire_text warnings[] = {text("w1"), text(""), text("caf\xC3\xA9")};
rp_handoff_wire_detail details[] = {{text("b"), text("2")}, {text("a"), text("1")}};

rp_handoff_wire_reply sample_negotiated() {
    auto reply = sized<rp_handoff_wire_reply>();
    reply.choice = RP_HANDOFF_REPLY_NEGOTIATED;
    SET_PAIR(reply, daemon_version, "3.0.15");
    SET_PAIR(reply, backend_pipe, "/run/backend");
    reply.server_capabilities = RP_HANDOFF_CAPABILITY_HANDLE_PASSING;
    reply.keepalive_interval_secs = 60;
    SET_PAIR(reply, handle_passed_token, "\xFF\xFE");
    reply.connection_id = 99;
    reply.negotiated_protocol = 1;
    reply.warnings = warnings;
    reply.warnings_length = 3;
    return reply;
}

rp_handoff_wire_reply sample_refused() {
    auto reply = sized<rp_handoff_wire_reply>();
    reply.choice = RP_HANDOFF_REPLY_REFUSED;
    reply.code = RP_HANDOFF_REFUSED_VERSION_BLOCKED;
    SET_PAIR(reply, reason, "version below floor");
    reply.daemon_min_protocol = 2;
    reply.daemon_max_protocol = 3;
    reply.retry_after_ms = 1500;
    reply.details = details;
    reply.details_length = 2;
    return reply;
}

Bytes encoded_hello(const rp_handoff_wire_hello &hello) {
    Bytes out(1024);
    std::size_t length = 0;
    REQUIRE(rp_handoff_wire_encode_hello(&hello, 7, out.data(), out.size(), &length) == RP_HANDOFF_OK);
    out.resize(length);
    return out;
}

Bytes encoded_reply(const rp_handoff_wire_reply &reply) {
    Bytes out(1024);
    std::size_t length = 0;
    REQUIRE(rp_handoff_wire_encode_reply(&reply, 7, out.data(), out.size(), &length) == RP_HANDOFF_OK);
    out.resize(length);
    return out;
}

// One that brings its arrays.
struct Arrays {
    explicit Arrays(std::size_t capacity) {
        std::memset(&out_warnings, 0, sizeof out_warnings);
        std::memset(&out_details, 0, sizeof out_details);
        reply.warnings = out_warnings;
        reply.details = out_details;
        reply.warnings_capacity = reply.details_capacity = capacity;
    }
    std::int32_t decode(Bytes bytes) {
        decoded = std::move(bytes); // which the reply points into
        return rp_handoff_wire_decode_reply(decoded.data(), decoded.size(), &reply, &request_id, &consumed);
    }

    Bytes decoded;
    rp_handoff_wire_text out_warnings[4];
    rp_handoff_wire_detail out_details[4];
    rp_handoff_wire_reply reply = sized<rp_handoff_wire_reply>();
    std::uint64_t request_id = 0;
    std::size_t consumed = 0;
};

} // namespace

TEST_CASE("a Hello keeps every member") {
    const Bytes bytes = encoded_hello(sample_hello());
    auto hello = sized<rp_handoff_wire_hello>();
    std::uint64_t request_id = 0;
    std::size_t consumed = 0;
    REQUIRE(rp_handoff_wire_decode_hello(bytes.data(), bytes.size(), &hello, &request_id, &consumed) == RP_HANDOFF_OK);
    CHECK(consumed == bytes.size());
    CHECK(request_id == 7);
    CHECK(hello.client_min_protocol == 1);
    CHECK(hello.client_max_protocol == 3);
    CHECK(hello.peer_pid == 4242);
    CHECK(VIEW_PAIR(hello, service_name) == "build-cache");
    CHECK(VIEW_PAIR(hello, wanted_version) == "1.2.3");
    CHECK(VIEW_PAIR(hello, client_version) == "3.0.15");
    CHECK(hello.client_capabilities == 0x8000000000000001U);
    CHECK(VIEW_PAIR(hello, auth_token) == "\x01\xFF");
    CHECK(VIEW_PAIR(hello, request_id) == "req-0001");
    CHECK(hello.connection_id == 12);
    CHECK(VIEW_PAIR(hello, client_lib_name) == "running-process");
    CHECK(VIEW_PAIR(hello, client_lib_version) == "3.0.15");
    CHECK(VIEW_PAIR(hello, peer_attestation_nonce) == "\xAA");
    CHECK(VIEW_PAIR(hello, capability_token) == "\xCC");
    CHECK(hello.client_keepalive_secs == 30);
}

TEST_CASE("a positive reply keeps every member, and its warnings in order") {
    Arrays out(4);
    const Bytes bytes = encoded_reply(sample_negotiated());
    REQUIRE(out.decode(bytes) == RP_HANDOFF_OK);
    CHECK(out.consumed == bytes.size());
    CHECK(out.request_id == 7);
    CHECK(out.reply.choice == RP_HANDOFF_REPLY_NEGOTIATED);
    CHECK(VIEW_PAIR(out.reply, daemon_version) == "3.0.15");
    CHECK(VIEW_PAIR(out.reply, backend_pipe) == "/run/backend");
    CHECK(out.reply.server_capabilities == 1);
    CHECK(out.reply.keepalive_interval_secs == 60);
    CHECK(VIEW_PAIR(out.reply, handle_passed_token) == "\xFF\xFE");
    CHECK(out.reply.connection_id == 99);
    CHECK(out.reply.negotiated_protocol == 1);
    REQUIRE(out.reply.warnings_length == 3);
    for (std::size_t i = 0; i < 3; ++i) {
        CHECK(view(out.out_warnings[i]) == view(warnings[i]));
    }
    CHECK(out.reply.details_length == 0);
}

TEST_CASE("a refusal keeps every member, and its details by rising key") {
    Arrays out(4);
    REQUIRE(out.decode(encoded_reply(sample_refused())) == RP_HANDOFF_OK);
    CHECK(out.reply.choice == RP_HANDOFF_REPLY_REFUSED);
    CHECK(out.reply.code == RP_HANDOFF_REFUSED_VERSION_BLOCKED);
    CHECK(VIEW_PAIR(out.reply, reason) == "version below floor");
    CHECK(out.reply.daemon_min_protocol == 2);
    CHECK(out.reply.daemon_max_protocol == 3);
    CHECK(out.reply.retry_after_ms == 1500);
    REQUIRE(out.reply.details_length == 2);
    CHECK(view(out.out_details[0].key) == "a");
    CHECK(view(out.out_details[0].value) == "1");
    CHECK(view(out.out_details[1].key) == "b");
    CHECK(out.reply.warnings_length == 0);
}

TEST_CASE("of a list that is longer than its array the rest is left out, and counted") {
    for (const std::size_t capacity : {0U, 1U, 2U, 3U}) {
        Arrays out(capacity);
        if (capacity == 0) {
            out.reply.warnings = nullptr;
            out.reply.details = nullptr;
        }
        REQUIRE(out.decode(encoded_reply(sample_negotiated())) == RP_HANDOFF_OK);
        CHECK(out.reply.warnings_length == 3);
        CHECK(out.reply.warnings_capacity == capacity);
        CHECK(out.out_warnings[capacity].data == nullptr); // not written beyond
        if (capacity > 0) {
            CHECK(view(out.out_warnings[capacity - 1]) == view(warnings[capacity - 1]));
        }
        REQUIRE(out.decode(encoded_reply(sample_refused())) == RP_HANDOFF_OK);
        CHECK(out.reply.details_length == 2);
        CHECK(out.out_details[capacity].key.data == nullptr);
    }
}

TEST_CASE("a reply may be neither") {
    auto frame = sized<rp_handoff_wire_frame>();
    frame.envelope_version = 1;
    frame.kind = RP_HANDOFF_KIND_RESPONSE;
    frame.payload_protocol = RP_HANDOFF_PROTOCOL_CONTROL;
    frame.request_id = 3;
    Arrays out(4);
    out.reply.choice = 77;
    REQUIRE(out.decode(encoded(frame)) == RP_HANDOFF_OK);
    CHECK(out.reply.choice == 0);
    CHECK(out.request_id == 3);
}

TEST_CASE("every prefix of a Hello and of a reply is incomplete, and other frames are unexpected") {
    const Bytes hello = encoded_hello(sample_hello());
    const Bytes reply = encoded_reply(sample_negotiated());
    OutStruct<rp_handoff_wire_hello> out_hello;
    Out<std::uint64_t> request_id;
    Out<std::size_t> consumed;
    const auto decode_hello = [&](const Bytes &bytes, std::size_t length) {
        return rp_handoff_wire_decode_hello(bytes.data(), length, out_hello.get(), request_id.get(), consumed.get());
    };
    for (std::size_t length = 0; length < hello.size(); ++length) {
        CHECK(decode_hello(hello, length) == RP_HANDOFF_ERR_FRAME_INCOMPLETE);
    }
    CHECK(decode_hello(reply, reply.size()) == RP_HANDOFF_ERR_FRAME_UNEXPECTED);
    const Bytes offer = encoded(wire_offer(token_of(1), "service", 1));
    CHECK(decode_hello(offer, offer.size()) == RP_HANDOFF_ERR_FRAME_UNEXPECTED);
    CHECK(decode_hello({2}, 1) == RP_HANDOFF_ERR_FRAME_VERSION);
    CHECK(decode_hello({1, 1, 0, 0, 1}, 5) == RP_HANDOFF_ERR_FRAME_TOO_LARGE);
    CHECK(decode_hello({1, 1, 0, 0, 0, 0xFF}, 6) == RP_HANDOFF_ERR_FRAME_MALFORMED);
    CHECK(out_hello.untouched());
    CHECK(request_id.untouched());
    CHECK(consumed.untouched());

    Arrays out(4);
    const rp_handoff_wire_reply before = out.reply;
    for (std::size_t length = 0; length < reply.size(); ++length) {
        CHECK(out.decode(Bytes(reply.begin(), reply.begin() + static_cast<std::ptrdiff_t>(length))) ==
              RP_HANDOFF_ERR_FRAME_INCOMPLETE);
    }
    CHECK(out.decode(hello) == RP_HANDOFF_ERR_FRAME_UNEXPECTED);
    CHECK(std::memcmp(&out.reply, &before, sizeof before) == 0);
    CHECK(out.consumed == 0);
}

TEST_CASE("a buffer that is too small for a Hello or a reply is left alone, and the length can be had without one") {
    const auto hello = sample_hello();
    const auto reply = sample_refused();
    for (const bool is_hello : {true, false}) {
        const auto encode = [&](std::uint8_t *out, std::size_t capacity, std::size_t *length) {
            return is_hello ? rp_handoff_wire_encode_hello(&hello, 7, out, capacity, length)
                            : rp_handoff_wire_encode_reply(&reply, 7, out, capacity, length);
        };
        const std::size_t needed = (is_hello ? encoded_hello(hello) : encoded_reply(reply)).size();
        Bytes memory(needed, 0xA5);
        Out<std::size_t> length;
        CHECK(encode(memory.data(), needed - 1, length.get()) == RP_HANDOFF_ERR_BUFFER_TOO_SMALL);
        CHECK(encode(nullptr, 1, length.get()) == invalid);
        CHECK(encode(memory.data(), needed, nullptr) == invalid);
        CHECK(length.untouched());
        CHECK(memory == Bytes(needed, 0xA5));
        CHECK(encode(nullptr, 0, length.get()) == RP_HANDOFF_OK);
        CHECK(length.value == needed);
        CHECK(encode(memory.data(), needed, length.get()) == RP_HANDOFF_OK);
    }
}

TEST_CASE("texts of a Hello have to be UTF-8 and given, bytes only given") {
    Out<std::size_t> length;
    const auto status_of = [&length](const rp_handoff_wire_hello &hello) {
        const std::int32_t status = rp_handoff_wire_encode_hello(&hello, 7, nullptr, 0, length.get());
        CHECK(length.untouched() == (status != RP_HANDOFF_OK));
        length = {};
        return status;
    };
    using Hello = rp_handoff_wire_hello;
    const auto check = [&](auto member, std::size_t Hello::*member_length, std::int32_t without_utf8) {
        auto hello = sample_hello();
        set_pair(hello.*member, hello.*member_length, "caf\xE9");
        CHECK(status_of(hello) == without_utf8);
        hello.*member = nullptr;
        CHECK(status_of(hello) == invalid);
        hello.*member_length = 0;
        CHECK(status_of(hello) == RP_HANDOFF_OK);
    };
    check(&Hello::service_name, &Hello::service_name_length, invalid);
    check(&Hello::wanted_version, &Hello::wanted_version_length, invalid);
    check(&Hello::client_version, &Hello::client_version_length, invalid);
    check(&Hello::request_id, &Hello::request_id_length, invalid);
    check(&Hello::client_lib_name, &Hello::client_lib_name_length, invalid);
    check(&Hello::client_lib_version, &Hello::client_lib_version_length, invalid);
    check(&Hello::auth_token, &Hello::auth_token_length, RP_HANDOFF_OK);
    check(&Hello::peer_attestation_nonce, &Hello::peer_attestation_nonce_length, RP_HANDOFF_OK);
    check(&Hello::capability_token, &Hello::capability_token_length, RP_HANDOFF_OK);
    CHECK(rp_handoff_wire_encode_hello(nullptr, 7, nullptr, 0, length.get()) == invalid);
}

TEST_CASE("a reply is one of two, and its lists are given") {
    Out<std::size_t> length;
    const auto status_of = [&length](const rp_handoff_wire_reply &reply) {
        return rp_handoff_wire_encode_reply(&reply, 7, nullptr, 0, length.get());
    };
    for (const std::int32_t choice : {0, 3, -1}) {
        auto reply = sample_negotiated();
        reply.choice = choice;
        CHECK(status_of(reply) == invalid);
    }
    auto reply = sample_negotiated();
    reply.warnings = nullptr;
    CHECK(status_of(reply) == invalid);
    rp_handoff_wire_text bad_warning = text("\xFF");
    reply.warnings = &bad_warning;
    reply.warnings_length = 1;
    CHECK(status_of(reply) == invalid);
    reply = sample_refused();
    reply.details = nullptr;
    CHECK(status_of(reply) == invalid);
    rp_handoff_wire_detail bad_detail = {text("key"), {nullptr, 1}};
    reply.details = &bad_detail;
    reply.details_length = 1;
    CHECK(status_of(reply) == invalid);
    CHECK(rp_handoff_wire_encode_reply(nullptr, 7, nullptr, 0, length.get()) == invalid);
    CHECK(length.untouched());
}

TEST_CASE("what is decoded of the first contact needs a place for it") {
    const Bytes hello = encoded_hello(sample_hello());
    const Bytes reply = encoded_reply(sample_negotiated());
    OutStruct<rp_handoff_wire_hello> out;
    Out<std::uint64_t> request_id;
    Out<std::size_t> consumed;
    CHECK(rp_handoff_wire_decode_hello(nullptr, 1, out.get(), request_id.get(), consumed.get()) == invalid);
    CHECK(rp_handoff_wire_decode_hello(hello.data(), hello.size(), nullptr, request_id.get(), consumed.get()) ==
          invalid);
    CHECK(rp_handoff_wire_decode_hello(hello.data(), hello.size(), out.get(), nullptr, consumed.get()) == invalid);
    CHECK(rp_handoff_wire_decode_hello(hello.data(), hello.size(), out.get(), request_id.get(), nullptr) == invalid);
    auto arrays = sized<rp_handoff_wire_reply>();
    const auto decode = [&](const std::uint8_t *data, rp_handoff_wire_reply *into, std::uint64_t *id,
                            std::size_t *used) {
        return rp_handoff_wire_decode_reply(data, reply.size(), into, id, used);
    };
    CHECK(decode(nullptr, &arrays, request_id.get(), consumed.get()) == invalid);
    CHECK(decode(reply.data(), nullptr, request_id.get(), consumed.get()) == invalid);
    CHECK(decode(reply.data(), &arrays, nullptr, consumed.get()) == invalid);
    CHECK(decode(reply.data(), &arrays, request_id.get(), nullptr) == invalid);
    arrays.warnings_capacity = 1;
    CHECK(decode(reply.data(), &arrays, request_id.get(), consumed.get()) == invalid);
    arrays.warnings_capacity = 0;
    arrays.details_capacity = 1;
    CHECK(decode(reply.data(), &arrays, request_id.get(), consumed.get()) == invalid);
    CHECK(out.untouched());
    CHECK(request_id.untouched());
    CHECK(consumed.untouched());
}
