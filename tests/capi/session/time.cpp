// Deadlines to the nanosecond, on the broker's clock; and clocks that stand still, run backwards or fail.
#include "support/session_hand.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t ack_deadline = 5 * second; // the default

struct Clocked : WithTime, hand::Scene {
    explicit Clocked(const Setup &setup = {}) : hand::Scene(in(setup)) {}

    std::uint64_t submit_for(ClientConnection &client, std::uint64_t timeout) {
        auto submission = submission_of(client.fd.release());
        submission.timeout_ns = timeout;
        return submit(offering, submission);
    }
    // Processes at this instant.
    Event event_at(std::uint64_t instant) {
        time.now = instant;
        process(offering);
        return take_event(offering);
    }
};

// A clock that stands still, and a wait that is always over before anything happened.
std::int32_t frozen_now(void *, std::uint64_t *out) {
    *out = 1000 * second;
    return RP_HANDOFF_CALLBACK_OK;
}
std::int32_t frozen_wait(void *, std::int32_t, std::int32_t, std::uint64_t, std::int32_t *out_ready) {
    *out_ready = 0;
    return RP_HANDOFF_CALLBACK_OK;
}
std::int32_t failing_now(void *, std::uint64_t *) {
    return 0;
}

template <class Options>
Options on_frozen_time(Options options) {
    options.now = frozen_now;
    options.wait = frozen_wait;
    return options;
}

} // namespace

TEST_CASE(
    "a handoff ends at its deadline, which is the earlier one of its own and the broker's, and not a moment before") {
    const std::uint64_t timeouts[] = {
        0, 1, 1000, ack_deadline - 1, ack_deadline, ack_deadline + 1, UINT64_MAX - 1, RP_HANDOFF_FOREVER};
    for (const std::uint64_t timeout : timeouts) {
        CAPTURE(timeout);
        Clocked scene;
        ClientConnection client;
        const std::uint64_t begun = scene.time.now;
        scene.submit_for(client, timeout);
        const std::uint64_t lasts = timeout == 0 ? ack_deadline : std::min(timeout, ack_deadline);
        CHECK(timeout_of(scene.offering) == lasts);
        CHECK(scene.event_at(begun + lasts - 1).kind == 0);
        CHECK(timeout_of(scene.offering) == 1);
        const Event event = scene.event_at(begun + lasts);
        CHECK(event.kind == RP_HANDOFF_EVENT_OUTCOME);
        CHECK(event.ownership == RP_HANDOFF_OWNER_BROKER);
        CHECK(event.outcome.elapsed_ns == lasts);
        CHECK(timeout_of(scene.offering) == RP_HANDOFF_FOREVER);
    }
}

TEST_CASE("many deadlines in any order end in the order of time") {
    Clocked scene;
    const std::uint64_t timeouts[] = {500, 100, 300, 100, 200, 400, 1};
    std::vector<ClientConnection> clients(std::size(timeouts));
    const std::uint64_t begun = scene.time.now;
    for (std::size_t i = 0; i < clients.size(); ++i) {
        auto submission = submission_of(clients[i].fd.release(), timeouts[i]);
        submission.timeout_ns = timeouts[i];
        submit(scene.offering, submission);
    }
    for (const std::uint64_t expected : {1U, 100U, 200U, 300U, 400U, 500U}) {
        CHECK(timeout_of(scene.offering) == begun + expected - scene.time.now);
        CHECK(scene.event_at(begun + expected).user_data == expected);
        CHECK(take_event(scene.offering).user_data == (expected == 100 ? 100 : 0));
    }
    CHECK(take_event(scene.offering).kind == 0);
}

TEST_CASE("a token of the caller's has the deadline that it was issued with") {
    Clocked scene;
    ClientConnection client;
    auto submission = submission_of(client.fd.release());
    submission.flags = RP_HANDOFF_SUBMIT_TOKEN;
    submission.token = issue(scene.broker);
    const std::uint64_t issued = scene.time.now;
    scene.time.now += 1000;
    submit(scene.offering, submission);
    CHECK(scene.event_at(issued + ack_deadline - 1).kind == 0);
    CHECK(scene.event_at(issued + ack_deadline).is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_ACK_TIMED_OUT));
}

TEST_CASE("an answer that is read at the deadline counts as what the ledger says, and so does one that is late") {
    for (const bool adopts : {true, false}) {
        for (const std::uint64_t late : {std::uint64_t{0}, second}) {
            Clocked scene;
            ClientConnection client;
            scene.submit_for(client, 0);
            const hand::Offer offer = scene.backend.hear_offer();
            if (adopts) {
                CHECK(scene.backend.page.adopt(offer));
            }
            scene.backend.answer(offer, adopts ? hand::adopted : hand::refused);
            const Event event = scene.event_at(scene.time.now + ack_deadline + late);
            CHECK(event.ownership == (adopts ? RP_HANDOFF_OWNER_BACKEND : RP_HANDOFF_OWNER_BROKER));
            CHECK(event.outcome.cause == (adopts ? RP_HANDOFF_CAUSE_NONE : RP_HANDOFF_CAUSE_BACKEND_REFUSED));
            CHECK(take_event(scene.offering).kind == 0);
            CHECK(statistics(scene.offering).in_flight == 0);
        }
    }
}

TEST_CASE("a clock that is set back gives a handoff more time, and one that is set forward takes it") {
    Clocked scene;
    ClientConnection clients[2];
    const std::uint64_t begun = scene.time.now;
    scene.submit_for(clients[0], 0);
    CHECK(scene.event_at(begun - 100 * second).kind == 0);
    CHECK(timeout_of(scene.offering) == ack_deadline + 100 * second);
    scene.submit_for(clients[1], 0); // due long before the first one, whose place it takes
    CHECK(timeout_of(scene.offering) == ack_deadline);
    CHECK(scene.event_at(begun - 100 * second + ack_deadline).kind == RP_HANDOFF_EVENT_OUTCOME);
    CHECK(take_event(scene.offering).kind == 0);
    const Event event = scene.event_at(begun + 100 * second);
    CHECK(event.kind == RP_HANDOFF_EVENT_OUTCOME);
    CHECK(event.outcome.elapsed_ns == 100 * second);
}

TEST_CASE("execute and wait end on a clock that stands still") {
    Setup setup;
    setup.broker = on_frozen_time(setup.broker);
    hand::Scene scene(setup);
    ClientConnection client;
    auto submission = submission_of(client.fd.get());
    auto outcome = sized<rp_handoff_outcome>();
    CHECK(rp_handoff_session_execute(scene.offering.get(), &submission, &outcome, nullptr) == RP_HANDOFF_OK);
    CHECK(outcome.cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    CHECK(rp_handoff_session_wait(scene.offering.get(), 1) == 0);
    CHECK(rp_handoff_session_wait(scene.offering.get(), RP_HANDOFF_FOREVER) == 0);
    submit(scene.offering, submission);
    client.fd.release();
    CHECK(rp_handoff_session_wait(scene.offering.get(), RP_HANDOFF_FOREVER) == 1);
    CHECK(take_event(scene.offering).is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_ACK_TIMED_OUT));

    SocketPair pair;
    const Session receiving = receive_over(std::move(pair.a), on_frozen_time(sized<rp_handoff_session_options>()));
    CHECK(rp_handoff_session_wait(receiving.get(), second) == 0);
    CHECK(rp_handoff_session_wait(receiving.get(), RP_HANDOFF_FOREVER) == 1);
    const Event event = take_event(receiving);
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == RP_HANDOFF_ERR_TIMED_OUT);
}

TEST_CASE("with a clock that fails everything is due, and nobody owns a connection twice") {
    for (const bool adopts : {false, true}) {
        Clocked scene;
        ClientConnection client;
        const std::uint64_t id = scene.submit_for(client, 0);
        const hand::Offer offer = scene.backend.hear_offer();
        if (adopts) {
            CHECK(scene.backend.page.adopt(offer));
        }
        scene.time.broken = true;
        process(scene.offering);
        const Event event = take_event(scene.offering);
        CHECK(event.id == id);
        CHECK(event.ownership == (adopts ? RP_HANDOFF_OWNER_BACKEND : RP_HANDOFF_OWNER_BROKER));
        CHECK(scene.backend.page.adopt(offer) == false);
    }
    auto options = on_frozen_time(sized<rp_handoff_session_options>());
    options.now = failing_now;
    SocketPair pair;
    const Session receiving = receive_over(std::move(pair.a), options);
    process(receiving);
    CHECK(take_event(receiving).kind == RP_HANDOFF_EVENT_CLOSED);
}

TEST_CASE("a replaced wait lets the peer act, and execute has its outcome without any time passing") {
    WithTime clock;
    Joined joined(clock.in({}));
    const std::uint64_t before = clock.time.now;
    clock.time.meanwhile = [&] {
        turn({&joined.receiving});
        for (Event event = take_event(joined.receiving); event.kind != 0; event = take_event(joined.receiving)) {
            accept_offer(event.offer);
        }
    };
    const ClientConnection client;
    const auto submission = submission_of(client.fd.get());
    auto outcome = sized<rp_handoff_outcome>();
    CHECK(rp_handoff_session_execute(joined.offering.get(), &submission, &outcome, nullptr) == RP_HANDOFF_OK);
    CHECK(outcome.result == RP_HANDOFF_COMPLETED);
    CHECK(outcome.elapsed_ns == 0);
    CHECK(clock.time.now == before);
    CHECK(clock.time.waits == 1);
    clock.time.meanwhile = nullptr;
}

TEST_CASE("the instant at which an offer was received is that of the call that read it") {
    WithTime clock;
    Joined joined(clock.in({}));
    ClientConnection client;
    submit(joined.offering, client);
    clock.time.now += 10;
    process(joined.receiving);
    clock.time.now += 10;
    const Event event = take_event(joined.receiving);
    CHECK(info_of(event.offer).received_ns == clock.time.now - 10);
}

TEST_CASE("a wait or an execute from inside the session's own wait is busy at once, and hands nothing over") {
    WithTime clock;
    Joined joined(clock.in({}));
    const ClientConnection client;
    const auto submission = submission_of(client.fd.get());
    auto inner = sized<rp_handoff_outcome>();
    std::size_t asked = 0;
    clock.time.meanwhile = [&] {
        ++asked;
        CHECK(rp_handoff_session_wait(joined.offering.get(), RP_HANDOFF_FOREVER) == RP_HANDOFF_ERR_BUSY);
        const auto before = statistics(joined.offering);
        CHECK(rp_handoff_session_execute(joined.offering.get(), &submission, &inner, nullptr) == RP_HANDOFF_ERR_BUSY);
        CHECK(statistics(joined.offering).in_flight == before.in_flight);
        CHECK(statistics(joined.offering).fallbacks == before.fallbacks);
        turn({&joined.receiving});
        CHECK(take_event(joined.receiving).kind == (asked == 1 ? 0 : RP_HANDOFF_EVENT_OFFER));
        clock.time.now += 10 * second;
    };
    CHECK(rp_handoff_session_wait(joined.offering.get(), 1) == 0);
    auto outcome = sized<rp_handoff_outcome>();
    CHECK(rp_handoff_session_execute(joined.offering.get(), &submission, &outcome, nullptr) == RP_HANDOFF_OK);
    CHECK(outcome.cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    CHECK(asked == 2);
    clock.time.meanwhile = nullptr;
    CHECK(take_event(joined.offering).kind == 0);
}
