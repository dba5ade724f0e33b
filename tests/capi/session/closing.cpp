// How a session ends: by close or destroy of either side, with things in flight or without; what comes back and what
// the other side sees.
#include "support/session_hand.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t open_timeout = 5 * second; // the default, and the peer's time to do its part of a close

void check_closed(const Session &session, std::int32_t status) {
    const Event event = take_event(session);
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == status);
    CHECK(take_event(session).kind == 0);
    CHECK(rp_handoff_session_wait(session.get(), RP_HANDOFF_FOREVER) == 0);
    CHECK(timeout_of(session) == RP_HANDOFF_FOREVER);
}

void check_submits_nothing(const Session &session) {
    const ClientConnection client;
    Out<std::uint64_t> id;
    CHECK(try_submit(session, submission_of(client.fd.get()), id.get()) == RP_HANDOFF_ERR_CLOSED);
    CHECK(id.untouched());
    OutStruct<rp_handoff_outcome> outcome;
    const auto submission = submission_of(client.fd.get());
    CHECK(rp_handoff_session_execute(session.get(), &submission, outcome.get(), nullptr) == RP_HANDOFF_ERR_CLOSED);
    CHECK(outcome.untouched());
    CHECK(is_open(client.fd.get()));
}

} // namespace

TEST_CASE("a session without anything in flight that the broker closes ends well on both sides") {
    Joined joined;
    CHECK(rp_handoff_session_close(joined.offering.get()) == RP_HANDOFF_OK);
    joined.turn();
    check_closed(joined.offering, RP_HANDOFF_OK);
    check_closed(joined.receiving, RP_HANDOFF_OK);
    check_submits_nothing(joined.offering);
}

TEST_CASE("a session without anything in flight that the backend closes ends well on both sides") {
    Joined joined;
    CHECK(rp_handoff_session_close(joined.receiving.get()) == RP_HANDOFF_OK);
    joined.turn();
    CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_CLOSING);
    check_closed(joined.offering, RP_HANDOFF_OK);
    check_closed(joined.receiving, RP_HANDOFF_OK);
    check_submits_nothing(joined.offering);
}

TEST_CASE("closing twice, from both sides, and after the end, changes nothing") {
    Joined joined;
    for (int i = 0; i < 2; ++i) {
        CHECK(rp_handoff_session_close(joined.offering.get()) == RP_HANDOFF_OK);
        CHECK(rp_handoff_session_close(joined.receiving.get()) == RP_HANDOFF_OK);
    }
    joined.turn();
    CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_CLOSING);
    check_closed(joined.offering, RP_HANDOFF_OK);
    check_closed(joined.receiving, RP_HANDOFF_OK);
    CHECK(rp_handoff_session_close(joined.offering.get()) == RP_HANDOFF_OK);
    CHECK(rp_handoff_session_close(joined.receiving.get()) == RP_HANDOFF_OK);
    joined.turn();
    CHECK(take_event(joined.offering).kind == 0);
    CHECK(take_event(joined.receiving).kind == 0);
}

TEST_CASE("what is in flight when the broker closes runs to its outcome, and no more is submitted") {
    Joined joined;
    ClientConnection clients[2];
    submit(joined.offering, clients[0]);
    const Event first = joined.next_offer();
    submit(joined.offering, clients[1]);
    CHECK(rp_handoff_session_close(joined.offering.get()) == RP_HANDOFF_OK);
    check_submits_nothing(joined.offering);
    const Event other = joined.next_offer();
    const UniqueFd adopted = accept_offer(first.offer);
    CHECK(rp_handoff_offer_refuse(other.offer.get(), nullptr) == RP_HANDOFF_OK);
    CHECK(joined.next_outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
    CHECK(take_event(joined.offering).ownership == RP_HANDOFF_OWNER_BROKER);
    joined.turn();
    check_closed(joined.offering, RP_HANDOFF_OK);
    check_closed(joined.receiving, RP_HANDOFF_OK);
}

TEST_CASE("when the backend closes, what it has gets its outcome, and what it has not comes back as the broker's") {
    Setup setup;
    setup.receiving.max_in_flight = 1;
    Joined joined(setup);
    ClientConnection clients[3];
    for (ClientConnection &client : clients) {
        submit(joined.offering, client);
    }
    const Event offered = joined.next_offer();
    CHECK(rp_handoff_session_close(joined.receiving.get()) == RP_HANDOFF_OK);
    joined.turn();
    for (int i = 1; i < 3; ++i) {
        const Event event = take_event(joined.offering);
        CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_SESSION_LOST));
        CHECK(event.outcome.may_have_reached_backend == 0);
        CHECK(are_joined(clients[i].client.get(), event.fd.get()));
    }
    CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_CLOSING);
    check_submits_nothing(joined.offering);
    const UniqueFd adopted = accept_offer(offered.offer);
    CHECK(joined.next_outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
    joined.turn();
    check_closed(joined.offering, RP_HANDOFF_OK);
    check_closed(joined.receiving, RP_HANDOFF_OK);
}

TEST_CASE("a broker that closes waits for its backend to do the same for the open timeout and no longer") {
    WithTime clock;
    hand::Scene scene(clock.in({}));
    CHECK(rp_handoff_session_close(scene.offering.get()) == RP_HANDOFF_OK);
    CHECK(scene.backend.hear().kind == hand::goodbye);
    CHECK(scene.backend.hear().kind == 0); // the end
    CHECK(timeout_of(scene.offering) == open_timeout);
    clock.time.now += open_timeout - 1;
    process(scene.offering);
    CHECK(take_event(scene.offering).kind == 0);
    clock.time.now += 1;
    process(scene.offering);
    check_closed(scene.offering, RP_HANDOFF_ERR_TIMED_OUT);
}

TEST_CASE("a backend that closes waits for its broker to do its part for the open timeout and no longer") {
    WithTime clock;
    hand::BackendScene scene(clock.in({}).receiving);
    CHECK(rp_handoff_session_close(scene.receiving.get()) == RP_HANDOFF_OK);
    CHECK(scene.hear().kind == hand::goodbye);
    CHECK(timeout_of(scene.receiving) == open_timeout);
    clock.time.now += open_timeout - 1;
    process(scene.receiving);
    CHECK(take_event(scene.receiving).kind == 0);
    clock.time.now += 1;
    process(scene.receiving);
    check_closed(scene.receiving, RP_HANDOFF_ERR_TIMED_OUT);
}

TEST_CASE(
    "a broker that closes waits no longer for a backend that reads nothing, so that not even the goodbye leaves") {
    WithTime clock;
    hand::Scene scene(clock.in({}));
    const Bytes early(RP_HANDOFF_EARLY_BYTES_MAX);
    const ClientConnection client;
    auto submission = submission_of(client.fd.get());
    submission.flags = RP_HANDOFF_SUBMIT_DUPLICATE;
    submission.early = early.data();
    submission.early_length = RP_HANDOFF_EARLY_BYTES_MAX;
    for (int i = 0; i < 10; ++i) {
        submit(scene.offering, submission);
    }
    CHECK(rp_handoff_session_close(scene.offering.get()) == RP_HANDOFF_OK);
    clock.time.now += 5 * second; // the deadline of them all
    process(scene.offering);
    for (int i = 0; i < 10; ++i) {
        CHECK(take_event(scene.offering).ownership == RP_HANDOFF_OWNER_BROKER);
    }
    CHECK(take_event(scene.offering).kind == 0);
    CHECK(timeout_of(scene.offering) == open_timeout);
    clock.time.now += open_timeout;
    process(scene.offering);
    check_closed(scene.offering, RP_HANDOFF_ERR_TIMED_OUT);
}

TEST_CASE("a backend that closes waits no longer for a broker that does not read its answers") {
    WithTime clock;
    hand::BackendScene scene(clock.in({}).receiving, 1);
    const ClientConnection client;
    for (int i = 0; i < 200; ++i) { // far more than the socket for the answers takes
        scene.send_offer(scene.make_offer(), client.fd.get());
        const Event event = scene.next_event();
        REQUIRE(event.kind == RP_HANDOFF_EVENT_OFFER);
        CHECK(rp_handoff_offer_refuse(event.offer.get(), std::string(255, 'n').c_str()) == RP_HANDOFF_OK);
    }
    CHECK(rp_handoff_session_close(scene.receiving.get()) == RP_HANDOFF_OK);
    CHECK(timeout_of(scene.receiving) == open_timeout);
    clock.time.now += open_timeout;
    process(scene.receiving);
    check_closed(scene.receiving, RP_HANDOFF_ERR_TIMED_OUT);
}

TEST_CASE("a broker that has closed and still waits for a backend's answers is given the time for it") {
    WithTime clock;
    hand::BackendScene scene(clock.in({}).receiving);
    scene.say(hand::frame(hand::goodbye, 0, {}));
    scene.turn();
    CHECK(timeout_of(scene.receiving) == RP_HANDOFF_FOREVER);
    clock.time.now += 100 * open_timeout;
    process(scene.receiving);
    const ClientConnection client;
    scene.send_offer(scene.make_offer(), client.fd.get()); // what it had submitted before
    accept_offer(scene.next_event().offer);
    CHECK(take_event(scene.receiving).kind == 0);
    CHECK(scene.hear_answers().size() == 1);
    scene.close();
    scene.turn();
    check_closed(scene.receiving, RP_HANDOFF_OK);
}

TEST_CASE("a backend that closes has all the time it wants for the offers that it has") {
    WithTime clock;
    hand::BackendScene scene(clock.in({}).receiving);
    ClientConnection client;
    const hand::Offer offer = scene.make_offer();
    scene.send_offer(offer, client.fd.get());
    const Event offered = scene.next_event();
    CHECK(rp_handoff_session_close(scene.receiving.get()) == RP_HANDOFF_OK);
    CHECK(scene.hear().kind == hand::goodbye);
    CHECK(timeout_of(scene.receiving) == RP_HANDOFF_FOREVER);
    clock.time.now += 100 * open_timeout;
    process(scene.receiving);
    const UniqueFd adopted = accept_offer(offered.offer);
    CHECK(take_event(scene.receiving).kind == 0);
    CHECK(scene.hear_answers().size() == 1);
    CHECK(timeout_of(scene.receiving) == open_timeout);
    clock.time.now += open_timeout;
    process(scene.receiving);
    check_closed(scene.receiving, RP_HANDOFF_ERR_TIMED_OUT);
}

TEST_CASE(
    "a session that is closed before it is open ends at once, and one with submits when they have their outcomes") {
    WithTime clock;
    const Broker broker = make_broker(clock.in({}).broker);
    SocketPair pairs[3];
    const Session idle = open_over(broker, std::move(pairs[0].a));
    CHECK(rp_handoff_session_close(idle.get()) == RP_HANDOFF_OK);
    check_closed(idle, RP_HANDOFF_OK);
    const Session receiving = receive_over(std::move(pairs[1].a), clock.in({}).receiving);
    CHECK(rp_handoff_session_close(receiving.get()) == RP_HANDOFF_OK);
    check_closed(receiving, RP_HANDOFF_OK);

    const Session busy = open_over(broker, std::move(pairs[2].a));
    ClientConnection client;
    submit(busy, client);
    CHECK(rp_handoff_session_close(busy.get()) == RP_HANDOFF_OK);
    CHECK(take_event(busy).kind == 0);
    clock.time.now += open_timeout;
    process(busy);
    CHECK(take_event(busy).is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_SESSION_LOST));
    check_closed(busy, RP_HANDOFF_ERR_TIMED_OUT);
}

TEST_CASE(
    "a broker's session that is destroyed ends what is the broker's with shutdown, and what is the backend's without") {
    Joined joined;
    ClientConnection clients[5];
    const ClientConnection duplicated;
    for (ClientConnection &client : clients) {
        submit(joined.offering, client);
    }
    auto submission = submission_of(duplicated.fd.get());
    submission.flags = RP_HANDOFF_SUBMIT_DUPLICATE;
    submit(joined.offering, submission);
    joined.turn();
    std::vector<Event> offered;
    for (int i = 0; i < 6; ++i) {
        offered.push_back(take_event(joined.receiving));
    }
    const UniqueFd adopted[] = {accept_offer(offered[0].offer), accept_offer(offered[1].offer)};
    CHECK(rp_handoff_offer_refuse(offered[2].offer.get(), nullptr) == RP_HANDOFF_OK);
    CHECK(take_event(joined.receiving).kind == 0); // of 0, 1 and 2; and of these the broker has not heard yet
    joined.offering.reset();
    CHECK(are_joined(clients[0].client.get(), adopted[0].get()));
    CHECK(are_joined(clients[1].client.get(), adopted[1].get()));
    for (int i = 2; i < 5; ++i) { // also where the backend still has its duplicate
        CHECK(is_at_end(clients[i].client.get()));
    }
    CHECK(are_joined(duplicated.fd.get(), duplicated.client.get()));
    for (int i = 3; i < 6; ++i) {
        accept_offer(offered[static_cast<std::size_t>(i)].offer, RP_HANDOFF_ERR_REVOKED);
    }
    CHECK(statistics(joined.broker).pending_tokens == 0);
    joined.turn();
    check_closed(joined.receiving, RP_HANDOFF_ERR_CLOSED);
}

TEST_CASE("what came back and whose event nobody took is ended with the session, and nothing twice") {
    Joined joined;
    ClientConnection clients[2];
    submit(joined.offering, clients[0]);
    CHECK(rp_handoff_offer_refuse(joined.next_offer().offer.get(), nullptr) == RP_HANDOFF_OK);
    Event event = joined.next_outcome();
    submit(joined.offering, clients[1]);
    CHECK(rp_handoff_offer_refuse(joined.next_offer().offer.get(), nullptr) == RP_HANDOFF_OK);
    CHECK(take_event(joined.receiving).kind == 0);
    joined.turn();
    joined.offering.reset();
    CHECK(are_joined(clients[0].client.get(), event.fd.get()));
    CHECK(is_at_end(clients[1].client.get()));
}

TEST_CASE(
    "a backend's session that is destroyed refuses what was not taken, and what was taken can still be answered") {
    Joined joined;
    ClientConnection clients[4];
    for (ClientConnection &client : clients) {
        submit(joined.offering, client);
    }
    joined.turn();
    Event taken[3];
    for (Event &event : taken) {
        event = take_event(joined.receiving);
    }
    const UniqueFd before = accept_offer(taken[0].offer);
    joined.receiving.reset();
    const UniqueFd after = accept_offer(taken[1].offer, RP_HANDOFF_ACK_UNDELIVERED);
    CHECK(info_of(taken[1].offer).correlation_id == 2);
    CHECK(rp_handoff_offer_refuse(taken[2].offer.get(), "no") == RP_HANDOFF_ACK_UNDELIVERED);
    turn({&joined.offering});
    int by_owner[4] = {};
    for (Event event = take_event(joined.offering); event.kind == RP_HANDOFF_EVENT_OUTCOME;
         event = take_event(joined.offering)) {
        ++by_owner[event.ownership];
    }
    CHECK(by_owner[RP_HANDOFF_OWNER_BROKER] == 2);
    CHECK(by_owner[RP_HANDOFF_OWNER_BACKEND] == 2);
    CHECK(are_joined(clients[0].client.get(), before.get()));
    CHECK(are_joined(clients[1].client.get(), after.get()));
}

TEST_CASE("an offer outlives its session, and its metadata with it") {
    Event event;
    ClientConnection client;
    {
        Joined joined;
        auto submission = submission_of(client.fd.get());
        const Bytes metadata = {1, 2, 3};
        submission.metadata = metadata.data();
        submission.metadata_length = 3;
        submit(joined.offering, submission);
        client.fd.release();
        event = joined.next_offer();
    }
    const auto info = info_of(event.offer);
    CHECK(Bytes(info.metadata, info.metadata + info.metadata_length) == Bytes{1, 2, 3});
    CHECK(info.peer_pid == static_cast<std::uint32_t>(getpid()));
    accept_offer(event.offer, RP_HANDOFF_ERR_REVOKED);
}

TEST_CASE(
    "offers that were received and not taken come before the end of their session, and are what the ledger says") {
    hand::BackendScene scene;
    ClientConnection client;
    const hand::Offer offers[] = {scene.make_offer(0), scene.make_offer(1)};
    scene.send_offer(offers[0], client.fd.get());
    scene.send_offer(offers[1], client.fd.get());
    scene.turn();
    scene.page.put(offers[0], hand::Page::revoked);
    scene.close(); // the broker is gone, and had not revoked the other one
    scene.turn();
    const Event revoked = take_event(scene.receiving);
    const Event pending = take_event(scene.receiving);
    accept_offer(revoked.offer, RP_HANDOFF_ERR_REVOKED);
    const UniqueFd adopted = accept_offer(pending.offer, RP_HANDOFF_ACK_UNDELIVERED);
    CHECK(are_joined(adopted.get(), client.client.get()));
    check_closed(scene.receiving, RP_HANDOFF_ERR_CLOSED);
}

TEST_CASE("descriptors of a session that has ended are closed with it, whoever still holds one of its offers") {
    auto options = sized<rp_handoff_session_options>();
    options.max_in_flight = 1;
    hand::BackendScene scene(options);
    ClientConnection held;
    ClientConnection waiting;
    const hand::Offer first = scene.make_offer(0);
    scene.send_offer(first, held.fd.get());
    const Event event = scene.next_event();
    const UniqueFd adopted = accept_offer(event.offer);
    CHECK(take_event(scene.receiving).kind == 0);
    scene.send_offer(scene.make_offer(1), waiting.fd.get()); // there is no place for it until `event` is done with
    waiting.fd.reset();
    scene.turn();
    CHECK_FALSE(is_at_end(waiting.client.get()));
    scene.receiving.reset();
    CHECK(is_at_end(waiting.client.get()));
}
