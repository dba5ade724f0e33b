// Sessions that a forked child inherited: it may end them and their offers, and neither its parent nor the peer
// notices.
#include <thread>

#include "support/descriptors.hpp"
#include "support/session_hand.hpp"
#include "support/valgrind.hpp"

using namespace rp::test;

TEST_CASE("a child that destroys both sides of a session leaves the parent's as they are, whatever is in flight") {
    Joined joined;
    ClientConnection clients[4];
    for (ClientConnection &client : clients) {
        submit(joined.offering, client);
    }
    const Event given = joined.next_offer();
    const Event accepted = joined.next_offer();
    accept_offer(accepted.offer);
    in_a_child([&] {
        joined.offering.reset();
        joined.receiving.reset();
        joined.broker.reset();
    });
    for (const ClientConnection &client : clients) {
        CHECK_FALSE(is_at_end(client.client.get()));
    }
    accept_offer(given.offer);
    accept_offer(joined.next_offer().offer);
    CHECK(rp_handoff_offer_refuse(joined.next_offer().offer.get(), nullptr) == RP_HANDOFF_OK);
    CHECK(take_event(joined.receiving).kind == 0);
    joined.turn();
    for (const std::int32_t owner :
         {RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_OWNER_BROKER}) {
        CHECK(take_event(joined.offering).ownership == owner);
    }
    CHECK(rp_handoff_session_close(joined.offering.get()) == RP_HANDOFF_OK);
    joined.turn();
    CHECK(take_event(joined.offering).status == RP_HANDOFF_OK);
    CHECK(take_event(joined.receiving).status == RP_HANDOFF_OK);
}

TEST_CASE("a child that destroys an offer, with an answer or without, settles nothing and says nothing") {
    hand::BackendScene scene;
    ClientConnection clients[3];
    hand::Offer offers[3];
    Event events[3];
    for (std::uint32_t i = 0; i < 3; ++i) {
        offers[i] = scene.make_offer(i);
        scene.send_offer(offers[i], clients[i].fd.get());
        events[i] = scene.next_event();
    }
    const UniqueFd adopted = accept_offer(events[0].offer); // while events are taken: it has not left yet
    const std::size_t answers_before = scene.has_answers() ? scene.hear_answers().size() : 0;
    in_a_child([&] {
        events[0].offer.reset();
        events[1].offer.reset();
        scene.receiving.reset();
        events[2].offer.reset();
    });
    CHECK((scene.page.of_slot(1) & 7U) == hand::Page::pending);
    CHECK((scene.page.of_slot(2) & 7U) == hand::Page::pending);
    CHECK_FALSE(scene.has_answers());
    const UniqueFd other = accept_offer(events[1].offer);
    CHECK(rp_handoff_offer_refuse(events[2].offer.get(), "no") == RP_HANDOFF_OK);
    CHECK(take_event(scene.receiving).kind == 0);
    CHECK(answers_before + scene.hear_answers().size() == 3);
    CHECK(are_joined(adopted.get(), clients[0].client.get()));
    CHECK(are_joined(other.get(), clients[1].client.get()));
}

TEST_CASE("a child that destroys an offer for which others wait does not take them from its parent") {
    auto options = sized<rp_handoff_session_options>();
    options.max_in_flight = 1;
    hand::BackendScene scene(options);
    ClientConnection clients[2];
    scene.send_offer(scene.make_offer(0), clients[0].fd.get());
    Event event = scene.next_event();
    accept_offer(event.offer);
    CHECK(take_event(scene.receiving).kind == 0);
    scene.send_offer(scene.make_offer(1), clients[1].fd.get());
    scene.turn();
    in_a_child([&] { event.offer.reset(); });
    CHECK(take_event(scene.receiving).kind == 0);
    event.offer.reset();
    const Event next = scene.next_event();
    const UniqueFd adopted = accept_offer(next.offer);
    CHECK(are_joined(adopted.get(), clients[1].client.get()));
}

TEST_CASE("a child that destroys what it inherited closes its copies of the descriptors") {
    const std::size_t before = open_descriptors().size();
    Joined joined;
    ClientConnection clients[2];
    submit(joined.offering, clients[0]);
    submit(joined.offering, clients[1]);
    joined.turn();
    Event given = take_event(joined.receiving);
    in_a_child([&] {
        joined.offering.reset();
        joined.receiving.reset();
        given.offer.reset();
        must(open_descriptors().size() == before + 2 + 1); // the clients' ends, and the child's own wire
    });
    CHECK(rp_handoff_offer_refuse(given.offer.get(), nullptr) == RP_HANDOFF_OK);
}

TEST_CASE("a child can destroy sessions in which threads of its parent wait, and they go on" *
          doctest::test_suite(not_under_valgrind)) {
    Joined joined;
    std::thread waiting([&] {
        std::vector<Event> held; // offers, unanswered
        do {
            held.push_back(await_event(joined.receiving));
        } while (held.back().kind != RP_HANDOFF_EVENT_CLOSED);
    });
    const auto execute = [&] {
        const ClientConnection client;
        auto submission = submission_of(client.fd.get());
        submission.timeout_ns = 300'000'000;
        auto outcome = sized<rp_handoff_outcome>();
        CHECK(rp_handoff_session_execute(joined.offering.get(), &submission, &outcome, nullptr) == RP_HANDOFF_OK);
    };
    std::thread reading(execute);
    std::thread sleeping(execute); // until the other one has read
    while (statistics(joined.offering).in_flight < 2) {
        std::this_thread::yield();
    }
    for (int i = 0; i < 10; ++i) {
        in_a_child([&] { // the owners are left alone: the threads look at them
            rp_handoff_session_destroy(joined.offering.get());
            rp_handoff_session_destroy(joined.receiving.get());
        });
    }
    reading.join();
    sleeping.join();
    CHECK(rp_handoff_session_close(joined.offering.get()) == RP_HANDOFF_OK);
    waiting.join();
}

TEST_CASE("a child that destroys a listener leaves its name and its parent's socket") {
    const Directory directory;
    Listener listener = make_listener(directory / "listener");
    in_a_child([&] { listener.reset(); });
    CHECK(exists(directory / "listener"));
    const UniqueFd dialled = dial(directory / "listener");
    CHECK(accept_from(listener));
}
