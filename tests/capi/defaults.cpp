// Defaults and limits as the header has them, read back by what a broker and a backend do.
#include "support/exchange.hpp"

#include <numeric>

using namespace rp::test;

namespace {

std::int32_t broker_status(void (*change)(rp_handoff_broker_options &)) {
    auto options = sized<rp_handoff_broker_options>();
    change(options);
    rp_handoff_broker *broker = nullptr;
    const std::int32_t status = rp_handoff_broker_create(&options, &broker, nullptr);
    rp_handoff_broker_destroy(broker);
    return status;
}

std::int32_t backend_status(void (*change)(rp_handoff_backend_options &)) {
    auto options = sized<rp_handoff_backend_options>();
    change(options);
    rp_handoff_backend *backend = nullptr;
    const std::int32_t status = rp_handoff_backend_create(&options, &backend, nullptr);
    rp_handoff_backend_destroy(backend);
    return status;
}

std::int32_t issue_status(const Broker &broker) {
    rp_handoff_token token;
    return rp_handoff_broker_issue(broker.get(), "service", 0, &token);
}

// What execute makes of an acknowledgement whose body is so long.
std::int32_t cause_of_answer(HandBackend &peer, std::size_t body) {
    const rp_handoff_token token = issue(peer.broker);
    const std::int32_t cause = peer.hand_over(token, padded_to(encoded(wire_ack(token, true, 7)), body)).cause;
    read_available(peer.pair.a.get());
    return cause;
}

// Whether a backend takes an offer whose body is so long.
bool takes_offer(const Backend &backend, std::size_t body) {
    const HandBroker peer(backend);
    const ClientConnection client;
    static std::uint8_t next = 1;
    const rp_handoff_token token = token_of(next++);
    peer.offer(client.fd.get(), token, padded_to(encoded(wire_offer(token, "service", 7)), body));
    return static_cast<bool>(take_offer(backend));
}

} // namespace

TEST_CASE("a broker lets 1024 tokens be pending by default") {
    const Broker broker = make_broker();
    for (int i = 0; i < 1024; ++i) {
        REQUIRE(issue_status(broker) == RP_HANDOFF_OK);
    }
    CHECK(issue_status(broker) == RP_HANDOFF_ERR_LIMIT);
    CHECK(statistics(broker).pending_tokens == 1024);
}

TEST_CASE("a broker's tokens live for 30 s by default") {
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const rp_handoff_request first = request_to_nowhere(issue(broker));
    const rp_handoff_request late = request_to_nowhere(issue(broker));
    auto outcome = sized<rp_handoff_outcome>();
    time.now += 30 * second - 1;
    CHECK(rp_handoff_broker_execute(broker.get(), &first, &outcome, nullptr) == RP_HANDOFF_OK);
    ++time.now;
    CHECK(rp_handoff_broker_execute(broker.get(), &late, &outcome, nullptr) == RP_HANDOFF_ERR_TOKEN_EXPIRED);
}

TEST_CASE("an acknowledgement has 5 s by default") {
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const auto acknowledge = [&](std::uint64_t after) {
        const rp_handoff_token token = issue(broker);
        return rp_handoff_broker_acknowledge(broker.get(), &token, time.now + after, nullptr);
    };
    CHECK(acknowledge(5 * second - 1) == RP_HANDOFF_OK);
    CHECK(acknowledge(5 * second) == RP_HANDOFF_ERR_ACK_OVERDUE);
}

TEST_CASE("a broker draws 16 times by default before it gives up") {
    FakeRandom random;
    random.step = 0;
    const Broker broker = make_broker(random.in(sized<rp_handoff_broker_options>()));
    issue(broker);
    CHECK(issue_status(broker) == RP_HANDOFF_ERR_TOKEN_COLLISION);
    CHECK(random.calls == 1 + 16);
}

TEST_CASE("a broker reads answers of 64 KiB by default, and as long as it is told to") {
    {
        HandBackend peer;
        CHECK(cause_of_answer(peer, 65536) == RP_HANDOFF_CAUSE_NONE);
        CHECK(cause_of_answer(peer, 65537) == RP_HANDOFF_CAUSE_ACK_MALFORMED);
    }
    auto options = sized<rp_handoff_broker_options>();
    options.max_frame_bytes = 100;
    HandBackend peer(options);
    CHECK(cause_of_answer(peer, 100) == RP_HANDOFF_CAUSE_NONE);
    CHECK(cause_of_answer(peer, 101) == RP_HANDOFF_CAUSE_ACK_MALFORMED);
}

TEST_CASE("a backend has 64 connections by default, and as many as it is told to") {
    const Backend backend = make_backend();
    auto options = sized<rp_handoff_backend_options>();
    options.max_connections = 1;
    const Backend small = make_backend(options);
    for (const auto &[handle, limit] : {std::pair(&backend, 64U), std::pair(&small, 1U)}) {
        std::vector<UniqueFd> ends;
        const auto add = [&ends, to = handle->get()] {
            SocketPair pair;
            const std::int32_t status = rp_handoff_backend_add_connection(to, pair.b.get(), RP_HANDOFF_TRUST_CALLER);
            if (status == RP_HANDOFF_OK) {
                pair.b.release();
            }
            ends.push_back(std::move(pair.a));
            return status;
        };
        for (unsigned i = 0; i < limit; ++i) {
            REQUIRE(add() == RP_HANDOFF_OK);
        }
        CHECK(add() == RP_HANDOFF_ERR_LIMIT);
        CHECK(statistics(*handle).connections == limit);
    }
}

TEST_CASE("a backend expects 1024 tokens by default") {
    const Backend backend = make_backend();
    rp_handoff_token token{};
    for (std::uint32_t i = 0; i < 1024; ++i) {
        std::memcpy(token.bytes, &i, sizeof i);
        REQUIRE(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    }
    token.bytes[15] = 1;
    CHECK(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_ERR_LIMIT);
}

TEST_CASE("a backend's tokens live for 30 s by default") {
    FakeTime time;
    const Backend backend = make_backend(time.in(sized<rp_handoff_backend_options>()));
    const rp_handoff_token token = token_of(1);
    for (const std::uint64_t late : {0U, 1U}) {
        REQUIRE(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
        time.now += 30 * second - 1 + late;
        CHECK(rp_handoff_backend_consume(backend.get(), &token, token.bytes, 16) ==
              (late == 0 ? RP_HANDOFF_OK : RP_HANDOFF_ERR_TOKEN_EXPIRED));
    }
}

TEST_CASE("an offer has 5 s by default") {
    FakeTime time;
    const Backend backend = make_backend(time.in(sized<rp_handoff_backend_options>()));
    const HandBroker peer(backend);
    const ClientConnection client;
    const std::uint8_t byte = 1;
    std::size_t sent = 0;
    REQUIRE(rp_handoff_wire_send(peer.connection.get(), client.fd.get(), &byte, 1, &sent) == RP_HANDOFF_OK);
    CHECK_FALSE(take_offer(backend));
    std::uint64_t timeout = 0;
    REQUIRE(rp_handoff_backend_get_timeout(backend.get(), &timeout) == RP_HANDOFF_OK);
    CHECK(timeout == 5 * second);
}

TEST_CASE("a backend reads offers of 64 KiB by default, and as long as it is told to") {
    {
        const Backend backend = make_backend();
        CHECK(takes_offer(backend, 65536));
        CHECK_FALSE(takes_offer(backend, 65537));
        CHECK(statistics(backend).rejected_offers == 1);
    }
    auto options = sized<rp_handoff_backend_options>();
    options.max_frame_bytes = 100;
    const Backend backend = make_backend(options);
    CHECK(takes_offer(backend, 100));
    CHECK_FALSE(takes_offer(backend, 101));
}

TEST_CASE("limits are accepted at their bound and refused above it") {
    using BrokerOptions = rp_handoff_broker_options;
    using BackendOptions = rp_handoff_backend_options;
    const std::int32_t invalid = RP_HANDOFF_ERR_INVALID_ARGUMENT;
    CHECK(broker_status([](BrokerOptions &o) { o.max_pending = 16777216; }) == RP_HANDOFF_OK);
    CHECK(broker_status([](BrokerOptions &o) { o.max_pending = 16777217; }) == invalid);
    CHECK(broker_status([](BrokerOptions &o) { o.max_pending = UINT32_MAX; }) == invalid);
    CHECK(broker_status([](BrokerOptions &o) { o.max_frame_bytes = 16777216; }) == RP_HANDOFF_OK);
    CHECK(broker_status([](BrokerOptions &o) { o.max_frame_bytes = 16777217; }) == invalid);
    CHECK(broker_status([](BrokerOptions &o) { o.collision_attempts = UINT32_MAX; }) == RP_HANDOFF_OK);
    CHECK(broker_status([](BrokerOptions &o) { o.max_backends = 1048576; }) == RP_HANDOFF_OK);
    CHECK(broker_status([](BrokerOptions &o) { o.max_backends = 1048577; }) == invalid);
    CHECK(backend_status([](BackendOptions &o) { o.max_pending = 16777216; }) == RP_HANDOFF_OK);
    CHECK(backend_status([](BackendOptions &o) { o.max_pending = 16777217; }) == invalid);
    CHECK(backend_status([](BackendOptions &o) { o.max_connections = 65536; }) == RP_HANDOFF_OK);
    CHECK(backend_status([](BackendOptions &o) { o.max_connections = 65537; }) == invalid);
    CHECK(backend_status([](BackendOptions &o) { o.max_connections = UINT32_MAX; }) == invalid);
    CHECK(backend_status([](BackendOptions &o) { o.max_frame_bytes = 16777216; }) == RP_HANDOFF_OK);
    CHECK(backend_status([](BackendOptions &o) { o.max_frame_bytes = 16777217; }) == invalid);
    CHECK(backend_status([](BackendOptions &o) { o.token_ttl_ns = UINT64_MAX; }) == RP_HANDOFF_OK);
    CHECK(backend_status([](BackendOptions &o) { o.io_timeout_ns = UINT64_MAX; }) == RP_HANDOFF_OK);
}

TEST_CASE("64 user ids can be named, the last of them counts, and 65 are too many") {
    std::uint32_t uids[65];
    std::iota(std::begin(uids), std::end(uids), geteuid() + 1);
    uids[63] = geteuid();
    auto broker_options = sized<rp_handoff_broker_options>();
    auto backend_options = sized<rp_handoff_backend_options>();
    broker_options.peer_uids = backend_options.peer_uids = uids;
    broker_options.peer_uids_length = backend_options.peer_uids_length = 65;
    Out<rp_handoff_broker *> broker;
    Out<rp_handoff_backend *> backend;
    CHECK(rp_handoff_broker_create(&broker_options, broker.get(), nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp_handoff_backend_create(&backend_options, backend.get(), nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(broker.untouched());
    CHECK(backend.untouched());

    backend_options.peer_uids_length = broker_options.peer_uids_length = 64;
    const Backend allowing = make_backend(backend_options);
    HandBackend peer(broker_options);
    std::fill(std::begin(uids), std::end(uids), geteuid() + 1); // the lists were copied
    SocketPair pair;
    CHECK(rp_handoff_backend_add_connection(allowing.get(), pair.a.get(), RP_HANDOFF_TRUST_CREDENTIALS) ==
          RP_HANDOFF_OK);
    pair.a.release();
    rp_handoff_request request = request_over(peer.pair.a.get(), peer.client.fd.get(), issue(peer.broker));
    request.connection_trust = RP_HANDOFF_TRUST_CREDENTIALS;
    CHECK(execute(peer.broker, request).cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
}
