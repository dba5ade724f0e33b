#include "wire/exchange.hpp"

#include <doctest/doctest.h>

#include <new>
#include <string>

#include "support/fakes.hpp"
#include "support/hex.hpp"

using namespace rp::handoff;
using namespace rp::handoff::wire;
using namespace rp::test;

namespace {

// The body of a frame, each part of which a test can spoil.
struct Exchange {
    Frame envelope;
    std::string payload;

    Exchange(Kind kind, std::uint64_t id) {
        envelope.envelope_version = envelope_v1;
        envelope.kind = kind;
        envelope.payload_protocol = protocol_handoff;
        envelope.request_id = id;
    }

    std::string body() const {
        Frame frame = envelope;
        frame.payload = bytes_of(payload);
        std::string out;
        append(out, frame);
        return out;
    }
};

Exchange offer_of(std::uint64_t id) {
    Exchange exchange(Kind::request, id);
    append(exchange.payload, HandoffOffer{0, bytes_of("0123456789abcdef"), "service", id});
    return exchange;
}

Exchange ack_of(Kind kind, std::uint64_t id) {
    Exchange exchange(kind, id);
    append(exchange.payload, HandoffAck{bytes_of("0123456789abcdef"), true, "", id});
    return exchange;
}

std::string offer_words(const std::string &body) {
    const auto offer = open_offer(bytes_of(body));
    return offer ? "good" : std::string(offer.error().words);
}

std::string ack_words(const std::string &body, Kind kind) {
    const auto ack = open_ack(bytes_of(body), kind);
    return ack ? "good" : std::string(ack.error().words);
}

ByteView body_of(ByteView framed) {
    REQUIRE(decode_header(framed).value() == framed.size() - header_size);
    return framed.substr(header_size);
}

} // namespace

TEST_CASE("the broker's message is the token's bytes and the framed offer, which carries the token again") {
    const OfferMessage message = encode_offer_message(token_of(0x11).view(), "service", 5);
    CHECK(message.view().substr(0, 16) == token_of(0x11).view());
    const auto offer = open_offer(body_of(message.view().substr(16)));
    REQUIRE(offer);
    CHECK(offer->handle_value == 0);
    CHECK(offer->token == token_of(0x11).view());
    CHECK(offer->service_name == "service");
    CHECK(offer->correlation_id == 5);
}

TEST_CASE("the broker's message is canonical to the byte") {
    const OfferMessage message = encode_offer_message(token_of(0x11).view(), "a", 5);
    const std::string token(32, '1');
    CHECK(hex(message.view()) == token +
                                     "0121000000"
                                     "0801"
                                     "18ffa103"
                                     "2217"
                                     "1210" +
                                     token +
                                     "1a0161"
                                     "2005"
                                     "2805");
}

TEST_CASE("there is room for the longest service name and the greatest correlation id") {
    for (const std::size_t length : {std::size_t{0}, max_service_name - 1, max_service_name}) {
        CAPTURE(length);
        const std::string name(length, 'n');
        const OfferMessage message = encode_offer_message(token_of(0xFF).view(), name, UINT64_MAX);
        const auto offer = open_offer(body_of(message.view().substr(16)));
        REQUIRE(offer);
        CHECK(offer->service_name == name);
        CHECK(offer->correlation_id == UINT64_MAX);
    }
}

TEST_CASE("a service name beyond its bound is cut there") {
    const OfferMessage message = encode_offer_message(token_of(1).view(), std::string(max_service_name + 1, 'n'), 1);
    const auto offer = open_offer(body_of(message.view().substr(16)));
    REQUIRE(offer);
    CHECK(offer->service_name.size() == max_service_name);
}

TEST_CASE("an acknowledgement and a ready frame differ in their kind alone") {
    const Token token = token_of(7);
    const HandoffAck ack{token.view(), true, "", 9};
    const AckMessage response = encode_ack_frame(ack, Kind::response);
    const AckMessage event = encode_ack_frame(ack, Kind::event);
    CHECK(open_ack(body_of(response.view()), Kind::response));
    CHECK(open_ack(body_of(event.view()), Kind::event));
    CHECK_FALSE(open_ack(body_of(response.view()), Kind::event));
    CHECK_FALSE(open_ack(body_of(event.view()), Kind::response));
}

TEST_CASE("there is room for the longest token, the longest detail and the greatest correlation id") {
    const Bytes token(64, 0xFF);
    for (const std::size_t length : {std::size_t{0}, max_error_detail - 1, max_error_detail}) {
        CAPTURE(length);
        const std::string detail(length, 'd');
        const AckMessage message = encode_ack_frame({view(token), true, detail, UINT64_MAX}, Kind::event);
        const auto ack = open_ack(body_of(message.view()), Kind::event);
        REQUIRE(ack);
        CHECK(ack->token == view(token));
        CHECK(ack->error_detail == detail);
        CHECK(ack->correlation_id == UINT64_MAX);
    }
}

TEST_CASE("a token or a detail beyond its bound is cut there") {
    const Bytes token(65, 0xFF);
    const std::string detail(max_error_detail + 1, 'd');
    const AckMessage message = encode_ack_frame({view(token), false, detail, 1}, Kind::response);
    const auto ack = open_ack(body_of(message.view()), Kind::response);
    REQUIRE(ack);
    CHECK(ack->token.size() == 64);
    CHECK(ack->error_detail.size() == max_error_detail);
}

TEST_CASE("a malformed token is echoed as it came") {
    for (const std::size_t length :
         {std::size_t{0}, std::size_t{1}, std::size_t{15}, std::size_t{17}, std::size_t{64}}) {
        const Bytes token(length, 0x22);
        const AckMessage message = encode_ack_frame({view(token), false, "no", 1}, Kind::response);
        CHECK(open_ack(body_of(message.view()), Kind::response)->token == view(token));
    }
}

TEST_CASE("an encoded message that ends leaves no token in memory") {
    alignas(OfferMessage) unsigned char memory[sizeof(OfferMessage)];
    auto *message = new (memory) OfferMessage(encode_offer_message(token_of(0xA5).view(), "service", 1));
    message->~FixedBytes();
    int left = 0;
    for (const volatile unsigned char &byte : memory) {
        left += byte == 0xA5;
    }
    CHECK(left == 0);
}

TEST_CASE("of an offer that is wrong throughout, the errors are told in their order") {
    Exchange offer = offer_of(5);
    offer.envelope.envelope_version = 2;
    offer.envelope.kind = Kind::response;
    offer.envelope.payload_protocol = 0;
    offer.envelope.payload_encoding = Encoding::zstd;
    offer.envelope.request_id = 6;
    const std::string good_payload = std::exchange(offer.payload, "\xff");
    CHECK(offer_words(offer.body() + "\xff") == "frame is not a valid message");
    CHECK(offer_words(offer.body()) == "envelope_version is not v1");
    offer.envelope.envelope_version = 1;
    CHECK(offer_words(offer.body()) == "kind is not REQUEST");
    offer.envelope.kind = Kind::request;
    CHECK(offer_words(offer.body()) == "payload_protocol is not handoff");
    offer.envelope.payload_protocol = protocol_handoff;
    CHECK(offer_words(offer.body()) == "payload is compressed");
    offer.envelope.payload_encoding = Encoding::none;
    CHECK(offer_words(offer.body()) == "payload is not a valid message");
    offer.payload = good_payload;
    CHECK(offer_words(offer.body()) == "frame request_id does not match HandoffOffer correlation_id");
    offer.envelope.request_id = 5;
    CHECK(offer_words(offer.body()) == "good");
}

TEST_CASE("of an acknowledgement that is wrong throughout, the errors are told in their order") {
    for (const Kind kind : {Kind::response, Kind::event}) {
        Exchange ack = ack_of(kind, 5);
        ack.envelope.envelope_version = 0;
        ack.envelope.kind = Kind::cancel;
        ack.envelope.payload_protocol = 0;
        ack.envelope.payload_encoding = static_cast<Encoding>(9);
        ack.envelope.request_id = 6;
        const std::string good_payload = std::exchange(ack.payload, "\xff");
        CHECK(ack_words(ack.body() + "\xff", kind) == "frame is not a valid message");
        CHECK(ack_words(ack.body(), kind) == "envelope_version is not v1");
        ack.envelope.envelope_version = 1;
        CHECK(ack_words(ack.body(), kind) == (kind == Kind::event ? "kind is not EVENT" : "kind is not RESPONSE"));
        ack.envelope.kind = kind;
        CHECK(ack_words(ack.body(), kind) == "payload_protocol is not handoff");
        ack.envelope.payload_protocol = protocol_handoff;
        CHECK(ack_words(ack.body(), kind) == "payload is compressed");
        ack.envelope.payload_encoding = Encoding::none;
        CHECK(ack_words(ack.body(), kind) == "payload is not a valid message");
        ack.payload = good_payload;
        CHECK(ack_words(ack.body(), kind) == "frame request_id does not match HandoffAck correlation_id");
        ack.envelope.request_id = 5;
        CHECK(ack_words(ack.body(), kind) == "good");
    }
}

TEST_CASE("what is malformed and what is unexpected can be told apart") {
    Exchange offer = offer_of(5);
    CHECK(open_offer(bytes_of("\xff")).error().status == Status::frame_malformed);
    offer.envelope.kind = Kind::event;
    CHECK(open_offer(bytes_of(offer.body())).error().status == Status::frame_unexpected);
    offer = offer_of(5);
    offer.payload = "\xff";
    CHECK(open_offer(bytes_of(offer.body())).error().status == Status::frame_malformed);
    offer = offer_of(5);
    offer.envelope.request_id = 4;
    CHECK(open_offer(bytes_of(offer.body())).error().status == Status::frame_unexpected);
}

TEST_CASE("deadline and trace fields of an envelope are not looked at") {
    Exchange offer = offer_of(5);
    offer.envelope.deadline_unix_ms = 1;
    offer.envelope.traceparent = "x";
    offer.envelope.tracestate = "y";
    CHECK(offer_words(offer.body()) == "good");
}

TEST_CASE("an empty body is an envelope of version 0") {
    CHECK(offer_words("") == "envelope_version is not v1");
}

TEST_CASE("an offer without a payload has no token, no service and the correlation id 0") {
    Exchange offer = offer_of(0);
    offer.payload.clear();
    const std::string body = offer.body();
    const auto opened = open_offer(bytes_of(body));
    REQUIRE(opened);
    CHECK(opened->token.empty());
    CHECK(opened->service_name.empty());
}

TEST_CASE("the length of a token is no matter of the wire") {
    for (const std::size_t length : {std::size_t{0}, std::size_t{15}, std::size_t{17}, std::size_t{1000}}) {
        Exchange offer(Kind::request, 1);
        const Bytes token(length, 1);
        append(offer.payload, HandoffOffer{0, view(token), "", 1});
        const std::string body = offer.body();
        CHECK(open_offer(bytes_of(body))->token.size() == length);
    }
}
