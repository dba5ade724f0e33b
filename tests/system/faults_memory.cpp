// Memory that runs out at the n-th allocation, for every n: a status or an outcome, nothing leaked, at most one owner, and
// what comes next works.
#include "support/allocations.hpp"
#include "support/api.hpp"
#include "support/raw_broker.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t id = 5;

// A call that changes nothing when it fails.
template <class Call>
void check_call(std::size_t at_least, Call call) {
    for_every_allocation(at_least, [&](std::size_t nth) {
        CAPTURE(nth);
        const auto [status, happened] = without_memory(nth, call);
        CHECK(status == (happened ? RP_HANDOFF_ERR_NO_MEMORY : RP_HANDOFF_OK));
        return happened;
    });
}

// A backend at a path, and a broker; while the broker waits the backend adopts one offer. Allocates nothing by itself.
class Pairing {
  public:
    Pairing() {
        time.meanwhile = [this] { serve(); };
    }

    std::int32_t hand_over(rp_handoff_outcome &outcome) {
        adopted.reset();
        return rp_handoff_broker_execute(broker.get(), &request, &outcome, nullptr);
    }

    void renew() {
        client = ClientConnection();
        request = request_to(path, client.fd.get(), issue(broker));
    }

    FakeTime time;
    Directory directory;
    std::string path = directory / "backend";
    Backend backend = make_listening();
    Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    ClientConnection client;
    rp_handoff_request request{};
    UniqueFd adopted;

  private:
    Backend make_listening() {
        Backend made = make_backend(time.in(sized<rp_handoff_backend_options>()));
        REQUIRE(rp::test::listen_at(made.get(), path.c_str()) == RP_HANDOFF_OK);
        return made;
    }

    // Adopts every offer that is there, so that the last one counts.
    void serve() {
        pollfd target{rp_handoff_backend_get_fd(backend.get()), POLLIN, 0};
        do {
            rp_handoff_offer *offer = nullptr;
            while (rp_handoff_backend_next_offer(backend.get(), 0, &offer) == RP_HANDOFF_OK) {
                std::int32_t fd = -1;
                if (rp_handoff_offer_accept(offer, &fd) >= 0) {
                    adopted.reset(fd);
                }
                rp_handoff_offer_destroy(offer);
            }
        } while (poll(&target, 1, 0) == 1);
    }
};

void check_one_owner(const Pairing &pairing, std::int32_t status, const rp_handoff_outcome &outcome) {
    CHECK((status == RP_HANDOFF_OK || status == RP_HANDOFF_ERR_NO_MEMORY));
    if (status != RP_HANDOFF_OK || outcome.ownership == RP_HANDOFF_OWNER_BROKER) {
        CHECK_FALSE(pairing.adopted);
    }
    if (status == RP_HANDOFF_OK && outcome.ownership == RP_HANDOFF_OWNER_BACKEND) {
        CHECK(pairing.adopted);
    }
}

void check_works(Pairing &pairing) {
    pairing.renew();
    auto outcome = sized<rp_handoff_outcome>();
    CHECK(pairing.hand_over(outcome) == RP_HANDOFF_OK);
    CHECK(outcome.result == RP_HANDOFF_COMPLETED);
    CHECK(pairing.client.is_served_by(pairing.adopted.get()));
}

} // namespace

TEST_CASE("wherever memory runs out in an exchange, nobody owns the connection twice, and the next exchange works") {
    for_every_allocation(5, [](std::size_t nth) {
        CAPTURE(nth);
        Pairing pairing;
        pairing.renew();
        auto outcome = sized<rp_handoff_outcome>();
        const auto [status, happened] = without_memory(nth, [&] { return pairing.hand_over(outcome); });
        check_one_owner(pairing, status, outcome);
        if (status == RP_HANDOFF_ERR_NO_MEMORY) {
            CHECK(statistics(pairing.broker).pending_tokens == 1); // nothing was changed
            CHECK(pairing.hand_over(outcome) == RP_HANDOFF_OK);
        }
        check_works(pairing);
        return happened;
    });
}

TEST_CASE(
    "wherever memory runs out in the tenth exchange, in which everything has been used before, the next one works") {
    for_every_allocation(3, [](std::size_t nth) {
        CAPTURE(nth);
        Pairing pairing;
        for (int i = 0; i < 9; ++i) {
            check_works(pairing);
        }
        pairing.renew();
        auto outcome = sized<rp_handoff_outcome>();
        const auto [status, happened] = without_memory(nth, [&] { return pairing.hand_over(outcome); });
        check_one_owner(pairing, status, outcome);
        check_works(pairing);
        return happened;
    });
}

TEST_CASE("a long answer for which there is no memory leaves nobody sure") {
    const SocketPair connection;
    const ClientConnection client;
    const Broker broker = make_broker();
    bool was_without_memory = false;
    for_every_allocation(1, [&](std::size_t nth) {
        rp_handoff_request request = request_over(connection.a.get(), client.fd.get(), issue(broker));
        request.correlation_id = id;
        const SocketPair fresh;
        request.connection_fd = fresh.a.get();
        write_all(fresh.b.get(), padded_to(acceptance(request.token, id), 4000));
        auto outcome = sized<rp_handoff_outcome>();
        const auto [status, happened] =
            without_memory(nth, [&] { return rp_handoff_broker_execute(broker.get(), &request, &outcome, nullptr); });
        if (happened && status == RP_HANDOFF_OK) {
            was_without_memory = true;
            CHECK(outcome.cause == RP_HANDOFF_CAUSE_NO_MEMORY);
            CHECK(outcome.stage == RP_HANDOFF_STAGE_AWAIT_ACK);
            CHECK(outcome.ownership == RP_HANDOFF_OWNER_AMBIGUOUS);
        }
        return happened;
    });
    CHECK(was_without_memory);
}

TEST_CASE("a long offer for which there is no memory is dropped with its descriptor") {
    for_every_allocation(2, [](std::size_t nth) {
        CAPTURE(nth);
        const Backend backend = make_backend();
        const HandBroker broker(backend);
        ClientConnection client;
        broker.offer(client.fd.get(), token_of(1), padded_to(encoded(wire_offer(token_of(1), "service", id)), 4000));
        client.fd.reset();
        rp_handoff_offer *offer = nullptr;
        const auto [status, happened] =
            without_memory(nth, [&] { return rp_handoff_backend_next_offer(backend.get(), 0, &offer); });
        if (status == RP_HANDOFF_OK) {
            rp_handoff_offer_destroy(offer);
        } else {
            CHECK((status == RP_HANDOFF_ERR_NO_MEMORY || status == RP_HANDOFF_ERR_TIMED_OUT));
            take_offer(backend).reset(); // it may still be there
        }
        CHECK(is_at_end(client.client.get()));
        return happened;
    });
}

TEST_CASE("handles are made whole or not at all") {
    check_call(1, [] {
        rp_handoff_broker *broker = nullptr;
        const std::uint32_t uids[] = {1, 2, 3};
        auto options = sized<rp_handoff_broker_options>();
        options.peer_uids = uids;
        options.peer_uids_length = 3;
        const std::int32_t status = rp_handoff_broker_create(&options, &broker, nullptr);
        rp_handoff_broker_destroy(broker);
        return status;
    });
    check_call(2, [] {
        rp_handoff_backend *backend = nullptr;
        const std::int32_t status = rp_handoff_backend_create(nullptr, &backend, nullptr);
        rp_handoff_backend_destroy(backend);
        return status;
    });
}

TEST_CASE("a token is issued or not, and never half") {
    const Broker broker = make_broker();
    for_every_allocation(1, [&](std::size_t nth) {
        CAPTURE(nth);
        const std::uint32_t before = statistics(broker).pending_tokens;
        rp_handoff_token token{};
        const std::string name(200, 'n');
        const auto [status, happened] =
            without_memory(nth, [&] { return rp_handoff_broker_issue(broker.get(), name.c_str(), 0, &token); });
        CHECK(status == (happened ? RP_HANDOFF_ERR_NO_MEMORY : RP_HANDOFF_OK));
        CHECK(statistics(broker).pending_tokens == before + (happened ? 0 : 1));
        CHECK(statistics(broker).pending_acks == before + (happened ? 0 : 1));
        return happened;
    });
}

TEST_CASE("issuing and announcing go on growing after memory ran out") {
    const Broker broker = make_broker();
    const Backend backend = make_backend();
    for (int round = 0; round < 100; ++round) {
        rp_handoff_token token{};
        const auto issued =
            without_memory(0, [&] { return rp_handoff_broker_issue(broker.get(), "service", 0, &token); });
        if (issued.status != RP_HANDOFF_OK) {
            token = issue(broker);
        }
        const auto expected = without_memory(0, [&] { return rp_handoff_backend_expect(backend.get(), &token); });
        if (expected.status != RP_HANDOFF_OK) {
            CHECK(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
        }
        CHECK(rp_handoff_backend_consume(backend.get(), &token, token.bytes, 16) == RP_HANDOFF_OK);
        CHECK(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    }
    CHECK(statistics(broker).pending_tokens == 100);
}

TEST_CASE("ending tokens takes no memory") {
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const rp_handoff_token revoked = issue(broker);
    const rp_handoff_token acknowledged = issue(broker);
    issue(broker, std::string(200, 's').c_str());
    auto overdue = sized<rp_handoff_overdue>();
    const FailAllocation failing(0);
    CHECK(rp_handoff_broker_revoke(broker.get(), &revoked) == 1);
    CHECK(rp_handoff_broker_acknowledge(broker.get(), &acknowledged, time.now, nullptr) == RP_HANDOFF_OK);
    time.now += 5 * second;
    CHECK(rp_handoff_broker_next_overdue(broker.get(), &overdue) == 1);
    CHECK_FALSE(failing.happened());
}

TEST_CASE("a backend without memory to listen leaves no socket behind, and listens later") {
    const Directory directory;
    const std::string path = directory / "backend";
    const Backend backend = make_backend();
    bool left_behind = false;
    check_call(1, [&] {
        const std::int32_t status = rp::test::listen_at(backend.get(), path.c_str());
        left_behind = left_behind || (status != RP_HANDOFF_OK && access(path.c_str(), F_OK) == 0);
        return status;
    });
    CHECK_FALSE(left_behind);
    CHECK(dial(path));
}

TEST_CASE("what a backend without memory was to take stays the giver's") {
    const Directory directory;
    const Backend backend = make_backend();
    UniqueFd listener = listener_at(directory / "backend");
    SocketPair pair;
    auto options = sized<rp_handoff_listener_options>();
    options.fd = listener.get();
    options.trust = RP_HANDOFF_TRUST_CALLER;
    rp_handoff_listener *made = nullptr;
    check_call(1, [&] {
        CHECK(is_open(listener.get()));
        return rp_handoff_listener_create(&options, &made, nullptr);
    });
    listener.release();
    const Listener owner(made);
    check_call(1, [&] { return rp_handoff_backend_add_listener(backend.get(), made); });
    CHECK(dial(directory / "backend"));
    check_call(1,
               [&] { return rp_handoff_backend_add_connection(backend.get(), pair.b.get(), RP_HANDOFF_TRUST_CALLER); });
    CHECK(is_open(pair.b.get()));
    pair.b.release();
    CHECK(statistics(backend).connections == 1);
}

TEST_CASE("an offer is answered without memory") {
    const Listening backend;
    RawBroker brokers[2] = {RawBroker(backend.path), RawBroker(backend.path)};
    brokers[0].offer(token_of(0));
    brokers[1].offer(token_of(1));
    rp_handoff_offer *const first = take_offer(backend.backend).release();
    rp_handoff_offer *const other = take_offer(backend.backend).release();
    std::int32_t fd = -1;
    {
        const FailAllocation failing(0);
        CHECK(rp_handoff_offer_accept(first, &fd) == RP_HANDOFF_OK);
        rp_handoff_offer_destroy(first);
        rp_handoff_offer_destroy(other);
        CHECK_FALSE(failing.happened());
    }
    UniqueFd(fd).reset();
    CHECK(brokers[0].answer() == acceptance(token_of(0)));
    CHECK(brokers[1].answer() == refusal(token_of(1), "the backend dropped the offer"));
}
