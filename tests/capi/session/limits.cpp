// How much a session holds: each bound is reached at its number and not before, the caller is told which one it was,
// nothing has happened to what was turned away, and there is room again when something ends.
#include <sys/resource.h>

#include "support/session_hand.hpp"

using namespace rp::test;

namespace {

// A session whose peer has not said hello yet: everything that is submitted waits.
struct Waiting {
    explicit Waiting(Setup setup = {}) : broker(make_broker(setup.broker)) {
        offering = open_over(broker, std::move(pair.a), setup.offering);
    }

    SocketPair pair;
    Broker broker;
    Session offering;
};

rp_handoff_submission duplicate_of(const ClientConnection &client) {
    auto submission = submission_of(client.fd.get());
    submission.flags = RP_HANDOFF_SUBMIT_DUPLICATE;
    return submission;
}

void check_turned_away(const Session &session, rp_handoff_submission submission, std::int32_t status) {
    const auto before = statistics(session);
    Out<std::uint64_t> id;
    submission.flags &= ~std::uint32_t{RP_HANDOFF_SUBMIT_DUPLICATE};
    CHECK(try_submit(session, submission, id.get()) == status);
    CHECK(id.untouched());
    CHECK(is_open(submission.fd));
    OutStruct<rp_handoff_outcome> outcome;
    CHECK(rp_handoff_session_execute(session.get(), &submission, outcome.get(), nullptr) == status);
    CHECK(outcome.untouched());
    CHECK(statistics(session).in_flight == before.in_flight);
    CHECK(statistics(session).submitted == before.submitted);
}

std::uint64_t fill(const Session &session, const rp_handoff_submission &submission, int count) {
    std::uint64_t id = 0;
    for (int i = 0; i < count; ++i) {
        CAPTURE(i);
        REQUIRE(try_submit(session, submission, &id) == 1);
    }
    return id;
}

// Ends it, and takes its event.
void end(const Session &session, std::uint64_t id) {
    CHECK(rp_handoff_session_cancel(session.get(), id) == 1);
    CHECK(take_event(session).kind == RP_HANDOFF_EVENT_OUTCOME);
}

void limit_descriptors_to(rlim_t count) {
    rlimit limit{};
    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = count;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

} // namespace

TEST_CASE("a session holds as many handoffs as it was opened for, and another one when one has ended and was taken") {
    Setup setup;
    setup.offering.max_in_flight = 3;
    const Waiting waiting(setup);
    const ClientConnection client;
    const auto submission = duplicate_of(client);
    const std::uint64_t last = fill(waiting.offering, submission, 3);
    check_turned_away(waiting.offering, submission, RP_HANDOFF_ERR_LIMIT_SESSION);
    CHECK(rp_handoff_session_cancel(waiting.offering.get(), last) == 1);
    check_turned_away(waiting.offering, submission, RP_HANDOFF_ERR_LIMIT_SESSION); // its event was not taken
    CHECK(take_event(waiting.offering).kind == RP_HANDOFF_EVENT_OUTCOME);
    fill(waiting.offering, submission, 1);
    check_turned_away(waiting.offering, submission, RP_HANDOFF_ERR_LIMIT_SESSION);
    CHECK(statistics(waiting.broker).pending_tokens == 3);
}

TEST_CASE("a handoff that ended counts until the backend has answered it") {
    WithTime clock;
    Setup setup = clock.in({});
    setup.offering.max_in_flight = 1;
    hand::Scene scene(setup);
    const ClientConnection client;
    const auto submission = duplicate_of(client);
    submit(scene.offering, submission);
    const hand::Offer offer = scene.backend.hear_offer();
    clock.time.now += 5 * second;
    process(scene.offering);
    CHECK(take_event(scene.offering).ownership == RP_HANDOFF_OWNER_BROKER);
    check_turned_away(scene.offering, submission, RP_HANDOFF_ERR_LIMIT_SESSION);
    CHECK(statistics(scene.offering).in_flight == 1);
    scene.backend.answer(offer, hand::lost);
    scene.turn();
    CHECK(statistics(scene.offering).in_flight == 0);
    submit(scene.offering, submission);
    CHECK(scene.backend.hear_offer().ticket != offer.ticket);
}

TEST_CASE("the most that a session can be opened for is 4096, on both sides, and that many fit") {
    const Broker broker = make_broker();
    auto options = sized<rp_handoff_session_options>();
    for (const std::uint32_t count : {4097U, UINT32_MAX}) {
        options.max_in_flight = count;
        SocketPair pair;
        Session session;
        CHECK(try_open(broker, pair.a, options, session) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
        CHECK(try_receive(pair.b, options, session) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    }
    limit_descriptors_to(16384);
    Setup setup;
    setup.offering.max_in_flight = setup.receiving.max_in_flight = RP_HANDOFF_IN_FLIGHT_MAX;
    setup.broker.max_pending = 5000;
    const Joined joined(setup);
    const ClientConnection client;
    auto submission = duplicate_of(client);
    fill(joined.offering, submission, RP_HANDOFF_IN_FLIGHT_MAX);
    check_turned_away(joined.offering, submission, RP_HANDOFF_ERR_LIMIT_SESSION);
    joined.turn();
    std::vector<Event> offers(RP_HANDOFF_IN_FLIGHT_MAX);
    for (Event &offer : offers) {
        offer = take_event(joined.receiving);
        REQUIRE(offer.kind == RP_HANDOFF_EVENT_OFFER);
    }
    const std::string words(255, 'w');
    for (const Event &offer : offers) {
        CHECK(rp_handoff_offer_refuse(offer.offer.get(), words.c_str()) == RP_HANDOFF_OK);
    }
    CHECK(take_event(joined.receiving).kind == 0);
    joined.turn();
    for (std::size_t i = 0; i < offers.size(); ++i) {
        REQUIRE(take_event(joined.offering).is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_BACKEND_REFUSED));
    }
    CHECK(statistics(joined.offering).in_flight == 0);
}

TEST_CASE("the smaller of both sides' numbers is what is sent at a time, and the rest follows the answers") {
    Setup setup;
    setup.offering.max_in_flight = 10;
    setup.receiving.max_in_flight = 4;
    const Joined joined(setup);
    for (const Session *session : {&joined.offering, &joined.receiving}) {
        auto peer = sized<rp_handoff_session_peer>();
        REQUIRE(rp_handoff_session_get_peer(session->get(), &peer) == RP_HANDOFF_OK);
        CHECK(peer.max_in_flight == 4);
    }
    const ClientConnection client;
    fill(joined.offering, duplicate_of(client), 10);
    int served = 0;
    for (const int expected : {4, 4, 2}) {
        joined.turn();
        CHECK(statistics(joined.receiving).in_flight == static_cast<std::uint32_t>(expected));
        for (Event event = take_event(joined.receiving); event.kind != 0; event = take_event(joined.receiving)) {
            accept_offer(event.offer);
            ++served;
        }
    }
    CHECK(served == 10);
}

TEST_CASE("what waits to be sent is bounded in bytes, and room comes back when it is sent or ends") {
    Setup setup;
    setup.offering.max_queued_bytes = 1000;
    Waiting waiting(setup);
    ClientConnection client;
    Bytes bytes(1001);
    auto submission = duplicate_of(client);
    submission.early = bytes.data();
    submission.metadata = bytes.data();
    submission.prologue = bytes.data();
    submission.early_length = 400;
    submission.metadata_length = 300;
    submission.prologue_length = 301;
    check_turned_away(waiting.offering, submission, RP_HANDOFF_ERR_INVALID_ARGUMENT); // it would never fit
    submission.prologue_length = 300;
    const std::uint64_t id = submit(waiting.offering, submission);
    auto one_more = duplicate_of(client);
    submit(waiting.offering, one_more); // which takes no bytes
    one_more.metadata = bytes.data();
    one_more.metadata_length = 1;
    check_turned_away(waiting.offering, one_more, RP_HANDOFF_ERR_LIMIT_BYTES);
    end(waiting.offering, id);
    const std::uint64_t again = submit(waiting.offering, submission);
    check_turned_away(waiting.offering, one_more, RP_HANDOFF_ERR_LIMIT_BYTES);

    const Session receiving = receive_over(std::move(waiting.pair.b));
    turn({&waiting.offering, &receiving});
    CHECK(take_event(waiting.offering).kind == RP_HANDOFF_EVENT_OPENED);
    submit(waiting.offering, submission); // all has left
    CHECK(rp_handoff_session_cancel(waiting.offering.get(), again) == 1);
}

TEST_CASE("over all sessions of a broker its share of the limit of descriptors is in flight, and no more") {
    limit_descriptors_to(100);
    Setup setup;
    setup.broker.in_flight_percent = 7;
    const Waiting waiting(setup);
    hand::Scene scene(setup);
    SocketPair pair;
    const Session other = open_over(waiting.broker, std::move(pair.a));
    const ClientConnection client;
    const auto submission = duplicate_of(client);
    fill(waiting.offering, submission, 3);
    const std::uint64_t id = fill(other, submission, 4);
    check_turned_away(waiting.offering, submission, RP_HANDOFF_ERR_LIMIT_DESCRIPTORS);
    check_turned_away(other, submission, RP_HANDOFF_ERR_LIMIT_DESCRIPTORS);
    fill(scene.offering, submission, 7); // another broker
    check_turned_away(scene.offering, submission, RP_HANDOFF_ERR_LIMIT_DESCRIPTORS);
    CHECK(rp_handoff_session_cancel(other.get(), id) == 1); // of a queued one nothing is in flight any more
    fill(waiting.offering, submission, 1);
    check_turned_away(other, submission, RP_HANDOFF_ERR_LIMIT_DESCRIPTORS);
}

TEST_CASE("the share of descriptors is one at least, and more than all of them cannot be asked for") {
    limit_descriptors_to(50);
    Setup setup;
    setup.broker.in_flight_percent = 1;
    const Waiting waiting(setup);
    const ClientConnection client;
    fill(waiting.offering, duplicate_of(client), 1);
    check_turned_away(waiting.offering, duplicate_of(client), RP_HANDOFF_ERR_LIMIT_DESCRIPTORS);
    setup.broker.in_flight_percent = 101;
    Out<rp_handoff_broker *> out;
    CHECK(rp_handoff_broker_create(&setup.broker, out.get(), nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
}

TEST_CASE("what a stopped backend holds unread counts, after its session is gone too, until it reads or ends") {
    for (const bool reads : {true, false}) {
        limit_descriptors_to(100);
        Setup setup;
        setup.broker.in_flight_percent = 5;
        hand::Scene scene(setup);
        SocketPair pair;
        const Session other = open_over(scene.broker, std::move(pair.a));
        const ClientConnection client;
        const auto submission = duplicate_of(client);
        fill(scene.offering, submission, 3);
        scene.offering.reset();
        fill(other, submission, 2);
        check_turned_away(other, submission, RP_HANDOFF_ERR_LIMIT_DESCRIPTORS);
        if (reads) {
            for (int offer = 0; offer < 3; ++offer) {
                scene.backend.hear_offer();
                fill(other, submission, 1);
                check_turned_away(other, submission, RP_HANDOFF_ERR_LIMIT_DESCRIPTORS);
            }
        } else {
            scene.backend.close();
            fill(other, submission, 3);
        }
        check_turned_away(other, submission, RP_HANDOFF_ERR_LIMIT_DESCRIPTORS);
    }
}

TEST_CASE("what a backend has read and not answered is not in flight any more when its session has ended") {
    limit_descriptors_to(100);
    Setup setup;
    setup.broker.in_flight_percent = 5;
    hand::Scene scene(setup);
    SocketPair pair;
    const Session other = open_over(scene.broker, std::move(pair.a));
    const ClientConnection client;
    fill(scene.offering, duplicate_of(client), 3);
    scene.backend.hear_offer();
    scene.backend.hear_offer();
    scene.backend.hear_offer();
    scene.backend.close();
    scene.turn();
    fill(other, duplicate_of(client), 5);
    check_turned_away(other, duplicate_of(client), RP_HANDOFF_ERR_LIMIT_DESCRIPTORS);
}

TEST_CASE("tokens are bounded, and those of handoffs in flight are among them") {
    Setup setup;
    setup.broker.max_pending = 2;
    const Waiting waiting(setup);
    const ClientConnection client;
    const rp_handoff_token issued = issue(waiting.broker);
    const std::uint64_t id = submit(waiting.offering, duplicate_of(client));
    check_turned_away(waiting.offering, duplicate_of(client), RP_HANDOFF_ERR_LIMIT);
    end(waiting.offering, id);
    submit(waiting.offering, duplicate_of(client));
    CHECK(rp_handoff_broker_revoke(waiting.broker.get(), &issued) == 1);
    submit(waiting.offering, duplicate_of(client));
    check_turned_away(waiting.offering, duplicate_of(client), RP_HANDOFF_ERR_LIMIT);
}

TEST_CASE(
    "of many that are submitted at once those up to the first that is turned away are, and the next call says why") {
    Setup setup;
    setup.offering.max_in_flight = 3;
    const Waiting waiting(setup);
    ClientConnection clients[5];
    std::vector<rp_handoff_submission> items;
    for (const ClientConnection &client : clients) {
        items.push_back(submission_of(client.fd.get()));
    }
    std::vector<std::uint64_t> ids(5, 99);
    CHECK(rp_handoff_session_submit(waiting.offering.get(), items.data(), 5, ids.data(), nullptr) == 3);
    CHECK(ids[2] != 99);
    CHECK(ids[3] == 99);
    CHECK(rp_handoff_session_submit(waiting.offering.get(), items.data() + 3, 2, ids.data() + 3, nullptr) ==
          RP_HANDOFF_ERR_LIMIT_SESSION);
    CHECK(ids[3] == 99);
    for (int i = 0; i < 3; ++i) {
        clients[i].fd.release();
    }
}

TEST_CASE("a token of the caller's that was turned away can be used again, and one that the session issued is gone") {
    Setup setup;
    setup.offering.max_in_flight = 1;
    const Waiting waiting(setup);
    const ClientConnection client;
    auto submission = duplicate_of(client);
    const std::uint64_t first = submit(waiting.offering, submission);
    submission.flags |= RP_HANDOFF_SUBMIT_TOKEN;
    submission.token = issue(waiting.broker);
    check_turned_away(waiting.offering, submission, RP_HANDOFF_ERR_LIMIT_SESSION);
    CHECK(statistics(waiting.broker).pending_tokens == 2);
    end(waiting.offering, first);
    submit(waiting.offering, submission);
    CHECK(try_submit(waiting.offering, submission) == RP_HANDOFF_ERR_TOKEN_IN_USE);
    CHECK(statistics(waiting.broker).pending_tokens == 1);
    CHECK(statistics(waiting.broker).issued == 2);
}
