// The wire by hand: encoding and decoding.
#include "support/exchange.hpp"

#include <algorithm>
#include <sys/mman.h>

using namespace rp::test;

namespace {

const rp_handoff_token counting = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};

Bytes from_hex(std::string_view hex) {
    Bytes out;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        out.push_back(static_cast<std::uint8_t>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
    }
    return out;
}

const Bytes offer_bytes =
    from_hex("012e000000080118ffa103222408ec171210000102030405060708090a0b0c0d0e0f1a0b6275696c642d"
             "636163686520072807");
const Bytes ack_bytes =
    from_hex("01260000000801100118ffa103221a0a10000102030405060708090a0b0c0d0e0f10011a026f6b20072807");
const Bytes ready_bytes =
    from_hex("01260000000801100218ffa103221a0a10000102030405060708090a0b0c0d0e0f10011a026f6b2007280"
             "7");

rp_handoff_wire_offer sample_offer() {
    auto offer = wire_offer(counting, "build-cache", 7);
    offer.handle_value = 3052;
    return offer;
}

rp_handoff_wire_frame sample_frame() {
    static const std::uint8_t payload[] = {0, 1, 255};
    auto frame = sized<rp_handoff_wire_frame>();
    frame.envelope_version = 1;
    frame.kind = RP_HANDOFF_KIND_CANCEL;
    frame.payload_protocol = 0xAD01;
    frame.payload = payload;
    frame.payload_length = sizeof payload;
    frame.request_id = UINT64_MAX;
    frame.payload_encoding = RP_HANDOFF_ENCODING_LZ4;
    frame.deadline_unix_ms = 1ULL << 40;
    frame.traceparent = "00-trace";
    frame.traceparent_length = 8;
    frame.tracestate = "\xE2\x82\xAC";
    frame.tracestate_length = 3;
    return frame;
}

// encode(out, capacity, length) into memory of every capacity around the right one.
template <class Encode>
void check_capacities(std::size_t needed, Encode encode) {
    std::size_t length = 0;
    CHECK(encode(nullptr, 0, &length) == RP_HANDOFF_OK);
    CHECK(length == needed);
    for (const std::size_t capacity : {std::size_t{0}, std::size_t{1}, needed - 1}) {
        Bytes memory(needed + 1, 0xA5);
        Out<std::size_t> untouched;
        CHECK(encode(memory.data(), capacity, untouched.get()) == RP_HANDOFF_ERR_BUFFER_TOO_SMALL);
        CHECK(untouched.untouched());
        CHECK(memory == Bytes(needed + 1, 0xA5));
    }
    for (const std::size_t capacity : {needed, needed + 1}) {
        Bytes memory(needed + 1, 0xA5);
        length = 0;
        CHECK(encode(memory.data(), capacity, &length) == RP_HANDOFF_OK);
        CHECK(length == needed);
        CHECK(memory[0] == 1);
        CHECK(memory[needed] == 0xA5);
    }
}

// decode(data, length, consumed) of all prefixes, and with bytes behind it.
template <class Decode>
void check_prefixes(const Bytes &bytes, Decode decode) {
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        // In memory of exactly this size, so that a look beyond it is found.
        const std::unique_ptr<std::uint8_t[]> prefix(new std::uint8_t[length]);
        std::copy_n(bytes.begin(), length, prefix.get());
        Out<std::size_t> consumed;
        CHECK(decode(prefix.get(), length, consumed.get()) == RP_HANDOFF_ERR_FRAME_INCOMPLETE);
        CHECK(consumed.untouched());
    }
    Out<std::size_t> untouched;
    CHECK(decode(nullptr, 0, untouched.get()) == RP_HANDOFF_ERR_FRAME_INCOMPLETE);
    CHECK(untouched.untouched());
    for (const std::uint8_t next : Bytes{0x00, 0x01, 0xFF}) {
        Bytes more = bytes;
        more.insert(more.end(), 7, next);
        std::size_t consumed = 0;
        CHECK(decode(more.data(), more.size(), &consumed) == RP_HANDOFF_OK);
        CHECK(consumed == bytes.size());
    }
}

std::int32_t decode_frame(const Bytes &bytes) {
    OutStruct<rp_handoff_wire_frame> frame;
    Out<std::size_t> consumed;
    const std::int32_t status = rp_handoff_wire_decode_frame(bytes.data(), bytes.size(), frame.get(), consumed.get());
    CHECK(frame.untouched() == (status != RP_HANDOFF_OK));
    CHECK(consumed.untouched() == (status != RP_HANDOFF_OK));
    return status;
}

std::int32_t decode_offer(const Bytes &bytes) {
    OutStruct<rp_handoff_wire_offer> offer;
    Out<std::size_t> consumed;
    const std::int32_t status = rp_handoff_wire_decode_offer(bytes.data(), bytes.size(), offer.get(), consumed.get());
    CHECK(offer.untouched() == (status != RP_HANDOFF_OK));
    CHECK(consumed.untouched() == (status != RP_HANDOFF_OK));
    return status;
}

std::int32_t decode_ack(const Bytes &bytes, std::int32_t kind = RP_HANDOFF_KIND_RESPONSE) {
    OutStruct<rp_handoff_wire_ack> ack;
    Out<std::size_t> consumed;
    const std::int32_t status = rp_handoff_wire_decode_ack(bytes.data(), bytes.size(), kind, ack.get(), consumed.get());
    CHECK(ack.untouched() == (status != RP_HANDOFF_OK));
    CHECK(consumed.untouched() == (status != RP_HANDOFF_OK));
    return status;
}

bool lies_in(const Bytes &bytes, const void *place) {
    const auto *byte = static_cast<const std::uint8_t *>(place);
    return byte >= bytes.data() && byte < bytes.data() + bytes.size();
}

} // namespace

TEST_CASE("messages are encoded to the bytes of the frozen envelope") {
    CHECK(encoded(sample_offer()) == offer_bytes);
    CHECK(encoded(wire_ack(counting, true, 7, "ok")) == ack_bytes);
    CHECK(encoded(wire_ack(counting, true, 7, "ok"), RP_HANDOFF_KIND_EVENT) == ready_bytes);
    CHECK(encoded(sized<rp_handoff_wire_frame>()) == Bytes{1, 0, 0, 0, 0}); // defaults take no room
}

TEST_CASE("what was encoded is decoded to the same, and points into the buffer") {
    auto offer = sized<rp_handoff_wire_offer>();
    std::size_t consumed = 0;
    REQUIRE(rp_handoff_wire_decode_offer(offer_bytes.data(), offer_bytes.size(), &offer, &consumed) == RP_HANDOFF_OK);
    CHECK(consumed == offer_bytes.size());
    CHECK(offer.handle_value == 3052);
    CHECK(offer.correlation_id == 7);
    CHECK(offer.token_length == 16);
    CHECK(std::equal(offer.token, offer.token + 16, counting.bytes));
    CHECK(lies_in(offer_bytes, offer.token));
    CHECK(std::string_view(offer.service_name, offer.service_name_length) == "build-cache");
    CHECK(lies_in(offer_bytes, offer.service_name));

    auto ack = sized<rp_handoff_wire_ack>();
    REQUIRE(rp_handoff_wire_decode_ack(ack_bytes.data(), ack_bytes.size(), RP_HANDOFF_KIND_RESPONSE, &ack, &consumed) ==
            RP_HANDOFF_OK);
    CHECK(consumed == ack_bytes.size());
    CHECK(ack.accepted == 1);
    CHECK(ack.correlation_id == 7);
    CHECK(ack.token_length == 16);
    CHECK(lies_in(ack_bytes, ack.token));
    CHECK(std::string_view(ack.error_detail, ack.error_detail_length) == "ok");
    CHECK(lies_in(ack_bytes, ack.error_detail));
}

TEST_CASE("a frame keeps every member") {
    const Bytes bytes = encoded(sample_frame());
    auto frame = sized<rp_handoff_wire_frame>();
    std::size_t consumed = 0;
    REQUIRE(rp_handoff_wire_decode_frame(bytes.data(), bytes.size(), &frame, &consumed) == RP_HANDOFF_OK);
    CHECK(frame.envelope_version == 1);
    CHECK(frame.kind == RP_HANDOFF_KIND_CANCEL);
    CHECK(frame.payload_protocol == 0xAD01);
    CHECK(Bytes(frame.payload, frame.payload + frame.payload_length) == Bytes{0, 1, 255});
    CHECK(frame.request_id == UINT64_MAX);
    CHECK(frame.payload_encoding == RP_HANDOFF_ENCODING_LZ4);
    CHECK(frame.reserved == 0);
    CHECK(frame.deadline_unix_ms == 1ULL << 40);
    CHECK(std::string_view(frame.traceparent, frame.traceparent_length) == "00-trace");
    CHECK(std::string_view(frame.tracestate, frame.tracestate_length) == "\xE2\x82\xAC");
}

TEST_CASE("numbers without a name are given as they are") {
    for (const std::int32_t number : {-1, 4, 1000, INT32_MIN, INT32_MAX}) {
        auto frame = sample_frame();
        frame.kind = number;
        frame.payload_encoding = number;
        const Bytes bytes = encoded(frame);
        std::size_t consumed = 0;
        auto decoded = sized<rp_handoff_wire_frame>();
        REQUIRE(rp_handoff_wire_decode_frame(bytes.data(), bytes.size(), &decoded, &consumed) == RP_HANDOFF_OK);
        CHECK(decoded.kind == number);
        CHECK(decoded.payload_encoding == number);
    }
}

TEST_CASE("a buffer that is one byte too small is left alone, and the length can be had without one") {
    const auto offer = sample_offer();
    const auto ack = wire_ack(counting, false, 7, "no");
    const auto frame = sample_frame();
    check_capacities(offer_bytes.size(), [&](std::uint8_t *out, std::size_t capacity, std::size_t *length) {
        return rp_handoff_wire_encode_offer(&offer, out, capacity, length);
    });
    check_capacities(encoded(ack).size(), [&](std::uint8_t *out, std::size_t capacity, std::size_t *length) {
        return rp_handoff_wire_encode_ack(&ack, RP_HANDOFF_KIND_RESPONSE, out, capacity, length);
    });
    check_capacities(encoded(frame).size(), [&](std::uint8_t *out, std::size_t capacity, std::size_t *length) {
        return rp_handoff_wire_encode_frame(&frame, out, capacity, length);
    });
}

TEST_CASE("every prefix of a frame is incomplete, and what follows a frame is left") {
    check_prefixes(offer_bytes, [](const std::uint8_t *data, std::size_t length, std::size_t *consumed) {
        auto out = sized<rp_handoff_wire_offer>();
        return rp_handoff_wire_decode_offer(data, length, &out, consumed);
    });
    check_prefixes(ack_bytes, [](const std::uint8_t *data, std::size_t length, std::size_t *consumed) {
        auto out = sized<rp_handoff_wire_ack>();
        return rp_handoff_wire_decode_ack(data, length, RP_HANDOFF_KIND_RESPONSE, &out, consumed);
    });
    check_prefixes(encoded(sample_frame()), [](const std::uint8_t *data, std::size_t length, std::size_t *consumed) {
        auto out = sized<rp_handoff_wire_frame>();
        return rp_handoff_wire_decode_frame(data, length, &out, consumed);
    });
}

TEST_CASE("another framing is told from the first byte, an overlong body from the header") {
    for (const std::uint8_t version : Bytes{0, 2, 255}) {
        CHECK(decode_frame({version}) == RP_HANDOFF_ERR_FRAME_VERSION);
        CHECK(decode_offer({version}) == RP_HANDOFF_ERR_FRAME_VERSION);
        CHECK(decode_ack({version}) == RP_HANDOFF_ERR_FRAME_VERSION);
    }
    const Bytes at_limit = {1, 0, 0, 0, 1}; // 16 MiB
    const Bytes above = {1, 1, 0, 0, 1};
    CHECK(decode_frame(at_limit) == RP_HANDOFF_ERR_FRAME_INCOMPLETE);
    CHECK(decode_offer(at_limit) == RP_HANDOFF_ERR_FRAME_INCOMPLETE);
    CHECK(decode_ack(at_limit) == RP_HANDOFF_ERR_FRAME_INCOMPLETE);
    CHECK(decode_frame(above) == RP_HANDOFF_ERR_FRAME_TOO_LARGE);
    CHECK(decode_offer(above) == RP_HANDOFF_ERR_FRAME_TOO_LARGE);
    CHECK(decode_ack(above) == RP_HANDOFF_ERR_FRAME_TOO_LARGE);
    CHECK(decode_frame({1, 0xFF, 0xFF, 0xFF, 0xFF}) == RP_HANDOFF_ERR_FRAME_TOO_LARGE);
}

TEST_CASE("what is not a message is malformed, envelope or payload") {
    const Bytes no_message = {1, 1, 0, 0, 0, 0xFF};
    CHECK(decode_frame(no_message) == RP_HANDOFF_ERR_FRAME_MALFORMED);
    CHECK(decode_offer(no_message) == RP_HANDOFF_ERR_FRAME_MALFORMED);
    CHECK(decode_ack(no_message) == RP_HANDOFF_ERR_FRAME_MALFORMED);
    auto frame = sized<rp_handoff_wire_frame>();
    const std::uint8_t payload = 0xFF;
    frame.envelope_version = 1;
    frame.payload_protocol = RP_HANDOFF_PROTOCOL_HANDOFF;
    frame.payload = &payload;
    frame.payload_length = 1;
    CHECK(decode_frame(encoded(frame)) == RP_HANDOFF_OK); // the payload is not its business
    CHECK(decode_offer(encoded(frame)) == RP_HANDOFF_ERR_FRAME_MALFORMED);
    frame.kind = RP_HANDOFF_KIND_RESPONSE;
    CHECK(decode_ack(encoded(frame)) == RP_HANDOFF_ERR_FRAME_MALFORMED);
    CHECK(decode_frame({1, 0, 0, 0, 0}) == RP_HANDOFF_OK);
}

TEST_CASE("an envelope of anything else is unexpected") {
    CHECK(decode_offer(ack_bytes) == RP_HANDOFF_ERR_FRAME_UNEXPECTED);
    CHECK(decode_ack(offer_bytes) == RP_HANDOFF_ERR_FRAME_UNEXPECTED);
    CHECK(decode_ack(ready_bytes) == RP_HANDOFF_ERR_FRAME_UNEXPECTED);
    CHECK(decode_ack(ack_bytes, RP_HANDOFF_KIND_EVENT) == RP_HANDOFF_ERR_FRAME_UNEXPECTED);
    CHECK(decode_ack(ready_bytes, RP_HANDOFF_KIND_EVENT) == RP_HANDOFF_OK);

    auto frame = sized<rp_handoff_wire_frame>(); // an empty payload is an offer of defaults
    frame.envelope_version = 1;
    frame.payload_protocol = RP_HANDOFF_PROTOCOL_HANDOFF;
    CHECK(decode_offer(encoded(frame)) == RP_HANDOFF_OK);
    const auto with = [&frame](auto change) {
        auto changed = frame;
        change(changed);
        return decode_offer(encoded(changed));
    };
    using Frame = rp_handoff_wire_frame;
    CHECK(with([](Frame &f) { f.envelope_version = 0; }) == RP_HANDOFF_ERR_FRAME_UNEXPECTED);
    CHECK(with([](Frame &f) { f.envelope_version = 2; }) == RP_HANDOFF_ERR_FRAME_UNEXPECTED);
    CHECK(with([](Frame &f) { f.kind = RP_HANDOFF_KIND_CANCEL; }) == RP_HANDOFF_ERR_FRAME_UNEXPECTED);
    CHECK(with([](Frame &f) { f.payload_protocol = 0; }) == RP_HANDOFF_ERR_FRAME_UNEXPECTED);
    CHECK(with([](Frame &f) { f.payload_encoding = RP_HANDOFF_ENCODING_ZSTD; }) == RP_HANDOFF_ERR_FRAME_UNEXPECTED);
    CHECK(with([](Frame &f) { f.request_id = 1; }) == RP_HANDOFF_ERR_FRAME_UNEXPECTED);
    CHECK(with([](Frame &f) { f.deadline_unix_ms = 1; }) == RP_HANDOFF_OK);
}

TEST_CASE("a body may be 16 MiB long, and not a byte longer") {
    const Bytes payload(RP_HANDOFF_FRAME_BODY_MAX);
    auto frame = sized<rp_handoff_wire_frame>();
    frame.payload = payload.data();
    frame.payload_length = payload.size() - 5; // a key of one byte and a length of four
    const Bytes bytes = encoded(frame);
    CHECK(bytes.size() == RP_HANDOFF_FRAME_HEADER_SIZE + RP_HANDOFF_FRAME_BODY_MAX);
    CHECK(decode_frame(bytes) == RP_HANDOFF_OK);
    ++frame.payload_length;
    Out<std::size_t> length;
    CHECK(rp_handoff_wire_encode_frame(&frame, nullptr, 0, length.get()) == RP_HANDOFF_ERR_FRAME_TOO_LARGE);
    auto offer = sized<rp_handoff_wire_offer>();
    offer.token = payload.data();
    offer.token_length = payload.size();
    CHECK(rp_handoff_wire_encode_offer(&offer, nullptr, 0, length.get()) == RP_HANDOFF_ERR_FRAME_TOO_LARGE);
    CHECK(length.untouched());
}

TEST_CASE("a text or bytes beyond any frame are too large, however long they are") {
    const std::size_t length = (std::size_t{1} << 32U) + 1; // more than protobuf can say
    void *const memory = mmap(nullptr, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    Out<std::size_t> out;
    auto frame = sized<rp_handoff_wire_frame>();
    frame.payload = static_cast<const std::uint8_t *>(memory);
    frame.payload_length = length;
    CHECK(rp_handoff_wire_encode_frame(&frame, nullptr, 0, out.get()) == RP_HANDOFF_ERR_FRAME_TOO_LARGE);
    auto offer = sized<rp_handoff_wire_offer>();
    offer.service_name = static_cast<const char *>(memory);
    offer.service_name_length = length;
    CHECK(rp_handoff_wire_encode_offer(&offer, nullptr, 0, out.get()) == RP_HANDOFF_ERR_FRAME_TOO_LARGE);
    auto ack = sized<rp_handoff_wire_ack>();
    ack.token = static_cast<const std::uint8_t *>(memory);
    ack.token_length = length;
    CHECK(rp_handoff_wire_encode_ack(&ack, RP_HANDOFF_KIND_EVENT, nullptr, 0, out.get()) ==
          RP_HANDOFF_ERR_FRAME_TOO_LARGE);
    CHECK(out.untouched());
    munmap(memory, length);
}
