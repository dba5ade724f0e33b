// One token, one handoff: what happens to a token that is not pending, late, revoked, or wanted twice.
#include <array>
#include <atomic>
#include <thread>

#include "support/api.hpp"
#include "support/hand_backend.hpp"

using namespace rp::test;

namespace {

// A socket on which nobody accepts, so that every connection that was ever made is still to be seen.
struct Watched {
    Directory directory;
    std::string path = directory / "backend";
    UniqueFd listener = listener_at(path);

    bool was_dialled() const { return is_readable(listener.get()); }
};

// Nothing may be sent for this token, on either way.
void check_error(const Broker &broker, const rp_handoff_token &token, std::int32_t first, std::int32_t second) {
    const Watched watched;
    const SocketPair connection;
    const ClientConnection client;
    rp_handoff_request request = request_over(connection.a.get(), client.fd.get(), token);
    Out<rp_handoff_outcome> outcome;
    outcome.value.struct_size = sizeof outcome.value;
    const rp_handoff_outcome before = outcome.value;
    CHECK(rp_handoff_broker_execute(broker.get(), &request, outcome.get(), nullptr) == first);
    request.socket_path = watched.path.c_str();
    CHECK(rp_handoff_broker_execute(broker.get(), &request, outcome.get(), nullptr) == second);
    CHECK(std::memcmp(&outcome.value, &before, sizeof before) == 0);
    CHECK_FALSE(watched.was_dialled());
    CHECK_FALSE(is_readable(connection.b.get()));
}

void check_not_pending(const Broker &broker, const rp_handoff_token &token) {
    check_error(broker, token, RP_HANDOFF_ERR_TOKEN_NOT_PENDING, RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
}

// Both tries of one token at the same time.
std::array<std::int32_t, 2> race(const Broker &broker, const rp_handoff_request &request) {
    std::array<std::int32_t, 2> statuses{};
    std::array<rp_handoff_outcome, 2> outcomes{sized<rp_handoff_outcome>(), sized<rp_handoff_outcome>()};
    std::atomic<int> at_start{0};
    const auto run = [&](std::size_t i) {
        ++at_start;
        while (at_start < 2) {
        }
        statuses[i] = rp_handoff_broker_execute(broker.get(), &request, &outcomes[i], nullptr);
    };
    std::thread other(run, 1);
    run(0);
    other.join();
    for (std::size_t i = 0; i < 2; ++i) {
        CHECK((statuses[i] != RP_HANDOFF_OK || outcomes[i].result == RP_HANDOFF_COMPLETED));
    }
    return statuses;
}

} // namespace

TEST_CASE("nothing is sent for a token that was never issued here") {
    const Broker broker = make_broker();
    check_not_pending(broker, token_of(9));
    check_not_pending(broker, issue(make_broker()));
}

TEST_CASE("nothing is sent for a token that was used, whatever came of it") {
    Scene completed;
    completed.answer = [&](const ReceivedOffer &offer) { completed.send(offer.accepted()); };
    REQUIRE(completed.run().result == RP_HANDOFF_COMPLETED);
    check_not_pending(completed.broker, completed.request.token);

    Scene abandoned;
    REQUIRE(abandoned.run().result == RP_HANDOFF_FALLBACK);
    check_not_pending(abandoned.broker, abandoned.request.token);
}

TEST_CASE("nothing is sent for a token that was revoked, swept or acknowledged before") {
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const rp_handoff_token revoked = issue(broker);
    REQUIRE(rp_handoff_broker_revoke(broker.get(), &revoked) == 1);
    check_not_pending(broker, revoked);

    const rp_handoff_token acknowledged = issue(broker);
    REQUIRE(rp_handoff_broker_acknowledge(broker.get(), &acknowledged, time.now, nullptr) == RP_HANDOFF_OK);
    check_not_pending(broker, acknowledged);

    const rp_handoff_token swept = issue(broker);
    time.now += 5 * second;
    REQUIRE(sweep(broker.get()) == 1);
    check_not_pending(broker, swept);
}

TEST_CASE("a token expires at the end of its time to live, and nothing is sent then") {
    for (const std::uint64_t after : {0U, 1U}) {
        FakeTime time;
        const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
        const rp_handoff_token token = issue(broker);
        time.now += 30 * second + after;
        check_error(broker, token, RP_HANDOFF_ERR_TOKEN_EXPIRED, RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
    }
}

TEST_CASE("from its deadline to the end of its life a token ends in a fallback for which nothing is sent") {
    for (const std::uint64_t after : {5 * second, 30 * second - 1}) {
        CAPTURE(after);
        const Watched watched;
        Scene scene;
        scene.time.now += after;
        scene.request.socket_path = watched.path.c_str();
        const rp_handoff_outcome outcome = scene.run();
        check_fallback(outcome, RP_HANDOFF_STAGE_SEND, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                       RP_HANDOFF_CAUSE_DEADLINE_BEFORE_SEND, RP_HANDOFF_OWNER_BROKER);
        CHECK(outcome.may_have_reached_backend == 0);
        CHECK(outcome.os_error == 0);
        check_ended(scene.broker, scene.request, scene.flags);
        CHECK_FALSE(watched.was_dialled());
    }
}

TEST_CASE("one nanosecond before its deadline a handoff is still begun") {
    Scene scene;
    scene.time.now = scene.deadline - 1;
    scene.answer = [&](const ReceivedOffer &offer) { scene.send(offer.accepted()); };
    const rp_handoff_outcome outcome = scene.run();
    CHECK(outcome.result == RP_HANDOFF_COMPLETED);
    CHECK(outcome.waited_ns == 5 * second - 1);
}

TEST_CASE("a deadline that does not fit into the clock is due at once") {
    FakeTime time;
    time.now = UINT64_MAX - 5 * second;
    auto options = time.in(sized<rp_handoff_broker_options>());
    options.token_ttl_ns = 5 * second + 1;
    options.ack_deadline_ns = 5 * second;
    const Broker broker = make_broker(options);
    check_error(broker, issue(broker), RP_HANDOFF_ERR_TOKEN_EXPIRED, RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
}

TEST_CASE("the longest deadline is kept") {
    auto options = sized<rp_handoff_broker_options>();
    options.token_ttl_ns = RP_HANDOFF_FOREVER;
    options.ack_deadline_ns = RP_HANDOFF_FOREVER;
    Scene scene(options);
    const std::uint64_t deadline = scene.time.now + 365 * 24 * 3600 * second - 1;
    scene.answer = [&](const ReceivedOffer &offer) {
        scene.time.now = deadline - 1;
        scene.send(offer.accepted());
    };
    CHECK(scene.run().result == RP_HANDOFF_COMPLETED);
}

TEST_CASE("a token that one call is executing cannot be had by another, nor acknowledged from outside") {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) {
        check_error(scene.broker, scene.request.token, RP_HANDOFF_ERR_TOKEN_IN_USE, RP_HANDOFF_ERR_TOKEN_IN_USE);
        CHECK(rp_handoff_broker_acknowledge(scene.broker.get(), &offer.token, scene.time.now, nullptr) ==
              RP_HANDOFF_ERR_TOKEN_IN_USE);
        scene.send(offer.accepted());
    };
    CHECK(scene.run().result == RP_HANDOFF_COMPLETED);
}

TEST_CASE("of two threads that execute the same token one hands over, and the other is told so") {
    const Directory directory;
    const std::string path = directory / "backend";
    const Backend backend = make_backend();
    REQUIRE(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
    std::thread server([&] {
        rp_handoff_offer *offer = nullptr;
        while (rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK) {
            std::int32_t fd = -1;
            CHECK(rp_handoff_offer_accept(Offer(offer).get(), &fd) == RP_HANDOFF_OK);
            close(fd);
        }
    });
    const ClientConnection client;
    const Broker broker = make_broker();
    rp_handoff_request request = request_to(path, client.fd.get(), {});
    for (int round = 0; round < 100; ++round) {
        request.token = issue(broker);
        const auto [one, other] = race(broker, request);
        CHECK((one == RP_HANDOFF_OK) != (other == RP_HANDOFF_OK));
        const std::int32_t loser = one == RP_HANDOFF_OK ? other : one;
        CHECK((loser == RP_HANDOFF_ERR_TOKEN_IN_USE || loser == RP_HANDOFF_ERR_TOKEN_NOT_PENDING));
    }
    rp_handoff_backend_stop(backend.get());
    server.join();
    CHECK(statistics(broker).completed == 100);
    CHECK(statistics(backend).accepted == 100);
}

TEST_CASE("an acceptance of a token that was revoked while it was awaited leaves nobody sure") {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) {
        CHECK(rp_handoff_broker_revoke(scene.broker.get(), &offer.token) == 1);
        CHECK(rp_handoff_broker_revoke(scene.broker.get(), &offer.token) == 0);
        scene.send(offer.accepted());
    };
    const rp_handoff_outcome outcome = scene.run();
    check_fallback(outcome, RP_HANDOFF_STAGE_ACKNOWLEDGE, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                   RP_HANDOFF_CAUSE_REVOKED, RP_HANDOFF_OWNER_AMBIGUOUS);
    CHECK(outcome.may_have_reached_backend == 1);
    CHECK(contains(outcome.detail, "revoked"));
    check_ended(scene.broker, scene.request, scene.flags);
    CHECK(statistics(scene.broker).revoked == 1);
    CHECK(statistics(scene.broker).fallbacks_owner_ambiguous == 1);
}

TEST_CASE("a refusal gives the connection back, also where the token was revoked meanwhile") {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) {
        CHECK(rp_handoff_broker_revoke(scene.broker.get(), &offer.token) == 1);
        scene.send(offer.refused());
    };
    CHECK(scene.run().ownership == RP_HANDOFF_OWNER_BROKER);
    check_ended(scene.broker, scene.request, scene.flags);
}

TEST_CASE("a handoff whose token was revoked ends at its deadline when no answer comes") {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) {
        CHECK(rp_handoff_broker_revoke(scene.broker.get(), &offer.token) == 1);
    };
    CHECK(scene.run().ownership == RP_HANDOFF_OWNER_AMBIGUOUS);
    CHECK(scene.time.now == scene.deadline);
    check_ended(scene.broker, scene.request, scene.flags);
}

TEST_CASE("a sweep leaves to an execute what it is driving, be it overdue") {
    Scene scene;
    std::uint32_t count = 7;
    scene.answer = [&](const ReceivedOffer &) {
        scene.time.now = scene.deadline;
        count = sweep(scene.broker.get());
    };
    const rp_handoff_outcome outcome = scene.run();
    CHECK(count == 0);
    check_fallback(outcome, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                   RP_HANDOFF_CAUSE_ACK_TIMED_OUT, RP_HANDOFF_OWNER_AMBIGUOUS);
    check_ended(scene.broker, scene.request, scene.flags);
}

TEST_CASE("a token whose life ends while its answer is awaited is gone with the handoff") {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) {
        scene.time.now += 31 * second;
        issue(scene.broker); // which drops what has expired
        scene.time.now = scene.deadline - 1;
        scene.send(offer.accepted());
    };
    CHECK(scene.run().result == RP_HANDOFF_COMPLETED); // what counts is the deadline, which the answer met
    CHECK(rp_handoff_broker_revoke(scene.broker.get(), &scene.request.token) == 0);
}
