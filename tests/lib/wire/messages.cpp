#include "wire/messages.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <set>
#include <string>

#include "support/fakes.hpp"
#include "support/wire_fields.hpp"
#include "wire/hello.hpp"

using namespace rp::handoff;
using namespace rp::handoff::wire;
using namespace rp::test;

namespace {

const std::string name_40(40, 'n');

Frame full_frame(ByteView payload) {
    Frame frame;
    frame.envelope_version = 1;
    frame.kind = Kind::cancel;
    frame.payload_protocol = 0xD0FF;
    frame.payload = payload;
    frame.request_id = UINT64_MAX;
    frame.payload_encoding = Encoding::lz4;
    frame.deadline_unix_ms = 1700000000000;
    frame.traceparent = "parent";
    frame.tracestate = "state";
    return frame;
}

bool equal(const Frame &a, const Frame &b) {
    return a.envelope_version == b.envelope_version && a.kind == b.kind && a.payload_protocol == b.payload_protocol &&
           a.payload == b.payload && a.request_id == b.request_id && a.payload_encoding == b.payload_encoding &&
           a.deadline_unix_ms == b.deadline_unix_ms && a.traceparent == b.traceparent && a.tracestate == b.tracestate;
}

bool equal(const HandoffOffer &a, const HandoffOffer &b) {
    return a.handle_value == b.handle_value && a.token == b.token && a.service_name == b.service_name &&
           a.correlation_id == b.correlation_id;
}

bool equal(const HandoffAck &a, const HandoffAck &b) {
    return a.token == b.token && a.accepted == b.accepted && a.error_detail == b.error_detail &&
           a.correlation_id == b.correlation_id;
}

template <class Message>
std::string encoded(const Message &message) {
    std::string out;
    append(out, message);
    return out;
}

// The messages as one thing: what they have in common is tested for each.
struct Schema {
    std::string name;
    std::vector<unsigned> types; // of the fields 1, 2, ...
    std::set<unsigned> texts;    // tags whose bytes have to be UTF-8
    std::function<bool(const Bytes &)> decodes;
};

const Schema schemas[] = {
    {"Frame", {0, 0, 0, 2, 0, 0, 0, 2, 2}, {8, 9}, [](const Bytes &b) { return decode_frame(view(b)).has_value(); }},
    {"HandoffOffer", {0, 2, 2, 0}, {3}, [](const Bytes &b) { return decode_offer(view(b)).has_value(); }},
    {"HandoffAck", {2, 0, 2, 0}, {3}, [](const Bytes &b) { return decode_ack(view(b)).has_value(); }},
    {"Hello",
     {0, 0, 2, 2, 2, 0, 2, 2, 0, 0, 2, 2, 2, 2, 0},
     {3, 4, 5, 8, 11, 12},
     [](const Bytes &b) { return decode_hello(view(b)).has_value(); }},
    {"Negotiated",
     {0, 2, 2, 2, 0, 0, 2, 0},
     {2, 3, 4},
     [](const Bytes &b) { return decode_negotiated(view(b)).has_value(); }},
    {"Refused", {2, 0, 0, 0, 2, 0}, {1, 5}, [](const Bytes &b) { return decode_refused(view(b)).has_value(); }},
};

} // namespace

TEST_CASE("an empty buffer decodes to all defaults, and all defaults encode to nothing") {
    REQUIRE(decode_frame({}));
    CHECK(equal(*decode_frame({}), Frame{}));
    REQUIRE(decode_offer({}));
    CHECK(equal(*decode_offer({}), HandoffOffer{}));
    REQUIRE(decode_ack({}));
    CHECK(equal(*decode_ack({}), HandoffAck{}));
    CHECK(encoded(Frame{}).empty());
    CHECK(encoded(HandoffOffer{}).empty());
    CHECK(encoded(HandoffAck{}).empty());
}

TEST_CASE("every field survives encoding and decoding") {
    const Bytes token(16, 0xAB);
    const std::string frame = encoded(full_frame(view(token)));
    REQUIRE(decode_frame(bytes_of(frame)));
    CHECK(equal(*decode_frame(bytes_of(frame)), full_frame(view(token))));
    const HandoffOffer offer{UINT64_MAX, view(token), name_40, 1};
    const std::string offer_bytes = encoded(offer);
    REQUIRE(decode_offer(bytes_of(offer_bytes)));
    CHECK(equal(*decode_offer(bytes_of(offer_bytes)), offer));
    const HandoffAck ack{view(token), true, name_40, UINT64_MAX - 1};
    const std::string ack_bytes = encoded(ack);
    REQUIRE(decode_ack(bytes_of(ack_bytes)));
    CHECK(equal(*decode_ack(bytes_of(ack_bytes)), ack));
}

TEST_CASE("encoding is canonical: ascending numbers, no defaults, minimal varints") {
    CHECK(hex(encoded(HandoffAck{{}, true, {}, 128})) == "10012080"
                                                         "01");
    CHECK(hex(encoded(HandoffOffer{0, {}, "a", 0})) == "1a0161");
    Frame frame;
    frame.payload_protocol = 0xD0FF;
    frame.kind = Kind::event;
    CHECK(hex(encoded(frame)) == "100218ffa103");
}

TEST_CASE("a negative enumerator is ten bytes, as protobuf has it, and comes back negative") {
    Frame frame;
    frame.kind = static_cast<Kind>(-1);
    frame.payload_encoding = static_cast<Encoding>(INT32_MIN);
    const std::string bytes = encoded(frame);
    CHECK(hex(bytes) == "10ffffffffffffffffff01"
                        "3080808080f8ffffffff01");
    REQUIRE(decode_frame(bytes_of(bytes)));
    CHECK(equal(*decode_frame(bytes_of(bytes)), frame));
}

TEST_CASE("an enumerator without a name is kept as its number") {
    const Bytes bytes = unhex("10 2a 30 64");
    REQUIRE(decode_frame(view(bytes)));
    CHECK(static_cast<std::int32_t>(decode_frame(view(bytes))->kind) == 42);
    CHECK(static_cast<std::int32_t>(decode_frame(view(bytes))->payload_encoding) == 100);
}

TEST_CASE("a number of 32 bits and an enumerator are truncated, one of 64 bits is not") {
    const Bytes bytes = unhex("08 8180808010 10 8280808010 18 8380808010 28 8480808010 38 8580808010");
    const auto frame = decode_frame(view(bytes));
    REQUIRE(frame);
    CHECK(frame->envelope_version == 1);
    CHECK(frame->kind == Kind::event);
    CHECK(frame->payload_protocol == 3);
    CHECK(frame->request_id == (1ULL << 32U) + 4);
    CHECK(frame->deadline_unix_ms == (1ULL << 32U) + 5);
}

TEST_CASE("accepted is any varint but zero") {
    for (const std::string_view bytes : {"10 01", "10 02", "10 80808080808080808001"}) {
        const Bytes message = unhex(bytes);
        REQUIRE(decode_ack(view(message)));
        CHECK(decode_ack(view(message))->accepted);
    }
    for (const std::string_view bytes : {"10 00", "10 8000", "10 01 10 00"}) {
        const Bytes message = unhex(bytes);
        REQUIRE(decode_ack(view(message)));
        CHECK_FALSE(decode_ack(view(message))->accepted);
    }
}

TEST_CASE("an explicit default is the default") {
    const Bytes offer = unhex("08 00 12 00 1a 00 20 00");
    REQUIRE(decode_offer(view(offer)));
    CHECK(equal(*decode_offer(view(offer)), HandoffOffer{}));
    const Bytes ack = unhex("0a 00 10 00 1a 00 20 00");
    REQUIRE(decode_ack(view(ack)));
    CHECK(equal(*decode_ack(view(ack)), HandoffAck{}));
    const Bytes frame = unhex("08 00 10 00 18 00 22 00 28 00 30 00 38 00 42 00 4a 00");
    REQUIRE(decode_frame(view(frame)));
    CHECK(equal(*decode_frame(view(frame)), Frame{}));
    const Bytes as_the_crate_sends_it = unhex("08 00 12 01 07 20 05");
    REQUIRE(decode_offer(view(as_the_crate_sends_it)));
    CHECK(decode_offer(view(as_the_crate_sends_it))->correlation_id == 5);
}

TEST_CASE("of a field that comes twice, the last counts, and an empty one empties it") {
    const Bytes offer = unhex("08 01 08 02 12 01 aa 12 02 bb cc 1a 01 61 1a 00 20 09 20 03");
    const auto decoded = decode_offer(view(offer));
    REQUIRE(decoded);
    CHECK(decoded->handle_value == 2);
    CHECK(hex(decoded->token) == "bbcc");
    CHECK(decoded->service_name.empty());
    CHECK(decoded->correlation_id == 3);
}

TEST_CASE("fields may come in any order") {
    const Bytes ack = unhex("20 05 1a 01 61 10 01 0a 01 07");
    const auto decoded = decode_ack(view(ack));
    REQUIRE(decoded);
    CHECK(hex(decoded->token) == "07");
    CHECK(decoded->accepted);
    CHECK(decoded->error_detail == "a");
    CHECK(decoded->correlation_id == 5);
}

TEST_CASE("decoded bytes and texts are views into what was decoded") {
    const Bytes offer = unhex("12 02 bb cc 1a 01 61");
    const auto decoded = decode_offer(view(offer));
    REQUIRE(decoded);
    CHECK(decoded->token.data() == offer.data() + 2);
    CHECK(static_cast<const void *>(decoded->service_name.data()) == offer.data() + 6);
}

TEST_CASE("each known field is read as its own wire type and refused as any other") {
    for (const Schema &schema : schemas) {
        for (unsigned tag = 1; tag <= schema.types.size(); ++tag) {
            for (const unsigned type : wire_types) {
                CAPTURE(schema.name);
                CAPTURE(tag);
                CAPTURE(type);
                CHECK(schema.decodes(field(tag, type)) == (type == schema.types[tag - 1]));
            }
        }
    }
}

TEST_CASE("unknown fields of every wire type are skipped, wherever they are") {
    for (const Schema &schema : schemas) {
        const auto beyond = static_cast<std::uint32_t>(schema.types.size() + 1);
        for (const std::uint32_t tag : {beyond, 20U, 2047U, 2048U, 19000U, 19999U, (1U << 29U) - 1}) {
            for (const unsigned type : wire_types) {
                CAPTURE(schema.name);
                CAPTURE(tag);
                CAPTURE(type);
                const Bytes unknown = field(tag, type);
                const Bytes known = field(1, schema.types[0]);
                CHECK(schema.decodes(unknown));
                CHECK(schema.decodes(unknown + known + unknown));
            }
        }
    }
}

TEST_CASE("unknown fields change nothing of the known ones") {
    const Bytes unknown = field(5, 0) + field(6, 1) + field(7, 2) + field(8, 3) + field(9, 5);
    const Bytes offer = unknown + unhex("08 07") + unknown + unhex("1a 01 61") + unknown;
    const auto decoded = decode_offer(view(offer));
    REQUIRE(decoded);
    CHECK(equal(*decoded, HandoffOffer{7, {}, "a", 0}));
}

TEST_CASE("what prost refuses is refused, before and behind good fields") {
    for (const std::string_view malformed : {"00 00",                         // tag 0
                                             "a6 01 00",                      // wire type 6
                                             "a7 01 00",                      // wire type 7
                                             "8080808010 00",                 // a key of 2^32
                                             "a4 01",                         // an end without its group
                                             "a3 01",                         // a group without its end
                                             "a3 01 ac 01",                   // the end of another group
                                             "a0 01",                         // a varint without bytes
                                             "a0 01 80",                      // one that ends in the middle
                                             "a0 01 ffffffffffffffffff02",    // one that overflows
                                             "a0 01 8080808080808080808000",  // one of eleven bytes
                                             "a2 01 05 61",                   // a length past the end
                                             "a2 01 ffffffffffffffffff01 61", // one far past it
                                             "a5 01 000000",                  // four bytes that are three
                                             "a1 01 00000000000000"}) {       // eight bytes that are seven
        for (const Schema &schema : schemas) {
            CAPTURE(schema.name);
            CAPTURE(malformed);
            CHECK_FALSE(schema.decodes(unhex(malformed)));
            CHECK_FALSE(schema.decodes(field(1, schema.types[0]) + unhex(malformed)));
        }
    }
}

TEST_CASE("groups that nobody knows may be nested a hundred deep") {
    for (const Schema &schema : schemas) {
        CAPTURE(schema.name);
        for (const int depth : {99, 100, 101}) {
            CAPTURE(depth);
            Bytes nested;
            for (int i = 0; i < depth; ++i) {
                nested = nested + unhex("a3 01");
            }
            for (int i = 0; i < depth; ++i) {
                nested = nested + unhex("a4 01");
            }
            CHECK(schema.decodes(nested) == (depth <= 100));
        }
    }
}

TEST_CASE("texts have to be UTF-8, bytes have not") {
    for (const Schema &schema : schemas) {
        for (unsigned tag = 1; tag <= schema.types.size(); ++tag) {
            if (schema.types[tag - 1] != 2) {
                continue;
            }
            CAPTURE(schema.name);
            CAPTURE(tag);
            const Bytes bad = Bytes{static_cast<std::uint8_t>(tag << 3U | 2U)} + unhex("02 c3 28");
            CHECK(schema.decodes(bad) == (schema.texts.count(tag) == 0));
        }
        const Bytes unknown = unhex("a2 01 02 c3 28");
        CHECK(schema.decodes(unknown));
    }
}

TEST_CASE("a text that is not UTF-8 is refused even if a good one follows") {
    const Bytes offer = unhex("1a 01 ff 1a 01 61");
    CHECK(status_of(decode_offer(view(offer))) == Status::frame_malformed);
}

TEST_CASE("a message cut within a field is refused, cut between fields it is not") {
    const Bytes offer = unhex("08 ec17 12 02 aabb 1a 01 61 20 07");
    const std::set<std::size_t> boundaries{0, 3, 7, 10, 12};
    for (std::size_t length = 0; length <= offer.size(); ++length) {
        CAPTURE(length);
        CHECK(decode_offer({offer.data(), length}).has_value() == (boundaries.count(length) > 0));
    }
}

TEST_CASE("an envelope is right only in its version, kind, protocol and encoding together") {
    Frame frame;
    frame.envelope_version = 1;
    frame.kind = Kind::response;
    frame.payload_protocol = 7;
    CHECK(validate_envelope(frame, Kind::response, 7) == EnvelopeError::none);
    frame.request_id = 5;
    frame.deadline_unix_ms = 5;
    frame.traceparent = "x";
    frame.tracestate = "x";
    CHECK(validate_envelope(frame, Kind::response, 7) == EnvelopeError::none); // these are not looked at
}

TEST_CASE("of an envelope that is wrong throughout, the errors are told in their order") {
    Frame frame;
    frame.envelope_version = 2;
    frame.kind = Kind::event;
    frame.payload_protocol = 8;
    frame.payload_encoding = Encoding::zstd;
    CHECK(validate_envelope(frame, Kind::response, 7) == EnvelopeError::envelope_version);
    frame.envelope_version = 0;
    CHECK(validate_envelope(frame, Kind::response, 7) == EnvelopeError::envelope_version);
    frame.envelope_version = 1;
    CHECK(validate_envelope(frame, Kind::response, 7) == EnvelopeError::kind);
    frame.kind = static_cast<Kind>(4);
    CHECK(validate_envelope(frame, Kind::response, 7) == EnvelopeError::kind);
    frame.kind = static_cast<Kind>(-1);
    CHECK(validate_envelope(frame, Kind::response, 7) == EnvelopeError::kind);
    frame.kind = Kind::response;
    CHECK(validate_envelope(frame, Kind::response, 7) == EnvelopeError::payload_protocol);
    frame.payload_protocol = 7;
    for (const int encoding : {1, 2, 3, 4, -1}) {
        frame.payload_encoding = static_cast<Encoding>(encoding);
        CHECK(validate_envelope(frame, Kind::response, 7) == EnvelopeError::payload_encoding);
    }
    frame.payload_encoding = Encoding::none;
    CHECK(validate_envelope(frame, Kind::response, 7) == EnvelopeError::none);
}

TEST_CASE("what is wrong with an envelope is told in the words that peers compare") {
    CHECK(envelope_error_text(EnvelopeError::envelope_version, Kind::request) == "envelope_version is not v1");
    CHECK(envelope_error_text(EnvelopeError::payload_protocol, Kind::request) == "payload_protocol is not handoff");
    CHECK(envelope_error_text(EnvelopeError::payload_encoding, Kind::request) == "payload is compressed");
    CHECK(envelope_error_text(EnvelopeError::kind, Kind::request) == "kind is not REQUEST");
    CHECK(envelope_error_text(EnvelopeError::kind, Kind::response) == "kind is not RESPONSE");
    CHECK(envelope_error_text(EnvelopeError::kind, Kind::event) == "kind is not EVENT");
    CHECK(envelope_error_text(EnvelopeError::kind, Kind::cancel) == "kind is not RESPONSE");
    CHECK(envelope_error_text(EnvelopeError::none, Kind::request).empty());
}
