// What a handoff comes to: who owns the connection, why, what the event gives back, and that it happens once.
#include "support/outcome.hpp"

using namespace rp::test;

TEST_CASE("an offer that is accepted is completed: the backend has the connection and the broker has closed its copy") {
    Timed joined;
    ClientConnection client;
    const std::uint64_t id = submit(joined.offering, client, 42);
    const Event offered = joined.next_offer();
    joined.time.now += 1000;
    UniqueFd adopted = accept_offer(offered.offer);
    CHECK((fcntl(adopted.get(), F_GETFD) & FD_CLOEXEC) != 0);
    const Event event = joined.next_outcome();
    check_completed(event);
    CHECK(event.id == id);
    CHECK(event.user_data == 42);
    CHECK(event.outcome.waited_ns == 1000);
    CHECK(event.outcome.elapsed_ns == 1000);
    CHECK(are_joined(client.client.get(), adopted.get()));
    adopted.reset();
    CHECK(is_at_end(client.client.get()));
    check_at_rest(joined);
    CHECK(statistics(joined.offering).completed == 1);
    CHECK(statistics(joined.receiving).accepted == 1);
    CHECK(statistics(joined.broker).completed == 1);
    CHECK(statistics(joined.broker).issued == 1);
}

TEST_CASE("an offer that is refused comes back with the backend's words, and can be offered again") {
    Joined joined;
    ClientConnection client;
    const int number = client.fd.get();
    submit(joined.offering, client);
    CHECK(rp_handoff_offer_refuse(joined.next_offer().offer.get(), "no \xC3\xA9tage\n left") == RP_HANDOFF_OK);
    Event event = joined.next_outcome();
    check_fell_back(event, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                    RP_HANDOFF_CAUSE_BACKEND_REFUSED);
    CHECK(std::string(event.outcome.detail) == "backend refused the handoff: no \xC3\xA9tage? left");
    CHECK(event.fd.get() == number);
    CHECK(are_joined(client.client.get(), event.fd.get()));
    check_at_rest(joined);

    client.fd = std::move(event.fd);
    submit(joined.offering, client);
    const UniqueFd adopted = accept_offer(joined.next_offer().offer);
    check_completed(joined.next_outcome());
    CHECK(are_joined(client.client.get(), adopted.get()));
    check_at_rest(joined);
}

TEST_CASE("a refusal without a text, and one that is too long, say what there is room for") {
    Joined joined;
    for (const std::string &said : {std::string(), std::string(2000, 'w'), std::string(254, 'w') + "\xC3\xA9"}) {
        ClientConnection client;
        submit(joined.offering, client);
        CHECK(rp_handoff_offer_refuse(joined.next_offer().offer.get(), said.c_str()) == RP_HANDOFF_OK);
        const Event event = joined.next_outcome();
        const std::string detail = event.outcome.detail;
        CHECK(detail.find("backend refused the handoff: ") == 0);
        CHECK(detail.find(said.empty() ? "no reason given" : std::string(200, 'w')) != std::string::npos);
        CHECK(detail.find("\xC3\xA9") == std::string::npos);
    }
}

TEST_CASE("an offer that is destroyed without an answer is refused") {
    Joined joined;
    ClientConnection client;
    submit(joined.offering, client);
    joined.next_offer().offer.reset();
    check_fell_back(joined.next_outcome(), RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                    RP_HANDOFF_CAUSE_BACKEND_REFUSED);
    CHECK(statistics(joined.receiving).refused == 1);
}

TEST_CASE(
    "an offer that nobody answers comes back at its deadline, and the backend that accepts later finds it revoked") {
    Timed joined;
    ClientConnection client;
    submit(joined.offering, client);
    const Event offered = joined.next_offer();
    joined.time.now += 5 * second;
    process(joined.offering);
    Event event = take_event(joined.offering);
    check_fell_back(event, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                    RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    CHECK(statistics(joined.offering).in_flight == 1); // the backend has not answered
    accept_offer(offered.offer, RP_HANDOFF_ERR_REVOKED);
    accept_offer(offered.offer, RP_HANDOFF_ERR_ANSWERED);
    CHECK(rp_handoff_offer_refuse(offered.offer.get(), nullptr) == RP_HANDOFF_ERR_ANSWERED);
    CHECK(statistics(joined.receiving).lost == 1);
    event.fd.reset(); // the broker's was the last one
    CHECK(is_at_end(client.client.get()));
    CHECK(take_event(joined.receiving).kind == 0);
    joined.turn();
    check_at_rest(joined);
}

TEST_CASE("an offer that nobody answers can be refused after its deadline") {
    Timed joined;
    ClientConnection client;
    submit(joined.offering, client);
    const Event offered = joined.next_offer();
    joined.time.now += 5 * second;
    process(joined.offering);
    CHECK(take_event(joined.offering).is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_ACK_TIMED_OUT));
    CHECK(rp_handoff_offer_refuse(offered.offer.get(), "late") == RP_HANDOFF_OK);
    CHECK(take_event(joined.receiving).kind == 0);
    joined.turn();
    check_at_rest(joined);
}

TEST_CASE("a backend that has adopted owns the connection, also if its answer never leaves") {
    hand::Scene scene;
    ClientConnection client;
    auto submission = submission_of(client.fd.get());
    submission.timeout_ns = 200'000'000;
    submit(scene.offering, submission);
    client.fd.release();
    const hand::Offer offer = scene.backend.hear_offer();
    CHECK(scene.backend.page.adopt(offer));
    const Event event = await_event(scene.offering);
    check_completed(event);
    CHECK(are_joined(client.client.get(), offer.fd.get()));
    scene.backend.answer(offer, hand::adopted); // late, and no news
    scene.turn();
    CHECK(take_event(scene.offering).kind == 0);
    CHECK(statistics(scene.offering).in_flight == 0);
    CHECK(statistics(scene.broker).completed == 1);
}

TEST_CASE("a backend that dies while an offer is pending leaves the connection to the broker") {
    hand::Scene scene;
    ClientConnection client;
    submit(scene.offering, client);
    scene.backend.hear_offer();
    scene.backend.close();
    const Event event = scene.next_event();
    check_fell_back(event, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                    RP_HANDOFF_CAUSE_SESSION_LOST);
    CHECK(are_joined(client.client.get(), event.fd.get()));
    const Event closed = take_event(scene.offering);
    CHECK(closed.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(closed.status == RP_HANDOFF_ERR_CLOSED);
    CHECK(take_event(scene.offering).kind == 0);
}

TEST_CASE("a backend that dies after it has adopted has taken the connection with it") {
    hand::Scene scene;
    ClientConnection client;
    submit(scene.offering, client);
    {
        const hand::Offer offer = scene.backend.hear_offer();
        CHECK(scene.backend.page.adopt(offer));
    }
    scene.backend.close();
    check_completed(scene.next_event());
    CHECK(is_at_end(client.client.get()));
    CHECK(take_event(scene.offering).kind == RP_HANDOFF_EVENT_CLOSED);
}

TEST_CASE("a broker takes an acknowledgement for nothing if the ledger does not say the same") {
    hand::Scene scene;
    ClientConnection client;
    submit(scene.offering, client);
    const hand::Offer offer = scene.backend.hear_offer();
    scene.backend.answer(offer, hand::adopted);
    const Event event = scene.next_event();
    check_fell_back(event, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                    RP_HANDOFF_CAUSE_ACK_MALFORMED);
    CHECK_FALSE(scene.backend.page.adopt(offer)); // and now it is too late
}

TEST_CASE("a refusal in words of a connection that was adopted in the ledger is an adoption") {
    hand::Scene scene;
    ClientConnection client;
    submit(scene.offering, client);
    const hand::Offer offer = scene.backend.hear_offer();
    CHECK(scene.backend.page.adopt(offer));
    scene.backend.answer(offer, hand::refused, "no");
    check_completed(scene.next_event());
}

TEST_CASE("a backend that does not find the offer in the ledger leaves the connection to the broker") {
    hand::Scene scene;
    ClientConnection client;
    submit(scene.offering, client);
    scene.backend.answer(scene.backend.hear_offer(), hand::lost);
    check_fell_back(scene.next_event(), RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                    RP_HANDOFF_CAUSE_ACK_UNRELATED);
}

TEST_CASE(
    "a backend that had no descriptor left for the offer leaves the connection to the broker, which is told why") {
    hand::Scene scene;
    ClientConnection client;
    submit(scene.offering, client);
    scene.backend.answer(scene.backend.hear_offer(), hand::no_descriptor);
    check_fell_back(scene.next_event(), RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_FD_PRESSURE_DISABLED,
                    RP_HANDOFF_CAUSE_BACKEND_DESCRIPTORS);
    CHECK(statistics(scene.broker).fd_pressure == 0); // it is not this process that is short of them
}

TEST_CASE("a duplicate is worked on if the caller says so, and its own descriptor stays the caller's") {
    for (const bool accepts : {true, false}) {
        Joined joined;
        const ClientConnection client;
        auto submission = submission_of(client.fd.get());
        submission.flags = RP_HANDOFF_SUBMIT_DUPLICATE;
        submit(joined.offering, submission);
        const Event offered = joined.next_offer();
        UniqueFd adopted;
        if (accepts) {
            adopted = accept_offer(offered.offer);
        } else {
            CHECK(rp_handoff_offer_refuse(offered.offer.get(), nullptr) == RP_HANDOFF_OK);
        }
        const Event event = joined.next_outcome();
        CHECK(event.ownership == (accepts ? RP_HANDOFF_OWNER_BACKEND : RP_HANDOFF_OWNER_BROKER));
        CHECK_FALSE(event.fd);
        CHECK(are_joined(client.fd.get(), client.client.get()));
    }
}

TEST_CASE("each event gives its descriptor back once, in the order of the outcomes") {
    Joined joined;
    std::vector<ClientConnection> clients(5);
    std::vector<int> numbers;
    for (ClientConnection &client : clients) {
        numbers.push_back(client.fd.get());
        submit(joined.offering, client, numbers.size());
    }
    joined.turn();
    for (Event offered = take_event(joined.receiving); offered.kind != 0; offered = take_event(joined.receiving)) {
        CHECK(rp_handoff_offer_refuse(offered.offer.get(), nullptr) == RP_HANDOFF_OK);
    }
    joined.turn();
    for (std::size_t i = 0; i < clients.size(); ++i) {
        const Event event = take_event(joined.offering);
        CHECK(event.fd.get() == numbers[i]);
        CHECK(event.user_data == i + 1);
    }
    check_at_rest(joined);
}

TEST_CASE("the one bad descriptor of a batch fails alone") {
    Joined joined;
    std::vector<ClientConnection> clients(9);
    std::vector<rp_handoff_submission> items;
    for (ClientConnection &client : clients) {
        items.push_back(submission_of(client.fd.release(), items.size()));
    }
    UniqueFd(items[4].fd).reset();
    std::vector<std::uint64_t> ids(items.size());
    CHECK(rp_handoff_session_submit(joined.offering.get(), items.data(), 9, ids.data(), nullptr) == 9);
    Event event = take_event(joined.offering);
    event.fd.release(); // what was bad before is given back
    CHECK(event.id == ids[4]);
    CHECK(event.user_data == 4);
    check_fell_back(event, RP_HANDOFF_STAGE_SEND, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, RP_HANDOFF_CAUSE_SEND_FAILED);
    CHECK(event.outcome.os_error == EBADF);
    CHECK(event.outcome.may_have_reached_backend == 0);
    CHECK(take_event(joined.offering).kind == 0);
    joined.turn();
    std::size_t served = 0;
    for (Event offered = take_event(joined.receiving); offered.kind != 0; offered = take_event(joined.receiving)) {
        const UniqueFd adopted = accept_offer(offered.offer);
        served += served == 4 ? 1 : 0;
        CHECK(are_joined(clients[served++].client.get(), adopted.get()));
    }
    joined.turn();
    for (int i = 0; i < 8; ++i) {
        check_completed(take_event(joined.offering));
    }
    check_at_rest(joined);
}

TEST_CASE("correlation ids are the caller's, or count up, and the backend is told them") {
    Joined joined;
    const std::uint64_t wanted[] = {77, 0, 0, UINT64_MAX};
    const std::uint64_t expected[] = {77, 1, 2, UINT64_MAX};
    for (int i = 0; i < 4; ++i) {
        ClientConnection client;
        auto submission = submission_of(client.fd.get());
        submission.correlation_id = wanted[i];
        submit(joined.offering, submission);
        client.fd.release();
        const Event offered = joined.next_offer();
        CHECK(info_of(offered.offer).correlation_id == expected[i]);
        accept_offer(offered.offer);
        CHECK(joined.next_outcome().outcome.correlation_id == expected[i]);
    }
}
