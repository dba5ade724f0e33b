// What execute makes of a handoff: the outcome member by member, for whatever the other end does.
#include "support/exchange.hpp"

#include <cerrno>

#include "support/descriptors.hpp"

using namespace rp::test;

namespace {

// The token is the first that a FakeRandom gives.
const rp_handoff_token first_token = token_of(1);

void check_at_broker(const rp_handoff_outcome &outcome, std::int32_t reason, std::int32_t cause,
                     std::int32_t os_error) {
    check_fallback(outcome, RP_HANDOFF_STAGE_SEND, reason, cause, RP_HANDOFF_OWNER_BROKER);
    CHECK(outcome.os_error == os_error);
    CHECK(outcome.may_have_reached_backend == 0);
}

void check_answer(const rp_handoff_outcome &outcome, std::int32_t cause, std::int32_t ownership) {
    check_fallback(outcome, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, cause, ownership);
    CHECK(outcome.may_have_reached_backend == 1);
}

bool contains(const rp_handoff_outcome &outcome, std::string_view text) {
    return std::string_view(outcome.detail).find(text) != std::string_view::npos;
}

} // namespace

TEST_CASE("a handoff that is acknowledged is completed, and the connection is the backend's") {
    Exchange exchange;
    const rp_handoff_token token = issue(exchange.broker);
    exchange.time.now += 40;
    const auto accept = exchange.serve;
    exchange.serve = [&] {
        exchange.time.now += 2;
        accept();
    };
    const int flags = fcntl(exchange.client.fd.get(), F_GETFL);
    const rp_handoff_outcome outcome = exchange.hand_over(token);
    CHECK(outcome.struct_size == sizeof outcome);
    CHECK(outcome.result == RP_HANDOFF_COMPLETED);
    CHECK(outcome.ownership == RP_HANDOFF_OWNER_BACKEND);
    CHECK(outcome.stage == RP_HANDOFF_STAGE_NONE);
    CHECK(outcome.reason == RP_HANDOFF_REASON_NONE);
    CHECK(outcome.cause == RP_HANDOFF_CAUSE_NONE);
    CHECK(outcome.os_error == 0);
    CHECK(outcome.may_have_reached_backend == 1);
    CHECK(outcome.correlation_id == 1);
    CHECK(outcome.waited_ns == 42);
    CHECK(outcome.elapsed_ns == 2);
    CHECK(std::string(outcome.detail) == "");

    CHECK(exchange.client.is_served_by(exchange.adopted.get()));
    CHECK(fcntl(exchange.adopted.get(), F_GETFD) == FD_CLOEXEC);
    CHECK(is_open(exchange.client.fd.get()));
    CHECK(fcntl(exchange.client.fd.get(), F_GETFL) == flags);
    CHECK(statistics(exchange.broker).completed == 1);
}

TEST_CASE("correlation ids are the broker's next or the caller's own") {
    Exchange exchange;
    std::uint64_t seen = 0;
    exchange.serve = [&] {
        const Offer offer = take_offer(exchange.backend);
        seen = info_of(offer).correlation_id;
        CHECK(rp_handoff_offer_refuse(offer.get(), nullptr) == RP_HANDOFF_OK);
    };
    for (const std::uint64_t wanted : {0ULL, 77ULL, 0ULL, ~0ULL}) {
        rp_handoff_request request = exchange.request(issue(exchange.broker));
        request.correlation_id = wanted;
        const rp_handoff_outcome outcome = execute(exchange.broker, request);
        CHECK(outcome.correlation_id == seen);
        if (wanted != 0) {
            CHECK(outcome.correlation_id == wanted);
        }
    }
    exchange.hand_over(issue(exchange.broker));
    CHECK(seen == 3); // the third that was the broker's to choose
}

TEST_CASE("a refusal gives the connection back and says why") {
    Exchange exchange;
    exchange.serve = [&] {
        const Offer offer = take_offer(exchange.backend);
        CHECK(rp_handoff_offer_refuse(offer.get(), "overloaded") == RP_HANDOFF_OK);
    };
    const rp_handoff_outcome outcome = exchange.hand_over(issue(exchange.broker));
    check_answer(outcome, RP_HANDOFF_CAUSE_BACKEND_REFUSED, RP_HANDOFF_OWNER_BROKER);
    CHECK(contains(outcome, "backend refused the handoff: overloaded"));
    CHECK(exchange.client.is_served_by(exchange.client.fd.get()));
}

TEST_CASE("what a backend says is made fit for a log") {
    Exchange exchange;
    exchange.serve = [&] {
        const Offer offer = take_offer(exchange.backend);
        CHECK(rp_handoff_offer_refuse(offer.get(), "a\nb\x1B[31mc\xC2\x85\x7F") == RP_HANDOFF_OK);
    };
    CHECK(contains(exchange.hand_over(issue(exchange.broker)), ": a?b?[31mc??"));

    exchange.serve = [&] {
        const Offer offer = take_offer(exchange.backend);
        std::string euros;
        for (int i = 0; i < 340; ++i) {
            euros += "\xE2\x82\xAC"; // three bytes each
        }
        CHECK(rp_handoff_offer_refuse(offer.get(), euros.c_str()) == RP_HANDOFF_OK);
    };
    const rp_handoff_outcome outcome = exchange.hand_over(issue(exchange.broker));
    const std::string_view detail = outcome.detail;
    CHECK(detail.size() >= sizeof outcome.detail - 3);
    CHECK(detail.size() < sizeof outcome.detail);
    CHECK(detail.substr(detail.size() - 3) == "\xE2\x82\xAC"); // not cut within a character
}

TEST_CASE("an answer that is not an acknowledgement of this handoff leaves the ownership open") {
    HandBackend peer;
    const auto cause_of = [&peer](const Bytes &answer) {
        const rp_handoff_outcome outcome = peer.hand_over(issue(peer.broker), answer);
        check_answer(outcome, outcome.cause, RP_HANDOFF_OWNER_AMBIGUOUS);
        read_available(peer.pair.a.get()); // what was left unread
        return outcome.cause;
    };
    const rp_handoff_token other = token_of(200);
    CHECK(cause_of({2, 0, 0, 0, 0}) == RP_HANDOFF_CAUSE_ACK_MALFORMED);             // another framing
    CHECK(cause_of({1, 0, 0, 0, 0}) == RP_HANDOFF_CAUSE_ACK_MALFORMED);             // an empty frame
    CHECK(cause_of({1, 0xFF, 0xFF, 0xFF, 0xFF}) == RP_HANDOFF_CAUSE_ACK_MALFORMED); // a huge one
    CHECK(cause_of({1, 1, 0, 0, 0, 0xFF}) == RP_HANDOFF_CAUSE_ACK_MALFORMED);
    CHECK(cause_of(encoded(wire_offer(other, "service", 7))) == RP_HANDOFF_CAUSE_ACK_MALFORMED);
    CHECK(cause_of(encoded(wire_ack(other, true, 7), RP_HANDOFF_KIND_EVENT)) == RP_HANDOFF_CAUSE_ACK_MALFORMED);
    CHECK(cause_of(encoded(wire_ack(other, true, 7))) == RP_HANDOFF_CAUSE_ACK_UNRELATED);
    CHECK(cause_of(encoded(wire_ack(other, false, 7))) == RP_HANDOFF_CAUSE_ACK_UNRELATED); // also a refusal
    auto short_token = wire_ack(other, true, 7);
    short_token.token_length = 15;
    CHECK(cause_of(encoded(short_token)) == RP_HANDOFF_CAUSE_ACK_UNRELATED);
}

TEST_CASE("an acknowledgement with another correlation id is of another handoff") {
    HandBackend peer;
    rp_handoff_token token = issue(peer.broker);
    check_answer(peer.hand_over(token, encoded(wire_ack(token, true, 8))), RP_HANDOFF_CAUSE_ACK_UNRELATED,
                 RP_HANDOFF_OWNER_AMBIGUOUS);
    token = issue(peer.broker);
    CHECK(peer.hand_over(token, encoded(wire_ack(token, true, 7))).result == RP_HANDOFF_COMPLETED);
}

TEST_CASE("an answer that stops in the middle is none, and neither is the end of the connection") {
    HandBackend peer;
    const rp_handoff_token token = issue(peer.broker);
    Bytes answer = encoded(wire_ack(token, true, 7));
    answer.pop_back();
    check_answer(peer.hand_over(token, answer), RP_HANDOFF_CAUSE_ACK_TIMED_OUT, RP_HANDOFF_OWNER_AMBIGUOUS);

    peer.time.meanwhile = [&peer] { shutdown(peer.pair.b.get(), SHUT_WR); };
    check_answer(peer.hand_over(issue(peer.broker), {}), RP_HANDOFF_CAUSE_BACKEND_CLOSED, RP_HANDOFF_OWNER_AMBIGUOUS);
    peer.time.meanwhile = [&peer] { peer.pair.b.reset(); }; // with the offer unread: a reset
    check_answer(peer.hand_over(issue(peer.broker), {}), RP_HANDOFF_CAUSE_BACKEND_CLOSED, RP_HANDOFF_OWNER_AMBIGUOUS);
}

TEST_CASE("where nobody can be reached the connection stays the broker's") {
    const Broker broker = make_broker();
    const ClientConnection client;
    rp_handoff_request request = request_to_nowhere(issue(broker), client.fd.get());
    check_at_broker(execute(broker, request), RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                    RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, ENOENT);

    const std::string longest = "/nowhere/" + std::string(98, 'x'); // 107 bytes: as long as a path can be
    request.socket_path = longest.c_str();
    request.token = issue(broker);
    check_at_broker(execute(broker, request), RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                    RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, ENOENT);

    SocketPair pair;
    pair.b.reset();
    check_at_broker(execute(broker, request_over(pair.a.get(), client.fd.get(), issue(broker))),
                    RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, EPIPE);
}

TEST_CASE("a descriptor that cannot be sent is a fallback with its errno") {
    const Broker broker = make_broker();
    const ClientConnection client;
    const SocketPair pair;
    const int closed = dup(client.fd.get());
    close(closed);
    check_at_broker(execute(broker, request_over(pair.a.get(), closed, issue(broker))),
                    RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, RP_HANDOFF_CAUSE_SEND_FAILED, EBADF);
}

TEST_CASE("a full connection is a fallback at once, not a wait") {
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const ClientConnection client;
    const SocketPair pair;
    const Bytes filling(1 << 16);
    while (send(pair.a.get(), filling.data(), filling.size(), MSG_DONTWAIT) > 0) {
    }
    check_at_broker(execute(broker, request_over(pair.a.get(), client.fd.get(), issue(broker))),
                    RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, RP_HANDOFF_CAUSE_WOULD_BLOCK, EAGAIN);
    CHECK(time.waits == 0);
}

TEST_CASE("whom the peer settings do not allow is sent nothing") {
    const std::uint32_t nobody_here = geteuid() + 1;
    auto options = sized<rp_handoff_broker_options>();
    options.peer_uids = &nobody_here;
    options.peer_uids_length = 1;
    HandBackend peer(options);
    rp_handoff_request request = request_over(peer.pair.a.get(), peer.client.fd.get(), issue(peer.broker));
    request.connection_trust = RP_HANDOFF_TRUST_CREDENTIALS;
    check_at_broker(execute(peer.broker, request), RP_HANDOFF_REASON_PERMISSION_DENIED, RP_HANDOFF_CAUSE_PEER_REJECTED,
                    0);
    CHECK(read_available(peer.pair.b.get()).empty());
    CHECK(statistics(peer.broker).fallbacks_by_reason[RP_HANDOFF_REASON_PERMISSION_DENIED] == 1);

    // The caller's word is enough where it says so.
    const rp_handoff_token token = issue(peer.broker);
    CHECK(peer.hand_over(token, encoded(wire_ack(token, true, 7))).result == RP_HANDOFF_COMPLETED);
}

TEST_CASE("a token that was issued for a process is for that one only, if the broker is told to look") {
    const auto self = static_cast<std::uint32_t>(getpid());
    auto options = sized<rp_handoff_broker_options>();
    options.peer_flags = RP_HANDOFF_PEER_MATCH_PID;
    HandBackend peer(options);
    const auto cause_for = [&peer](std::uint32_t pid) {
        const rp_handoff_token token = issue(peer.broker, "service", pid);
        peer.answer = encoded(wire_ack(token, true, 7));
        rp_handoff_request request = request_over(peer.pair.a.get(), peer.client.fd.get(), token);
        request.connection_trust = RP_HANDOFF_TRUST_CREDENTIALS;
        request.correlation_id = 7;
        return execute(peer.broker, request).cause;
    };
    CHECK(cause_for(self) == RP_HANDOFF_CAUSE_NONE);
    CHECK(cause_for(0) == RP_HANDOFF_CAUSE_NONE);
    CHECK(cause_for(self + 1) == RP_HANDOFF_CAUSE_PEER_REJECTED);
}

TEST_CASE("a path goes before a connection") {
    HandBackend peer;
    rp_handoff_request request = request_over(peer.pair.a.get(), peer.client.fd.get(), issue(peer.broker));
    request.socket_path = "/nowhere/socket";
    check_at_broker(execute(peer.broker, request), RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                    RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, ENOENT);
    CHECK(read_available(peer.pair.b.get()).empty());
}

TEST_CASE("what leaves is one message: the token with the descriptor on its first byte, and the framed offer") {
    HandBackend peer;
    const rp_handoff_token token = issue(peer.broker, "build-cache");
    peer.hand_over(token, {});
    std::uint8_t sideband[16];
    std::int32_t fd = -1;
    REQUIRE(rp_handoff_wire_receive(peer.pair.b.get(), sideband, sizeof sideband, 60 * second, &fd) == RP_HANDOFF_OK);
    CHECK(peer.client.is_served_by(UniqueFd(fd).get()));
    CHECK(std::memcmp(sideband, token.bytes, sizeof sideband) == 0);
    const Bytes rest = read_available(peer.pair.b.get());
    CHECK(rest == encoded(wire_offer(token, "build-cache", 7)));
}

TEST_CASE("execute neither opens nor closes a descriptor") {
    Exchange exchange;
    const Descriptors before = open_descriptors();
    exchange.hand_over(issue(exchange.broker));
    exchange.adopted.reset();
    rp_handoff_request request = exchange.request(issue(exchange.broker));
    request.socket_path = "/nowhere/socket";
    execute(exchange.broker, request);
    CHECK(open_descriptors() == before);
}

TEST_CASE("no detail shows a token") {
    Exchange exchange;
    rp_handoff_request request = exchange.request(issue(exchange.broker));
    CHECK(rp_handoff_token_equal(&request.token, &first_token) == 1);
    exchange.serve = [] {};
    const rp_handoff_outcome outcome = execute(exchange.broker, request);
    CHECK_FALSE(contains(outcome, std::string(2, '\x01')));
    CHECK_FALSE(contains(outcome, "0101"));
}
