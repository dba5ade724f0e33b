// Everything that a backend can answer, and when: byte by byte on a clock that the test turns, so that nothing waits.
#include "support/hand_backend.hpp"

using namespace rp::test;

namespace {

// The answer proves nothing: nobody knows whether the backend serves the connection.
void check_unproven(const Scene &scene, const rp_handoff_outcome &outcome, std::int32_t cause,
                    std::string_view detail) {
    check_fallback(outcome, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, cause,
                   RP_HANDOFF_OWNER_AMBIGUOUS);
    CHECK(outcome.may_have_reached_backend == 1);
    INFO(outcome.detail);
    CHECK(contains(outcome.detail, detail));
    check_ended(scene.broker, scene.request, scene.flags);
    CHECK(scene.client.is_served_by(scene.request.fd));
}

void check_refused(const Scene &scene, const rp_handoff_outcome &outcome) {
    check_fallback(outcome, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                   RP_HANDOFF_CAUSE_BACKEND_REFUSED, RP_HANDOFF_OWNER_BROKER);
    CHECK(outcome.may_have_reached_backend == 1);
    check_ended(scene.broker, scene.request, scene.flags);
}

void check_completed(const rp_handoff_outcome &outcome) {
    CHECK(outcome.result == RP_HANDOFF_COMPLETED);
    CHECK(outcome.ownership == RP_HANDOFF_OWNER_BACKEND);
    CHECK(outcome.stage == RP_HANDOFF_STAGE_NONE);
    CHECK(outcome.cause == RP_HANDOFF_CAUSE_NONE);
}

// A frame like that of an acknowledgement of this offer, to be spoilt.
struct Envelope {
    explicit Envelope(const ReceivedOffer &offer) : ack(offer.accepted()) {
        std::size_t consumed = 0;
        REQUIRE(rp_handoff_wire_decode_frame(ack.data(), ack.size(), &frame, &consumed) == RP_HANDOFF_OK);
    }
    Bytes ack; // the payload points into it
    rp_handoff_wire_frame frame = sized<rp_handoff_wire_frame>();
};

template <class Change>
void check_spoilt_envelope(Change change, std::string_view detail) {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) {
        Envelope envelope(offer);
        change(envelope.frame);
        scene.send(encoded(envelope.frame));
    };
    check_unproven(scene, scene.run(), RP_HANDOFF_CAUSE_ACK_MALFORMED, detail);
}

template <class Make>
void check_unrelated(Make make, std::string_view detail) {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) { scene.send(make(offer)); };
    check_unproven(scene, scene.run(), RP_HANDOFF_CAUSE_ACK_UNRELATED, detail);
}

// Sends the answer one byte at a time, a nanosecond or so after the other.
void trickle(Scene &scene, Bytes &rest, std::uint64_t step) {
    scene.time.now += step;
    if (!rest.empty()) {
        scene.send({rest.front()});
        rest.erase(rest.begin());
    }
}

} // namespace

TEST_CASE("the backend's acceptance makes the connection the backend's") {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) {
        CHECK(offer.service_name == "scene");
        CHECK(offer.correlation_id == 1);
        CHECK(scene.client.is_served_by(offer.fd.get()));
        scene.time.now += 7;
        scene.send(offer.accepted());
    };
    const rp_handoff_outcome outcome = scene.run();
    check_completed(outcome);
    CHECK(outcome.correlation_id == 1);
    CHECK(outcome.waited_ns == 7);
    check_ended(scene.broker, scene.request, scene.flags);
}

TEST_CASE("a refusal gives the connection back, with the backend's words cleaned of control characters") {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) {
        scene.send(offer.refused("too\tbusy\n\x1b[31mred\x7f \xc2\x85 \xc3\xa4"));
    };
    const rp_handoff_outcome outcome = scene.run();
    check_refused(scene, outcome);
    CHECK(std::string(outcome.detail) == "backend refused the handoff: too?busy??[31mred? ? \xc3\xa4");
}

TEST_CASE("a refusal without words is one all the same") {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) { scene.send(offer.refused()); };
    const rp_handoff_outcome outcome = scene.run();
    check_refused(scene, outcome);
    CHECK(contains(outcome.detail, "backend refused the handoff: "));
}

TEST_CASE("a long refusal is cut between two characters of its text") {
    Scene scene;
    const std::string prefix = "backend refused the handoff: ";
    std::string words(255 - prefix.size() - 1, 'x');
    scene.answer = [&](const ReceivedOffer &offer) { scene.send(offer.refused(words + "\xc3\xa4")); };
    CHECK(std::string(scene.run().detail) == prefix + words);
}

TEST_CASE("a refusal whose words are not UTF-8 is malformed") {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) {
        Bytes refusal = offer.refused("words");
        const std::string_view words = "words";
        const auto place = std::search(refusal.begin(), refusal.end(), words.begin(), words.end());
        REQUIRE(place != refusal.end());
        *place = 0xFF;
        scene.send(refusal);
    };
    check_unproven(scene, scene.run(), RP_HANDOFF_CAUSE_ACK_MALFORMED, "malformed");
}

TEST_CASE("an answer that does not begin with the framing byte 1 is malformed, and no more of it is read") {
    for (const int first : {0, 2, 255, static_cast<int>('H')}) {
        CAPTURE(first);
        Scene scene;
        scene.answer = [&](const ReceivedOffer &) { scene.send({static_cast<std::uint8_t>(first), 0, 0, 0, 0, 'x'}); };
        check_unproven(scene, scene.run(), RP_HANDOFF_CAUSE_ACK_MALFORMED, "framing version");
    }
}

TEST_CASE("an answer is as long as the cap at most") {
    for (const std::uint32_t cap : {0U, 100U, 1000U}) {
        const std::size_t limit = cap != 0 ? cap : 65536;
        for (const std::size_t length : {limit - 1, limit, limit + 1}) {
            CAPTURE(length);
            auto options = sized<rp_handoff_broker_options>();
            options.max_frame_bytes = cap;
            Scene scene(options);
            scene.answer = [&](const ReceivedOffer &offer) { scene.send(padded_to(offer.accepted(), length)); };
            const rp_handoff_outcome outcome = scene.run();
            if (length > limit) {
                check_unproven(scene, outcome, RP_HANDOFF_CAUSE_ACK_MALFORMED, "too long");
            } else {
                check_completed(outcome);
            }
        }
    }
}

TEST_CASE("an answer that claims four gigabytes is malformed at once") {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &) { scene.send({1, 255, 255, 255, 255}); };
    check_unproven(scene, scene.run(), RP_HANDOFF_CAUSE_ACK_MALFORMED, "too long");
}

TEST_CASE("an answer that is no message is malformed") {
    const Bytes bodies[] = {{1, 0, 0, 0, 0}, {1, 1, 0, 0, 0, 0x07}, {1, 2, 0, 0, 0, 0x08, 0xFF}, {1, 1, 0, 0, 0, 0}};
    for (const Bytes &frame : bodies) {
        Scene scene;
        scene.answer = [&](const ReceivedOffer &) { scene.send(frame); };
        check_unproven(scene, scene.run(), RP_HANDOFF_CAUSE_ACK_MALFORMED, "malformed");
    }
}

TEST_CASE("an answer in an envelope of another version, kind, protocol or encoding is malformed") {
    for (const std::uint32_t version : {0U, 2U}) {
        check_spoilt_envelope([=](rp_handoff_wire_frame &frame) { frame.envelope_version = version; }, "not v1");
    }
    for (const std::int32_t kind :
         {int(RP_HANDOFF_KIND_REQUEST), int(RP_HANDOFF_KIND_EVENT), int(RP_HANDOFF_KIND_CANCEL), 4, 77}) {
        check_spoilt_envelope([=](rp_handoff_wire_frame &frame) { frame.kind = kind; }, "kind is not RESPONSE");
    }
    for (const std::uint32_t protocol : {0U, 0xD0FEU, 0x1D0FFU}) {
        check_spoilt_envelope([=](rp_handoff_wire_frame &frame) { frame.payload_protocol = protocol; },
                              "payload_protocol is not handoff");
    }
    for (const std::int32_t encoding : {int(RP_HANDOFF_ENCODING_ZSTD), int(RP_HANDOFF_ENCODING_LZ4), 9}) {
        check_spoilt_envelope([=](rp_handoff_wire_frame &frame) { frame.payload_encoding = encoding; }, "malformed");
    }
}

TEST_CASE("an answer whose frame has another request id than its payload is malformed") {
    check_spoilt_envelope([](rp_handoff_wire_frame &frame) { frame.request_id += 1; }, "request_id");
}

TEST_CASE("an answer whose payload is no message is malformed") {
    check_spoilt_envelope(
        [](rp_handoff_wire_frame &frame) {
            static const std::uint8_t truncated[] = {0x0A, 16, 1};
            frame.payload = truncated;
            frame.payload_length = sizeof truncated;
        },
        "payload is not a valid message");
}

TEST_CASE("an acceptance of another token is not one of this handoff") {
    for (const std::size_t changed : {0U, 7U, 8U, 15U}) {
        check_unrelated(
            [=](const ReceivedOffer &offer) {
                rp_handoff_token other = offer.token;
                other.bytes[changed] ^= 0x80U;
                return encoded(wire_ack(other, true, offer.correlation_id));
            },
            "another token");
    }
}

TEST_CASE("an acceptance of a token that is cut, longer or missing is not one of this handoff") {
    for (const std::size_t length : {0U, 15U, 17U}) {
        check_unrelated(
            [=](const ReceivedOffer &offer) {
                std::uint8_t bytes[17] = {};
                std::copy_n(offer.token.bytes, 16, bytes);
                rp_handoff_wire_ack ack = wire_ack(offer.token, true, offer.correlation_id);
                ack.token = bytes;
                ack.token_length = length;
                return encoded(ack);
            },
            "another token");
    }
}

TEST_CASE("an answer of another correlation id is not one of this handoff, be it an acceptance or a refusal") {
    for (const bool accepted : {true, false}) {
        check_unrelated(
            [=](const ReceivedOffer &offer) {
                return encoded(wire_ack(offer.token, accepted, offer.correlation_id + 1));
            },
            "another correlation id");
    }
}

TEST_CASE("a refusal of another token does not give the connection back") {
    check_unrelated(
        [](const ReceivedOffer &offer) { return encoded(wire_ack(token_of(1), false, offer.correlation_id)); },
        "another token");
}

TEST_CASE("an acceptance with fields that nobody knows yet counts, and nothing behind it is read") {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) {
        scene.send(padded_to(offer.accepted(), 200));
        scene.send({'n', 'e', 'x', 't'});
    };
    check_completed(scene.run());
    CHECK(read_available(scene.connection.a.get()) == Bytes{'n', 'e', 'x', 't'});
}

TEST_CASE("a backend that closes the connection in the middle of its answer proves nothing") {
    struct End {
        std::size_t sent;
        const char *part;
    };
    for (const End end : {End{0, "framing"}, End{1, "length"}, End{4, "length"}, End{5, "body"}, End{6, "body"}}) {
        CAPTURE(end.sent);
        Scene scene;
        scene.answer = [&](const ReceivedOffer &offer) {
            Bytes acceptance = offer.accepted();
            acceptance.resize(end.sent);
            scene.send(acceptance);
            scene.close();
        };
        const rp_handoff_outcome outcome = scene.run();
        check_unproven(scene, outcome, RP_HANDOFF_CAUSE_BACKEND_CLOSED, end.part);
        CHECK(outcome.os_error == 0);
    }
}

TEST_CASE("a backend that closes the connection with the offer unread proves nothing either") {
    Scene scene;
    scene.time.meanwhile = [&] { scene.close(); };
    const rp_handoff_outcome outcome = scene.run();
    check_unproven(scene, outcome, RP_HANDOFF_CAUSE_BACKEND_CLOSED, "framing");
    CHECK(outcome.os_error == ECONNRESET);
}

TEST_CASE("an acceptance one nanosecond before the deadline is in time, and at the deadline it is late") {
    for (const std::uint64_t early : {1U, 0U}) {
        CAPTURE(early);
        Scene scene;
        scene.answer = [&](const ReceivedOffer &offer) {
            scene.send(offer.accepted());
            scene.time.now = scene.deadline - early;
        };
        const rp_handoff_outcome outcome = scene.run();
        if (early == 1) {
            check_completed(outcome);
            CHECK(outcome.waited_ns == 5 * second - 1);
        } else {
            check_unproven(scene, outcome, RP_HANDOFF_CAUSE_ACK_TIMED_OUT, "timed out");
        }
    }
}

TEST_CASE("a backend that says nothing is given up at the deadline") {
    Scene scene;
    check_unproven(scene, scene.run(), RP_HANDOFF_CAUSE_ACK_TIMED_OUT, "timed out");
    CHECK(scene.time.now == scene.deadline);
}

TEST_CASE(
    "an answer that trickles in byte by byte is taken if it is whole in time, and does not stretch the deadline") {
    auto options = sized<rp_handoff_broker_options>();
    options.ack_deadline_ns = 1000;
    for (const bool in_time : {true, false}) {
        CAPTURE(in_time);
        Scene scene(options);
        Bytes rest;
        std::uint64_t step = 0;
        scene.answer = [&](const ReceivedOffer &offer) {
            rest = offer.accepted();
            step = 1000 / rest.size() + (in_time ? 0 : 1);
            scene.time.now = scene.deadline - 1000;
            trickle(scene, rest, step);
        };
        scene.afterwards = [&] { trickle(scene, rest, step); };
        const rp_handoff_outcome outcome = scene.run();
        if (in_time) {
            check_completed(outcome);
        } else {
            check_unproven(scene, outcome, RP_HANDOFF_CAUSE_ACK_TIMED_OUT, "timed out");
            CHECK(scene.time.now < scene.deadline + step);
        }
    }
}

TEST_CASE("a clock that is set back while the answer is awaited does no harm") {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) {
        scene.time.now = 1;
        scene.send(offer.accepted());
    };
    const rp_handoff_outcome outcome = scene.run();
    check_completed(outcome);
    CHECK(outcome.waited_ns == 0);
    CHECK(outcome.elapsed_ns == 0);
}

TEST_CASE("a clock that breaks while the answer is awaited ends the handoff") {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) {
        scene.time.broken = true;
        scene.send(offer.accepted());
    };
    check_fallback(scene.run(), RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                   RP_HANDOFF_CAUSE_ACK_TIMED_OUT, RP_HANDOFF_OWNER_AMBIGUOUS);
}

TEST_CASE("a descriptor that comes with an answer is not kept") {
    Scene scene;
    SocketPair sent;
    scene.answer = [&](const ReceivedOffer &offer) {
        const Bytes acceptance = offer.accepted();
        std::size_t length = 0;
        REQUIRE(rp_handoff_wire_send(scene.connection.b.get(), sent.b.get(), acceptance.data(), acceptance.size(),
                                     &length) == RP_HANDOFF_OK);
        sent.b.reset();
    };
    check_completed(scene.run());
    CHECK(is_at_end(sent.a.get()));
}
