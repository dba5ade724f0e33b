// What an event loop or a thread that polls relies on: the descriptor is readable when there is something to do and not
// when there is nothing, the timeout tells the rest, and answers leave when they should.
#include "support/session_hand.hpp"

using namespace rp::test;

namespace {

// Until the session rests; a session that does not is what the test looks for.
void process_some(const Session &session) {
    for (int i = 0; i < 10 && is_readable(fd_of(session)); ++i) {
        process(session);
    }
}

} // namespace

TEST_CASE("the descriptor of a session stays the same and is to be watched for input") {
    Joined joined;
    const int offering = fd_of(joined.offering);
    const int receiving = fd_of(joined.receiving);
    CHECK((fcntl(offering, F_GETFD) & FD_CLOEXEC) != 0);
    ClientConnection client;
    submit(joined.offering, client);
    accept_offer(joined.next_offer().offer);
    joined.next_outcome();
    rp_handoff_session_close(joined.offering.get());
    joined.turn();
    CHECK(fd_of(joined.offering) == offering);
    CHECK(fd_of(joined.receiving) == receiving);
    CHECK(rp_handoff_session_events(joined.offering.get()) == POLLIN);
    CHECK(rp_handoff_session_events(joined.receiving.get()) == POLLIN);
}

TEST_CASE("a wait of no time does what there is to do, as process does") {
    Joined joined;
    ClientConnection client;
    submit(joined.offering, client);
    CHECK(rp_handoff_session_wait(joined.receiving.get(), 0) == 1);
    accept_offer(take_event(joined.receiving).offer);
    CHECK(rp_handoff_session_wait(joined.receiving.get(), 0) == 0);
    CHECK(rp_handoff_session_wait(joined.offering.get(), 0) == 1);
    CHECK(take_event(joined.offering).ownership == RP_HANDOFF_OWNER_BACKEND);
    CHECK(rp_handoff_session_wait(joined.offering.get(), 0) == 0);
}

TEST_CASE("a session opens by process alone, by waits of no time alone, and by waits that wait") {
    for (const int how : {0, 1, 2}) {
        const Broker broker = make_broker();
        SocketPair pair;
        const Session offering = open_over(broker, std::move(pair.a));
        const Session receiving = receive_over(std::move(pair.b));
        bool open[2] = {};
        while (!open[0] || !open[1]) {
            for (int i = 0; i < 2; ++i) {
                const Session &session = i == 0 ? offering : receiving;
                if (how == 0) {
                    process(session);
                } else {
                    rp_handoff_session_wait(session.get(), how == 1 ? 0 : 1'000'000);
                }
                open[i] = open[i] || take_event(session).kind == RP_HANDOFF_EVENT_OPENED;
            }
        }
    }
}

TEST_CASE("a backend that has no place for the next offer rests, also when its broker has gone") {
    auto options = sized<rp_handoff_session_options>();
    options.max_in_flight = 2;
    hand::BackendScene scene(options);
    ClientConnection clients[4];
    Event held[2];
    for (std::uint32_t i = 0; i < 2; ++i) {
        scene.send_offer(scene.make_offer(i), clients[i].fd.get());
        held[i] = scene.next_event();
        accept_offer(held[i].offer);
        CHECK(take_event(scene.receiving).kind == 0);
        CHECK(scene.hear_answers().size() == 1);
    }
    for (std::uint32_t i = 2; i < 4; ++i) {
        scene.send_offer(scene.make_offer(i), clients[i].fd.get());
    }
    process_some(scene.receiving);
    CHECK_FALSE(is_readable(fd_of(scene.receiving)));
    CHECK(timeout_of(scene.receiving) == RP_HANDOFF_FOREVER);
    scene.close();
    process_some(scene.receiving);
    CHECK_FALSE(is_readable(fd_of(scene.receiving)));
    CHECK(take_event(scene.receiving).kind == 0);
    for (std::size_t i = 2; i < 4; ++i) { // what it had from the broker is still to be had: nobody else has it
        held[i - 2].offer.reset();
        process_some(scene.receiving);
        const Event event = take_event(scene.receiving);
        REQUIRE(event.kind == RP_HANDOFF_EVENT_OFFER);
        const UniqueFd adopted = accept_offer(event.offer, i == 2 ? RP_HANDOFF_OK : RP_HANDOFF_ACK_UNDELIVERED);
        CHECK(are_joined(adopted.get(), clients[i].client.get()));
        CHECK(take_event(scene.receiving).kind == (i == 2 ? 0 : RP_HANDOFF_EVENT_CLOSED));
    }
}

TEST_CASE("answers given while events are taken leave together when the last was taken") {
    Joined joined;
    std::vector<ClientConnection> clients(20);
    std::vector<rp_handoff_submission> items;
    for (ClientConnection &client : clients) {
        items.push_back(submission_of(client.fd.release()));
    }
    REQUIRE(rp_handoff_session_submit(joined.offering.get(), items.data(), sizeof items[0], 20, nullptr) == 20);
    joined.turn();
    const std::uint64_t before = statistics(joined.receiving).messages_sent;
    for (int i = 0; i < 20; ++i) {
        accept_offer(take_event(joined.receiving).offer);
    }
    CHECK(statistics(joined.receiving).messages_sent == before);
    CHECK(take_event(joined.receiving).kind == 0);
    CHECK(statistics(joined.receiving).messages_sent == before + 1);
    CHECK(statistics(joined.offering).messages_sent == 3); // hello, ledger and one with all twenty
}

TEST_CASE("answers given at another time leave at once, also if nobody took the events to the last") {
    for (const bool waits : {true, false}) {
        Joined joined;
        ClientConnection client;
        submit(joined.offering, client);
        const Event offered = joined.next_offer();
        if (waits) {
            CHECK(rp_handoff_session_wait(joined.receiving.get(), 0) == 0);
        } else {
            process(joined.receiving);
        }
        accept_offer(offered.offer);
        turn({&joined.offering});
        CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_OUTCOME);
    }
}

TEST_CASE("flush sends the answers of a moment before the last event is taken") {
    Joined joined;
    ClientConnection clients[2];
    submit(joined.offering, clients[0]);
    submit(joined.offering, clients[1]);
    accept_offer(joined.next_offer().offer);
    CHECK(rp_handoff_session_flush(joined.receiving.get()) == RP_HANDOFF_OK);
    turn({&joined.offering});
    CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_OUTCOME);
    CHECK(rp_handoff_session_flush(joined.offering.get()) == RP_HANDOFF_OK);
}

TEST_CASE("a session is ready when another call than process brought an event, until the event was taken") {
    Joined joined;
    ClientConnection client;
    const std::uint64_t id = submit(joined.offering, client);
    CHECK_FALSE(is_readable(fd_of(joined.offering)));
    CHECK(rp_handoff_session_cancel(joined.offering.get(), id) == 1);
    CHECK(is_readable(fd_of(joined.offering))); // also for a loop that never asked for a timeout
    process(joined.offering);
    CHECK((timeout_of(joined.offering) == 0 || is_readable(fd_of(joined.offering))));
    CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_OUTCOME);
    CHECK_FALSE(is_readable(fd_of(joined.offering)));
    CHECK(timeout_of(joined.offering) > 0);
}

TEST_CASE("a broker whose backend reads nothing is woken when there is room again, and not before") {
    Setup setup;
    setup.offering.max_in_flight = 4096;
    hand::Hello hello;
    hello.max_in_flight = 4096;
    hand::Scene scene(setup, hello);
    const Bytes metadata(RP_HANDOFF_METADATA_MAX);
    std::size_t submitted = 0;
    ClientConnection client;
    do { // until the socket takes nothing, with something left
        auto submission = submission_of(client.fd.get());
        submission.flags = RP_HANDOFF_SUBMIT_DUPLICATE;
        submission.metadata = metadata.data();
        submission.metadata_length = RP_HANDOFF_METADATA_MAX;
        submit(scene.offering, submission);
        ++submitted;
    } while (statistics(scene.offering).messages_sent > submitted);
    process_some(scene.offering);
    CHECK_FALSE(is_readable(fd_of(scene.offering)));
    std::size_t received = 0;
    while (received < submitted) {
        received += scene.backend.hear_offers().size();
        process_some(scene.offering);
    }
    CHECK(received == submitted);
    CHECK_FALSE(is_readable(fd_of(scene.offering)));
}
