// Weaknesses of the crate that no peer can show from outside: what its library does not do, and this one does. The
// numbers are those of WEAKNESSES.md.
#include <algorithm>
#include <array>
#include <thread>

#include "support/api.hpp"
#include "support/hand_backend.hpp"
#include "support/process.hpp"
#include "support/server.hpp"

using namespace rp::test;

namespace {

using FrontDoor =
    std::unique_ptr<rp_handoff_front_door, Destroyer<rp_handoff_front_door, rp_handoff_front_door_destroy>>;

rp_handoff_backend_key key_of(const char *service, const char *hash = "") {
    auto key = sized<rp_handoff_backend_key>();
    key.service_name = service;
    key.service_version = "1.0.0";
    key.executable_hash = hash;
    return key;
}

rp_handoff_subject subject_of(const rp_handoff_backend_key &key) {
    auto subject = sized<rp_handoff_subject>();
    subject.client_supports = 1;
    subject.service_enabled = 1;
    subject.backend = &key;
    return subject;
}

rp_handoff_outcome fail_once(const Broker &broker, const rp_handoff_subject &subject) {
    rp_handoff_request request = request_to_nowhere(issue(broker));
    request.subject = &subject;
    return execute(broker, request);
}

rp_handoff_decision decide(const Broker &broker, const rp_handoff_subject &subject) {
    auto decision = sized<rp_handoff_decision>();
    REQUIRE(rp_handoff_broker_should_attempt(broker.get(), &subject, &decision, nullptr) == RP_HANDOFF_OK);
    return decision;
}

Bytes encoded_hello(std::uint64_t request_id = 1) {
    auto hello = sized<rp_handoff_wire_hello>();
    hello.client_min_protocol = hello.client_max_protocol = 1;
    hello.service_name = "service";
    hello.service_name_length = 7;
    hello.client_capabilities = RP_HANDOFF_CAPABILITY_HANDLE_PASSING;
    Bytes bytes(512);
    std::size_t length = 0;
    REQUIRE(rp_handoff_wire_encode_hello(&hello, request_id, bytes.data(), bytes.size(), &length) == RP_HANDOFF_OK);
    bytes.resize(length);
    return bytes;
}

// A front door for one service, on a clock of its own or the real one.
struct Door {
    explicit Door(const rp_handoff_broker_options &options = sized<rp_handoff_broker_options>())
        : broker(make_broker(options)) {
        rp_handoff_front_door *door = nullptr;
        REQUIRE(rp_handoff_front_door_create(broker.get(), nullptr, &door, nullptr) == RP_HANDOFF_OK);
        front_door.reset(door);
    }

    void put_service(const char *handoff_endpoint) const {
        auto service = sized<rp_handoff_front_door_service>();
        service.name = "service";
        service.backend_endpoint = "/nowhere/backend";
        service.handoff_endpoint = handoff_endpoint;
        REQUIRE(rp_handoff_front_door_put_service(front_door.get(), &service, nullptr) == RP_HANDOFF_OK);
    }

    rp_handoff_front_door_visit serve(int client, rp_handoff_outcome *outcome = nullptr) const {
        auto visit = sized<rp_handoff_front_door_visit>();
        REQUIRE(rp_handoff_front_door_serve(front_door.get(), client, &visit, outcome) == RP_HANDOFF_OK);
        return visit;
    }

    Broker broker;
    FrontDoor front_door;
};

// What a broker answers to the first Hello that comes, and then it closes the connection.
void answer_one_client(const UniqueFd &listener, const Bytes &bytes) {
    const UniqueFd client = accept_from(listener);
    char hello[4096];
    must(recv(client.get(), hello, sizeof hello, 0) > 0);
    must(send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
}

Bytes negotiated(const rp_handoff_token &token, const std::string &endpoint) {
    auto reply = sized<rp_handoff_wire_reply>();
    reply.choice = RP_HANDOFF_REPLY_NEGOTIATED;
    reply.negotiated_protocol = 1;
    reply.connection_id = 5;
    reply.backend_pipe = endpoint.data();
    reply.backend_pipe_length = endpoint.size();
    reply.server_capabilities = RP_HANDOFF_CAPABILITY_HANDLE_PASSING;
    reply.handle_passed_token = token.bytes;
    reply.handle_passed_token_length = sizeof token.bytes;
    Bytes bytes(1024);
    std::size_t length = 0;
    REQUIRE(rp_handoff_wire_encode_reply(&reply, 1, bytes.data(), bytes.size(), &length) == RP_HANDOFF_OK);
    bytes.resize(length);
    return bytes;
}

// By which route a client goes if a broker negotiates and then writes `after`.
std::int32_t route_after(const rp_handoff_token &token, const Bytes &after) {
    const Directory directory;
    const std::string path = directory / "broker";
    const std::string endpoint = directory / "backend";
    const UniqueFd broker = listener_at(path);
    const UniqueFd backend = listener_at(endpoint);
    Bytes answer = negotiated(token, endpoint);
    answer.insert(answer.end(), after.begin(), after.end());
    std::thread answering([&] { answer_one_client(broker, answer); });
    auto request = sized<rp_handoff_client_request>();
    request.broker_path = path.c_str();
    request.service_name = "service";
    request.adopt = 1;
    auto connection = sized<rp_handoff_client_connection>();
    const std::int32_t status = rp_handoff_client_connect(&request, &connection, nullptr);
    answering.join();
    REQUIRE(status == RP_HANDOFF_OK);
    const UniqueFd fd(connection.fd);
    return connection.route;
}

} // namespace

TEST_CASE("W09: a dial that finds no place in the backlog ends at the deadline, and nothing was sent") {
    const Directory directory;
    const std::string path = directory / "backend";
    const UniqueFd listener = listener_at(path, 0);
    const UniqueFd in_the_way = dial(path);
    auto options = sized<rp_handoff_broker_options>();
    options.ack_deadline_ns = second / 10;
    const Broker broker = make_broker(options);
    const ClientConnection client;
    const rp_handoff_outcome outcome = execute(broker, request_to(path, client.fd.get(), issue(broker)));
    check_fallback(outcome, RP_HANDOFF_STAGE_SEND, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, RP_HANDOFF_CAUSE_WOULD_BLOCK,
                   RP_HANDOFF_OWNER_BROKER);
    CHECK(outcome.may_have_reached_backend == 0);
}

TEST_CASE("W10: after eight handoffs that failed no ninth is attempted until their window ends") {
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const auto key = key_of("service");
    const auto subject = subject_of(key);
    for (int i = 0; i < 8; ++i) {
        CHECK(decide(broker, subject).attempt == 1);
        CHECK(fail_once(broker, subject).cause == RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE);
    }
    time.now += 30 * second - 1;
    const rp_handoff_outcome ninth = fail_once(broker, subject);
    CHECK(ninth.stage == RP_HANDOFF_STAGE_POLICY);
    CHECK(ninth.reason == RP_HANDOFF_REASON_FAILED_ATTEMPT_RATE_LIMITED);
    CHECK(ninth.ownership == RP_HANDOFF_OWNER_BROKER);
    CHECK(ninth.may_have_reached_backend == 0);
    CHECK(ninth.retry_after_ns == 1);
    time.now += 1;
    CHECK(fail_once(broker, subject).cause == RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE);
}

TEST_CASE("W10: a front door attempts no handoff that the broker's policy objects to, and issues no token") {
    Door door;
    door.put_service("/nowhere/handoff");
    REQUIRE(rp_handoff_broker_note_accept(door.broker.get(), EMFILE) == 1);
    const SocketPair pair;
    write_all(pair.b.get(), encoded_hello());
    const rp_handoff_front_door_visit visit = door.serve(pair.a.get());
    CHECK(visit.result == RP_HANDOFF_FRONT_DOOR_REFUSED);
    CHECK(visit.code == RP_HANDOFF_REFUSED_FD_PRESSURE);
    CHECK(visit.attempted == 0);
    CHECK(statistics(door.broker).issued == 0);
    CHECK(statistics(door.broker).fd_pressure_refusals == 1);
}

TEST_CASE("W14: the failures of as many backends as max_backends are remembered, and of no more") {
    auto options = sized<rp_handoff_broker_options>();
    options.max_backends = 4;
    const Broker broker = make_broker(options);
    for (std::uint32_t i = 0; i < 6; ++i) {
        const std::string name = "service " + std::to_string(i);
        const auto key = key_of(name.c_str());
        REQUIRE(rp_handoff_broker_record(broker.get(), &key, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, nullptr, nullptr) ==
                RP_HANDOFF_OK);
        CHECK(statistics(broker).backends_with_failures == std::min(i + 1, 4U));
    }
}

TEST_CASE("W14: the failures of a backend whose window has ended take no room from others") {
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const auto idle = key_of("idle");
    const auto busy = key_of("busy");
    const auto fail = [&](const rp_handoff_backend_key &key) {
        REQUIRE(rp_handoff_broker_record(broker.get(), &key, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, nullptr, nullptr) ==
                RP_HANDOFF_OK);
    };
    fail(idle);
    time.now += 30 * second;
    fail(busy);
    CHECK(statistics(broker).backends_with_failures == 1);
}

TEST_CASE("W17: a Hello is as long as its cap at most, and what claims to be longer is not waited for") {
    Door door;
    door.put_service(nullptr);
    constexpr std::size_t cap = 65536;
    for (const std::size_t length : {cap - 1, cap}) {
        const SocketPair pair;
        write_all(pair.b.get(), padded_to(encoded_hello(), length));
        CHECK(door.serve(pair.a.get()).result == RP_HANDOFF_FRONT_DOOR_RECONNECT);
    }
    const SocketPair pair;
    write_all(pair.b.get(), {1, 1, 0, 1, 0}); // a header, and no body: 65537
    const rp_handoff_front_door_visit visit = door.serve(pair.a.get());
    CHECK(visit.result == RP_HANDOFF_FRONT_DOOR_DROPPED);
    CHECK(visit.status == RP_HANDOFF_ERR_FRAME_TOO_LARGE);
}

TEST_CASE("W19: a visit leaves the flags of the client's connection as they were, blocking or not") {
    const Directory directory;
    const Server server;
    const std::string handoff = directory / "handoff";
    REQUIRE(rp::test::listen_at(server.backend.get(), handoff.c_str()) == RP_HANDOFF_OK);
    Door door;
    door.put_service(handoff.c_str());
    for (const int nonblocking : {0, O_NONBLOCK}) {
        const SocketPair pair;
        REQUIRE(fcntl(pair.a.get(), F_SETFL, nonblocking) == 0);
        const Flags before(pair.a.get());
        write_all(pair.b.get(), encoded_hello());
        CHECK(door.serve(pair.a.get()).result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
        CHECK(Flags(pair.a.get()) == before);
    }
}

TEST_CASE("W21: a backend that was built anew does not stand for the failures of the old build") {
    const Broker broker = make_broker();
    const auto old_build = key_of("service", "aa");
    const auto new_build = key_of("service", "bb");
    for (int i = 0; i < 8; ++i) {
        fail_once(broker, subject_of(old_build));
    }
    CHECK(decide(broker, subject_of(old_build)).reason == RP_HANDOFF_REASON_FAILED_ATTEMPT_RATE_LIMITED);
    CHECK(decide(broker, subject_of(new_build)).attempt == 1);
}

TEST_CASE("W23: the 99th percentile is the maximum of up to 99 samples, and of 100 the one below") {
    std::array<std::uint64_t, 100> samples{};
    for (std::size_t i = 0; i < samples.size(); ++i) {
        samples[i] = samples.size() - i; // 100 down to 1
    }
    auto summary = sized<rp_handoff_latency_summary>();
    REQUIRE(rp_handoff_latency_summarize(samples.data(), 100, &summary) == 1);
    CHECK(summary.count == 100);
    CHECK(summary.p50_ns == 50);
    CHECK(summary.p99_ns == 99);
    REQUIRE(rp_handoff_latency_summarize(samples.data(), 99, &summary) == 1); // 100 down to 2
    CHECK(summary.p99_ns == 100);
}

TEST_CASE("W26: a refusal says nothing of the next handoff over the same connection") {
    HandBackend backend;
    const rp_handoff_token refused = issue(backend.broker);
    CHECK(backend.hand_over(refused, encoded(wire_ack(refused, false, 7))).ownership == RP_HANDOFF_OWNER_BROKER);
    read_available(backend.pair.b.get());
    const rp_handoff_outcome unanswered = backend.hand_over(issue(backend.broker), {});
    CHECK(unanswered.cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    CHECK(unanswered.ownership == RP_HANDOFF_OWNER_AMBIGUOUS);
}

TEST_CASE("W28: a ready frame counts if it is an accepting event of the negotiated token, whatever its ids") {
    const rp_handoff_token token = token_of(7);
    const auto ready = [&](const rp_handoff_token &of, bool accepted, std::uint64_t id, std::int32_t kind) {
        return encoded(wire_ack(of, accepted, id), kind);
    };
    CHECK(route_after(token, ready(token, true, 5, RP_HANDOFF_KIND_EVENT)) == RP_HANDOFF_ROUTE_HANDLE_PASSED);
    CHECK(route_after(token, ready(token, true, 6, RP_HANDOFF_KIND_EVENT)) == RP_HANDOFF_ROUTE_HANDLE_PASSED);

    const Bytes none[] = {{},
                          {1},
                          {2, 0, 0, 0, 0},
                          {1, 2, 0, 0, 0, 0xFF, 0xFF},
                          ready(token_of(8), true, 5, RP_HANDOFF_KIND_EVENT),
                          ready(token, false, 5, RP_HANDOFF_KIND_EVENT),
                          ready(token, true, 5, RP_HANDOFF_KIND_RESPONSE)};
    for (const Bytes &bytes : none) {
        CHECK(route_after(token, bytes) == RP_HANDOFF_ROUTE_BROKER_NEGOTIATED);
    }
}
