// A limit L is passed when now >= L: each limit of the API one nanosecond before it and at it, with a clock that stands
// still, that was set back, that fails, and where an instant does not fit.
#include "support/api.hpp"
#include "support/exchange.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t ttl = 1000;
constexpr std::uint64_t ack_deadline = 100;

rp_handoff_broker_options short_lived() {
    auto options = sized<rp_handoff_broker_options>();
    options.token_ttl_ns = ttl;
    options.ack_deadline_ns = ack_deadline;
    return options;
}

rp_handoff_backend_options short_lived_backend() {
    auto options = sized<rp_handoff_backend_options>();
    options.token_ttl_ns = ttl;
    return options;
}

// A broker whose clock the test turns, and a connection on which nobody answers.
struct Timed {
    explicit Timed(const rp_handoff_broker_options &options = short_lived()) : broker(make_broker(time.in(options))) {}

    std::int32_t execute_status(const rp_handoff_token &token, rp_handoff_outcome *outcome) const {
        const rp_handoff_request request = request_over(pair.a.get(), client.fd.get(), token);
        return rp_handoff_broker_execute(broker.get(), &request, outcome, nullptr);
    }
    rp_handoff_outcome execute(const rp_handoff_token &token) const {
        auto outcome = sized<rp_handoff_outcome>();
        REQUIRE(execute_status(token, &outcome) == RP_HANDOFF_OK);
        return outcome;
    }
    std::int32_t refused(const rp_handoff_token &token) const {
        OutStruct<rp_handoff_outcome> outcome;
        const std::int32_t status = execute_status(token, outcome.get());
        CHECK(outcome.untouched());
        return status;
    }
    std::int32_t acknowledge(const rp_handoff_token &token, std::uint64_t observed) const {
        waited = UINT64_MAX;
        return rp_handoff_broker_acknowledge(broker.get(), &token, observed, &waited);
    }
    std::uint32_t swept() const { return rp::test::sweep(broker.get()); }

    FakeTime time;
    Broker broker;
    SocketPair pair;
    ClientConnection client;
    mutable std::uint64_t waited = 0;
};

void check_too_late_to_send(const rp_handoff_outcome &outcome, const Timed &timed) {
    check_fallback(outcome, RP_HANDOFF_STAGE_SEND, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                   RP_HANDOFF_CAUSE_DEADLINE_BEFORE_SEND, RP_HANDOFF_OWNER_BROKER);
    CHECK(outcome.may_have_reached_backend == 0);
    CHECK(read_available(timed.pair.b.get()).empty());
}

std::int32_t consume(const Backend &backend, const rp_handoff_token &token) {
    return rp_handoff_backend_consume(backend.get(), &token, token.bytes, sizeof token.bytes);
}

const rp_handoff_token token = token_of(1);

} // namespace

TEST_CASE("an acknowledgement is in time one nanosecond before its deadline and late at it") {
    const Timed timed;
    const std::uint64_t start = timed.time.now;
    CHECK(timed.acknowledge(issue(timed.broker), start + ack_deadline - 1) == RP_HANDOFF_OK);
    CHECK(timed.waited == ack_deadline - 1);
    CHECK(timed.acknowledge(issue(timed.broker), start + ack_deadline) == RP_HANDOFF_ERR_ACK_OVERDUE);
    CHECK(timed.acknowledge(issue(timed.broker), UINT64_MAX) == RP_HANDOFF_ERR_ACK_OVERDUE);
    CHECK(timed.waited == UINT64_MAX);
}

TEST_CASE("a clock that was set back makes no acknowledgement late and no wait negative") {
    Timed timed;
    const rp_handoff_token issued = issue(timed.broker);
    timed.time.now -= 500;
    CHECK(timed.acknowledge(issued, timed.time.now) == RP_HANDOFF_OK);
    CHECK(timed.waited == 0);
    CHECK(timed.acknowledge(issue(timed.broker), 0) == RP_HANDOFF_OK);
    CHECK(timed.waited == 0);
}

TEST_CASE("sweep takes a handoff at its deadline and not one nanosecond before") {
    Timed timed;
    issue(timed.broker);
    timed.time.now += ack_deadline - 1;
    CHECK(timed.swept() == 0);
    ++timed.time.now;
    CHECK(timed.swept() == 1);
}

TEST_CASE("sweep takes what is due by a clock that was set back, whatever the order of issue") {
    Timed timed;
    issue(timed.broker); // due at +100
    timed.time.now -= 50;
    issue(timed.broker); // due at +50
    timed.time.now += ack_deadline;
    CHECK(timed.swept() == 1);
    timed.time.now += 50;
    CHECK(timed.swept() == 1);
}

TEST_CASE("a handoff begins one nanosecond before its deadline and not at it") {
    Timed timed;
    const rp_handoff_token first = issue(timed.broker);
    const rp_handoff_token late = issue(timed.broker);
    timed.time.now += ack_deadline - 1;
    check_fallback(timed.execute(first), RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                   RP_HANDOFF_CAUSE_ACK_TIMED_OUT, RP_HANDOFF_OWNER_AMBIGUOUS);
    CHECK_FALSE(read_available(timed.pair.b.get()).empty());
    check_too_late_to_send(timed.execute(late), timed); // the wait has taken the clock to the deadline
}

TEST_CASE("a token is good one nanosecond before the end of its life and expired at it") {
    Timed timed;
    const rp_handoff_token first = issue(timed.broker);
    const rp_handoff_token second_one = issue(timed.broker);
    timed.time.now += ttl - 1;
    check_too_late_to_send(timed.execute(first), timed); // its deadline came long before
    ++timed.time.now;
    CHECK(timed.refused(second_one) == RP_HANDOFF_ERR_TOKEN_EXPIRED);
    CHECK(timed.refused(second_one) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
    CHECK(statistics(timed.broker).pending_acks == 0);
}

TEST_CASE("expired tokens make room for new ones at the end of their life and not one nanosecond before") {
    auto options = short_lived();
    options.max_pending = 1;
    Timed timed(options);
    Out<rp_handoff_token> out;
    issue(timed.broker);
    timed.time.now += ttl - 1;
    CHECK(rp_handoff_broker_issue(timed.broker.get(), "service", 0, out.get()) == RP_HANDOFF_ERR_LIMIT);
    CHECK(out.untouched());
    ++timed.time.now;
    CHECK(rp_handoff_broker_issue(timed.broker.get(), "service", 0, out.get()) == RP_HANDOFF_OK);
    CHECK(statistics(timed.broker).pending_tokens == 1);
    CHECK(statistics(timed.broker).pending_acks == 1);
}

TEST_CASE("an answer that is read one nanosecond before the deadline completes, one at it does not") {
    for (const std::uint64_t late : {0U, 1U}) {
        HandBackend peer(short_lived());
        const rp_handoff_token issued = issue(peer.broker);
        const auto answer = peer.time.meanwhile;
        peer.time.meanwhile = [&] {
            answer();
            peer.time.now += ack_deadline - 1 + late;
        };
        const rp_handoff_outcome outcome = peer.hand_over(issued, encoded(wire_ack(issued, true, 7)));
        if (late == 0) {
            CHECK(outcome.result == RP_HANDOFF_COMPLETED);
            CHECK(outcome.waited_ns == ack_deadline - 1);
        } else {
            check_fallback(outcome, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                           RP_HANDOFF_CAUSE_ACK_TIMED_OUT, RP_HANDOFF_OWNER_AMBIGUOUS);
        }
    }
}

TEST_CASE("a backend that trickles its answer cannot stretch the deadline") {
    HandBackend peer(short_lived());
    const rp_handoff_token issued = issue(peer.broker);
    const Bytes answer = encoded(wire_ack(issued, true, 7));
    std::size_t next = 0;
    peer.time.meanwhile = [&] {
        write_all(peer.pair.b.get(), {answer[next++]});
        peer.time.now += 10;
    };
    check_fallback(peer.hand_over(issued, {}), RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                   RP_HANDOFF_CAUSE_ACK_TIMED_OUT, RP_HANDOFF_OWNER_AMBIGUOUS);
    CHECK(next == 10);
}

TEST_CASE("a clock that was set back during a handoff makes no time negative") {
    Exchange exchange;
    const auto accept = exchange.serve;
    exchange.serve = [&] {
        exchange.time.now -= 500;
        accept();
    };
    const rp_handoff_outcome outcome = exchange.hand_over(issue(exchange.broker));
    CHECK(outcome.result == RP_HANDOFF_COMPLETED);
    CHECK(outcome.waited_ns == 0);
    CHECK(outcome.elapsed_ns == 0);
}

TEST_CASE("a clock that stands still hangs nothing") {
    Timed timed;
    timed.time.meanwhile = [&timed, now = timed.time.now] { timed.time.now = now; };
    const rp_handoff_outcome outcome = timed.execute(issue(timed.broker));
    CHECK(outcome.cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    CHECK(timed.time.waits == 1);
    FakeTime still;
    const Backend backend = make_backend(still.in(sized<rp_handoff_backend_options>()));
    Out<rp_handoff_offer *> offer;
    CHECK(rp_handoff_backend_next_offer(backend.get(), 1, offer.get()) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, offer.get()) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(offer.untouched());
    CHECK(still.waits == 2);
}

TEST_CASE("a life that does not fit into time is the longest there is") {
    for (const std::uint64_t life : {RP_HANDOFF_FOREVER, UINT64_MAX - 1}) {
        auto options = sized<rp_handoff_broker_options>();
        options.token_ttl_ns = life;
        const Timed timed(options);
        CHECK(timed.execute(issue(timed.broker)).cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    }
}

TEST_CASE("a deadline that does not fit into time is due at once") {
    auto options = sized<rp_handoff_broker_options>();
    Timed timed(options);
    timed.time.now = UINT64_MAX - 10 * second; // the deadline fits, the end of the token's life does not
    CHECK(timed.refused(issue(timed.broker)) == RP_HANDOFF_ERR_TOKEN_EXPIRED);
    options.token_ttl_ns = 200;
    options.ack_deadline_ns = 100;
    const auto acknowledged_at_once = [&options](std::uint64_t now) {
        Timed at_the_end(options);
        at_the_end.time.now = now;
        return at_the_end.acknowledge(issue(at_the_end.broker), now);
    };
    CHECK(acknowledged_at_once(UINT64_MAX - 100) == RP_HANDOFF_OK);
    CHECK(acknowledged_at_once(UINT64_MAX - 99) == RP_HANDOFF_ERR_ACK_OVERDUE);
    CHECK(acknowledged_at_once(UINT64_MAX) == RP_HANDOFF_ERR_ACK_OVERDUE);
}

TEST_CASE("a clock that fails is the end of time: everything is due") {
    Timed timed;
    const rp_handoff_token before = issue(timed.broker);
    timed.time.broken = true;
    CHECK(timed.refused(before) == RP_HANDOFF_ERR_TOKEN_EXPIRED);
    CHECK(timed.refused(issue(timed.broker)) == RP_HANDOFF_ERR_TOKEN_EXPIRED);
    timed.time.broken = false;
    const rp_handoff_token another = issue(timed.broker);
    timed.time.broken = true;
    CHECK(timed.swept() == 1);
    CHECK(timed.refused(another) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);

    FakeTime broken;
    broken.broken = true;
    const Backend backend = make_backend(broken.in(sized<rp_handoff_backend_options>()));
    CHECK(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    CHECK(consume(backend, token) == RP_HANDOFF_ERR_TOKEN_EXPIRED);
    Out<rp_handoff_offer *> offer;
    CHECK(rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, offer.get()) == RP_HANDOFF_ERR_TIMED_OUT);
}

TEST_CASE("an announced token is good one nanosecond before the end of its life and expired at it") {
    FakeTime time;
    const Backend backend = make_backend(time.in(short_lived_backend()));
    REQUIRE(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    time.now += ttl - 1;
    CHECK(consume(backend, token) == RP_HANDOFF_OK);
    REQUIRE(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    time.now += ttl;
    // Expired goes before a mismatch, and it is gone then.
    const rp_handoff_token other = token_of(2);
    CHECK(rp_handoff_backend_consume(backend.get(), &token, other.bytes, 16) == RP_HANDOFF_ERR_TOKEN_EXPIRED);
    CHECK(consume(backend, token) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
}

TEST_CASE("announcing again starts a new life") {
    FakeTime time;
    const Backend backend = make_backend(time.in(short_lived_backend()));
    REQUIRE(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    time.now += ttl - 1;
    REQUIRE(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    time.now += ttl - 1;
    CHECK(consume(backend, token) == RP_HANDOFF_OK);
    REQUIRE(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    time.now -= 500; // set back: it lives on
    CHECK(consume(backend, token) == RP_HANDOFF_OK);
}

TEST_CASE("an offer can be accepted one nanosecond before its token's life ends and not at the end") {
    for (const std::uint64_t late : {0U, 1U}) {
        FakeTime time;
        const Backend backend = make_backend(time.in(short_lived_backend()));
        const HandBroker peer(backend);
        const ClientConnection client;
        peer.offer(client.fd.get(), token);
        const Offer offer = take_offer(backend);
        REQUIRE(offer);
        time.now += ttl - 1 + late;
        Out<std::int32_t> fd;
        const std::int32_t status = rp_handoff_offer_accept(offer.get(), fd.get());
        const auto answer = peer.answer();
        REQUIRE(answer);
        CHECK(answer->accepted == (late == 0));
        if (late == 0) {
            REQUIRE(status == RP_HANDOFF_OK);
            close(fd.value);
        } else {
            CHECK(status == RP_HANDOFF_ERR_TOKEN_EXPIRED);
            CHECK(fd.untouched());
            CHECK(answer->detail == "handoff token expired");
        }
    }
}

TEST_CASE("a used token is remembered for its time to live and no longer") {
    FakeTime time;
    const Backend backend = make_backend(time.in(short_lived_backend()));
    const HandBroker peer(backend);
    const ClientConnection client;
    const auto is_offered = [&] {
        peer.offer(client.fd.get(), token);
        const bool offered = static_cast<bool>(take_offer(backend));
        CHECK(peer.answer());
        return offered;
    };
    CHECK(is_offered());
    time.now += ttl - 1;
    CHECK_FALSE(is_offered());
    ++time.now;
    CHECK(is_offered());
}

TEST_CASE("an offer that does not fit into its time is dropped, on the nanosecond") {
    for (const std::uint64_t late : {0U, 1U}) {
        auto options = sized<rp_handoff_backend_options>();
        options.io_timeout_ns = 100;
        FakeTime time;
        const Backend backend = make_backend(time.in(options));
        const HandBroker peer(backend);
        const ClientConnection client;
        Bytes message(token.bytes, token.bytes + 16);
        const Bytes frame = encoded(wire_offer(token, "service", 7));
        message.insert(message.end(), frame.begin(), frame.end());
        std::size_t sent = 0;
        REQUIRE(rp_handoff_wire_send(peer.connection.get(), client.fd.get(), message.data(), 20, &sent) ==
                RP_HANDOFF_OK);
        CHECK_FALSE(take_offer(backend));
        time.now += 99 + late;
        write_all(peer.connection.get(), Bytes(message.begin() + 20, message.end()));
        CHECK(static_cast<bool>(take_offer(backend)) == (late == 0));
        CHECK(statistics(backend).rejected_offers == late);
    }
}
