// Memory that runs out at the n-th allocation, for every n: a status or an outcome, nothing leaked, nothing lost, and
// what comes next works.
#include "support/allocations.hpp"
#include "support/api.hpp"
#include "support/session_hand.hpp"

using namespace rp::test;

namespace {

void check_works(const Joined &joined) {
    ClientConnection client;
    submit(joined.offering, client);
    const UniqueFd adopted = accept_offer(joined.next_offer().offer);
    CHECK(joined.next_outcome().is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
    CHECK(are_joined(client.client.get(), adopted.get()));
}

} // namespace

TEST_CASE("a session is made whole or not at all, and without memory its descriptor stays the caller's") {
    const Broker broker = make_broker();
    const std::string name(200, 'n');
    const std::uint32_t uids[] = {geteuid()};
    auto options = sized<rp_handoff_session_options>();
    options.service_name = name.c_str();
    options.peer_uids = uids;
    options.peer_uids_length = 1;
    for (const bool receives : {false, true}) {
        for_every_allocation(5, [&](std::size_t nth) {
            CAPTURE(nth);
            SocketPair pair;
            options.connection_fd = pair.a.get();
            Out<rp_handoff_session *> out;
            const auto [status, happened] = without_memory(nth, [&] {
                return receives ? rp_handoff_session_create_backend(&options, out.get(), nullptr)
                                : rp_handoff_session_create_broker(broker.get(), &options, out.get(), nullptr);
            });
            CHECK(status == (happened ? RP_HANDOFF_ERR_NO_MEMORY : RP_HANDOFF_OK));
            CHECK(out.untouched() == happened);
            CHECK(is_open(pair.a.get()));
            if (!happened) {
                Session(out.value).reset();
                pair.a.release();
            }
            return happened;
        });
    }
}

TEST_CASE("a listener is made whole or not at all") {
    const Directory directory;
    const std::string path = directory / "listener";
    for_every_allocation(1, [&](std::size_t nth) {
        Out<rp_handoff_listener *> out;
        const auto [status, happened] =
            without_memory(nth, [&] { return rp::test::create_listener(path.c_str(), out.get()); });
        CHECK(status == (happened ? RP_HANDOFF_ERR_NO_MEMORY : RP_HANDOFF_OK));
        CHECK(exists(path) == !happened);
        Listener(happened ? nullptr : out.value).reset();
        return happened;
    });
}

TEST_CASE("opening, handing over and closing take no memory, once the session is made") {
    const Broker broker = make_broker();
    SocketPair pair;
    const Session offering = open_over(broker, std::move(pair.a));
    const Session receiving = receive_over(std::move(pair.b));
    ClientConnection clients[2];
    for (int round = 0; round < 2; ++round) {
        submit(offering, clients[round]); // the broker's tables grow with the first one
        const FailAllocation failing(0);
        turn({&offering, &receiving});
        for (Event event = take_event(receiving); event.kind != 0; event = take_event(receiving)) {
            std::int32_t fd = -1;
            if (event.kind == RP_HANDOFF_EVENT_OFFER && rp_handoff_offer_accept(event.offer.get(), &fd) >= 0) {
                UniqueFd(fd).reset();
            }
        }
        turn({&offering});
        while (take_event(offering).kind != 0) {
        }
        CHECK_FALSE(failing.happened());
    }
    CHECK(statistics(offering).completed == 2);
    auto event = sized<rp_handoff_event>();
    const std::size_t before = allocations();
    rp_handoff_session_close(offering.get());
    rp_handoff_session_process(receiving.get()); // the goodbye
    rp_handoff_session_process(receiving.get()); // and the end
    rp_handoff_session_process(offering.get());
    rp_handoff_session_next_event(offering.get(), &event, nullptr);
    const std::size_t after = allocations();
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(after == before);
}

TEST_CASE("a submit without memory changes nothing, whatever its payload") {
    const Joined joined;
    const Bytes bytes(65536, 'b');
    Setup setup;
    setup.offering.service_name = "a service whose name is too long to be held in place";
    const Joined named(setup);
    for (const Joined *one : {&joined, &named}) {
        for (const std::uint32_t length : {0U, 1000U, 65536U}) {
            for_every_allocation(length > 0 ? 1 : 0, [&](std::size_t nth) {
                CAPTURE(nth);
                ClientConnection client;
                auto submission = submission_of(client.fd.get());
                submission.early = bytes.data();
                submission.early_length = length;
                const auto before = statistics(one->broker);
                Out<std::uint64_t> id;
                const auto [status, happened] =
                    without_memory(nth, [&] { return try_submit(one->offering, submission, id.get()); });
                CHECK(status == (happened ? RP_HANDOFF_ERR_NO_MEMORY : 1));
                CHECK(id.untouched() == happened);
                CHECK(statistics(one->broker).pending_tokens == before.pending_tokens + (happened ? 0 : 1));
                CHECK(statistics(one->broker).pending_acks == before.pending_acks + (happened ? 0 : 1));
                CHECK(statistics(one->broker).issued == before.issued + (happened ? 0 : 1));
                CHECK(is_open(client.fd.get()));
                if (!happened) {
                    client.fd.release();
                }
                return happened;
            });
        }
        one->turn();
        while (take_event(one->receiving).kind != 0) {
        }
        one->turn();
        while (take_event(one->offering).kind != 0) {
        }
        check_works(*one);
    }
}

TEST_CASE("a token of the caller's is still its own after a submit without memory") {
    Setup setup;
    setup.offering.service_name = "a service whose name is too long to be held in place";
    const Joined joined(setup);
    const ClientConnection client;
    const Bytes bytes(10000);
    auto submission = submission_of(client.fd.get());
    submission.flags = RP_HANDOFF_SUBMIT_TOKEN | RP_HANDOFF_SUBMIT_DUPLICATE;
    submission.early = bytes.data();
    submission.early_length = 10000;
    submission.token = issue(joined.broker, setup.offering.service_name);
    for_every_allocation(1, [&](std::size_t nth) {
        const auto [status, happened] = without_memory(nth, [&] { return try_submit(joined.offering, submission); });
        CHECK(status == (happened ? RP_HANDOFF_ERR_NO_MEMORY : 1));
        return happened;
    });
}

TEST_CASE("of many that are submitted at once those before the one for which there is no memory are, and are counted") {
    const Bytes bytes(10000);
    std::size_t fewer = 0;
    for_every_allocation(3, [&](std::size_t nth) {
        CAPTURE(nth);
        const Joined joined;
        std::vector<ClientConnection> clients(3);
        std::vector<rp_handoff_submission> items;
        for (const ClientConnection &client : clients) {
            auto item = submission_of(client.fd.get());
            item.early = bytes.data();
            item.early_length = 10000;
            items.push_back(item);
        }
        const auto [status, happened] = without_memory(
            nth, [&] { return rp_handoff_session_submit(joined.offering.get(), items.data(), 3, nullptr, nullptr); });
        CHECK((status > 0 || status == RP_HANDOFF_ERR_NO_MEMORY));
        const std::size_t submitted = status > 0 ? static_cast<std::size_t>(status) : 0;
        CHECK((submitted < 3) == happened);
        fewer += submitted == 1 || submitted == 2 ? 1 : 0;
        CHECK(statistics(joined.broker).pending_tokens == submitted);
        for (std::size_t i = 0; i < submitted; ++i) {
            clients[i].fd.release();
            const UniqueFd adopted = accept_offer(joined.next_offer().offer);
            CHECK(are_joined(clients[i].client.get(), adopted.get()));
        }
        return happened;
    });
    CHECK(fewer > 0);
}

TEST_CASE("an execute without memory is an error before anything is sent") {
    Setup setup;
    setup.offering.service_name = "a service whose name is too long to be held in place";
    const Bytes bytes(10000);
    for_every_allocation(2, [&](std::size_t nth) {
        CAPTURE(nth);
        WithTime clock;
        const Joined joined(clock.in(setup));
        const ClientConnection client;
        auto submission = submission_of(client.fd.get());
        submission.early = bytes.data();
        submission.early_length = 10000;
        OutStruct<rp_handoff_outcome> outcome;
        const auto [status, happened] = without_memory(nth, [&] {
            return rp_handoff_session_execute(joined.offering.get(), &submission, outcome.get(), nullptr);
        });
        CHECK(status == (happened ? RP_HANDOFF_ERR_NO_MEMORY : RP_HANDOFF_OK));
        CHECK(outcome.untouched() == happened);
        CHECK(statistics(joined.broker).pending_tokens == 0);
        CHECK(statistics(joined.offering).submitted == (happened ? 0 : 1));
        return happened;
    });
}

TEST_CASE("a backend without memory for an offer's payload refuses that, and takes the next") {
    const Bytes bytes(5000, 'b');
    bool refused = false;
    for_every_allocation(1, [&](std::size_t nth) {
        CAPTURE(nth);
        const Joined joined;
        ClientConnection clients[2];
        for (ClientConnection &client : clients) {
            auto submission = submission_of(client.fd.release());
            submission.early = bytes.data();
            submission.early_length = 5000;
            submit(joined.offering, submission);
        }
        const auto [status, happened] =
            without_memory(nth, [&] { return rp_handoff_session_process(joined.receiving.get()); });
        CHECK(status == RP_HANDOFF_OK);
        joined.turn();
        std::size_t offers = 0;
        for (Event event = take_event(joined.receiving); event.kind != 0; event = take_event(joined.receiving)) {
            accept_offer(event.offer);
            ++offers;
        }
        CHECK(offers == (happened ? 1 : 2));
        joined.turn();
        int by_owner[4] = {};
        for (Event event = take_event(joined.offering); event.kind != 0; event = take_event(joined.offering)) {
            ++by_owner[event.ownership];
            if (event.ownership == RP_HANDOFF_OWNER_BROKER) {
                CHECK(std::string(event.outcome.detail).find("out of memory") != std::string::npos);
                refused = true;
            }
        }
        CHECK(by_owner[RP_HANDOFF_OWNER_BROKER] == (happened ? 1 : 0));
        CHECK(by_owner[RP_HANDOFF_OWNER_BACKEND] == (happened ? 1 : 2));
        check_works(joined);
        return happened;
    });
    CHECK(refused);
}
