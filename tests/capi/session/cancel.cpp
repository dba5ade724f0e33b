// Handoffs that are cancelled at every stage, and those that are waited for in one call.
#include "support/outcome.hpp"

using namespace rp::test;

TEST_CASE("a handoff can be cancelled before it is sent, after it was sent, and not after its outcome") {
    SocketPair pair;
    const Broker broker = make_broker();
    const Session offering = open_over(broker, std::move(pair.a));
    ClientConnection client;
    std::uint64_t id = submit(offering, client);
    CHECK(rp_handoff_session_cancel(offering.get(), id) == 1);
    Event event = take_event(offering);
    check_fell_back(event, RP_HANDOFF_STAGE_SEND, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, RP_HANDOFF_CAUSE_CANCELLED);
    CHECK(event.outcome.may_have_reached_backend == 0);
    CHECK(event.id == id);
    CHECK(rp_handoff_session_cancel(offering.get(), id) == 0);
    CHECK(statistics(offering).in_flight == 0);

    const Session receiving = receive_over(std::move(pair.b));
    turn({&offering, &receiving});
    CHECK(take_event(offering).kind == RP_HANDOFF_EVENT_OPENED);
    CHECK(take_event(receiving).kind == RP_HANDOFF_EVENT_OPENED);
    client.fd = std::move(event.fd);
    id = submit(offering, client);
    turn({&offering, &receiving});
    CHECK(rp_handoff_session_cancel(offering.get(), id) == 1);
    event = take_event(offering);
    check_fell_back(event, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                    RP_HANDOFF_CAUSE_CANCELLED);
    CHECK(event.outcome.may_have_reached_backend == 1);
    accept_offer(take_event(receiving).offer, RP_HANDOFF_ERR_REVOKED);
    CHECK(rp_handoff_session_cancel(offering.get(), id) == 0);
}

TEST_CASE("a handoff that is cancelled after the backend adopted it is the backend's") {
    Joined joined;
    ClientConnection client;
    const std::uint64_t id = submit(joined.offering, client);
    const Event offered = joined.next_offer();
    const UniqueFd adopted = accept_offer(offered.offer);
    CHECK(rp_handoff_session_cancel(joined.offering.get(), id) == 1);
    check_completed(take_event(joined.offering));
    CHECK(take_event(joined.receiving).kind == 0);
    joined.turn();
    check_at_rest(joined);
}

TEST_CASE("an id that nobody gave cancels nothing") {
    Joined joined;
    ClientConnection client;
    const std::uint64_t id = submit(joined.offering, client);
    for (const std::uint64_t other : {std::uint64_t{0}, id - 1, id + 1, id + 4096, id + 255, UINT64_MAX}) {
        CHECK(rp_handoff_session_cancel(joined.offering.get(), other) == 0);
    }
    accept_offer(joined.next_offer().offer);
    check_completed(joined.next_outcome());
}

TEST_CASE("execute hands over and answers the same outcomes, and leaves its descriptor alone") {
    hand::Scene scene;
    for (const int how : {0, 1, 2}) {
        const ClientConnection client;
        const Flags flags(client.fd.get());
        const Child backend([&](const Wire &) {
            const hand::Offer offer = scene.backend.hear_offer();
            must(how == 0 ? scene.backend.page.adopt(offer) : true);
            if (how < 2) {
                scene.backend.answer(offer, how == 0 ? hand::adopted : hand::refused, how == 0 ? "" : "no");
            }
        });
        auto submission = submission_of(client.fd.get(), 1);
        submission.timeout_ns = how < 2 ? 0 : 20'000'000;
        auto outcome = sized<rp_handoff_outcome>();
        CHECK(rp_handoff_session_execute(scene.offering.get(), &submission, &outcome, nullptr) == RP_HANDOFF_OK);
        const std::int32_t causes[] = {RP_HANDOFF_CAUSE_NONE, RP_HANDOFF_CAUSE_BACKEND_REFUSED,
                                       RP_HANDOFF_CAUSE_ACK_TIMED_OUT};
        CHECK(outcome.cause == causes[how]);
        CHECK(outcome.ownership == (how == 0 ? RP_HANDOFF_OWNER_BACKEND : RP_HANDOFF_OWNER_BROKER));
        CHECK(Flags(client.fd.get()) == flags);
        CHECK(are_joined(client.fd.get(), client.client.get()));
    }
    CHECK(take_event(scene.offering).kind == 0);
    CHECK(statistics(scene.offering).in_flight == 1); // one has no answer
}
