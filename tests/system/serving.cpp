// A backend at work: offers answered in any order, by anybody, late or never, and what is counted of them.
#include <thread>

#include "support/api.hpp"
#include "support/process.hpp"
#include "support/raw_broker.hpp"

using namespace rp::test;

namespace {

// Five brokers, each with its offer taken.
struct Five {
    Five() {
        for (std::uint8_t i = 0; i < 5; ++i) {
            brokers.emplace_back(backend.path);
            brokers.back().offer(token_of(i));
            offers.push_back(take_offer(backend.backend));
            REQUIRE(offers.back() != nullptr);
        }
    }

    void check_answered() const {
        for (std::uint8_t i = 0; i < 5; ++i) {
            CHECK(brokers[i].answer() == acceptance(token_of(i)));
        }
    }

    Listening backend;
    std::vector<RawBroker> brokers;
    std::vector<Offer> offers;
};

} // namespace

TEST_CASE("offers are answered in any order, each to its own broker") {
    Five five;
    for (const std::size_t i : {3U, 1U, 4U, 0U, 2U}) {
        CHECK(accept_and_close(five.offers[i]) == RP_HANDOFF_OK);
        CHECK(five.brokers[i].answer() == acceptance(token_of(static_cast<std::uint8_t>(i))));
    }
}

TEST_CASE("offers are answered from other threads") {
    Five five;
    std::vector<std::thread> threads;
    for (const Offer &offer : five.offers) {
        threads.emplace_back([&offer] { CHECK(accept_and_close(offer) == RP_HANDOFF_OK); });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    five.check_answered();
    CHECK(statistics(five.backend.backend).accepted == 5);
}

TEST_CASE("offers that were given out are answered after their backend is gone") {
    Five five;
    five.backend.backend.reset();
    for (const Offer &offer : five.offers) {
        CHECK(accept_and_close(offer) == RP_HANDOFF_OK);
    }
    five.check_answered();
    for (const RawBroker &broker : five.brokers) {
        CHECK(broker.was_dropped());
    }
}

TEST_CASE("offers that were given out can be refused and dropped after their backend is gone") {
    Five five;
    five.backend.backend.reset();
    CHECK(rp_handoff_offer_refuse(five.offers[0].get(), "late") == RP_HANDOFF_OK);
    CHECK(five.brokers[0].answer() == refusal(token_of(0), "late"));
    five.offers.clear();
    CHECK(five.brokers[1].answer() == refusal(token_of(1), "the backend dropped the offer"));
    CHECK(five.brokers[1].client_was_closed());
}

TEST_CASE("a backend that ends refuses the offers that it holds, and closes what it has not read") {
    Listening backend;
    std::vector<RawBroker> brokers;
    for (std::uint8_t i = 0; i < 3; ++i) {
        brokers.emplace_back(backend.path);
        brokers.back().offer(token_of(i));
    }
    const Offer taken = take_offer(backend.backend); // all three are read then
    CHECK(statistics(backend.backend).unanswered == 3);
    RawBroker unread(backend.path);
    unread.offer(token_of(9));
    backend.backend.reset();
    for (std::uint8_t i = 1; i < 3; ++i) {
        CHECK(brokers[i].answer() == refusal(token_of(i), "the backend is shutting down"));
        CHECK(brokers[i].was_dropped());
        CHECK(brokers[i].client_was_closed());
    }
    CHECK(unread.answer().empty());
    CHECK(unread.client_was_closed());
    CHECK_FALSE(brokers[0].client_was_closed());
    CHECK(accept_and_close(taken) == RP_HANDOFF_OK);
}

TEST_CASE("a broker whose backend ends gets its connection back") {
    const Directory directory;
    const std::string path = directory / "backend";
    Child backend([&](const Wire &wire) {
        Backend own = make_backend();
        must(rp::test::listen_at(own.get(), path.c_str()) == RP_HANDOFF_OK);
        wire.say('r');
        rp_handoff_offer *offer = nullptr;
        must(rp_handoff_backend_next_offer(own.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK);
        own.reset();
        must(wire.hear() == 'g');
        rp_handoff_offer_destroy(offer);
    });
    REQUIRE(backend.hear() == 'r');
    FakeTime time;
    time.meanwhile = [&] {
        backend.say('g');
        CHECK(backend.wait() == 0);
        time.meanwhile = nullptr;
    };
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const ClientConnection client;
    const rp_handoff_request request = request_to(path, client.fd.get(), issue(broker));
    const rp_handoff_outcome outcome = execute(broker, request);
    CHECK(outcome.cause == RP_HANDOFF_CAUSE_BACKEND_REFUSED);
    CHECK(outcome.ownership == RP_HANDOFF_OWNER_BROKER);
}

TEST_CASE("an answer to a broker that is gone is undelivered, and an adopted connection is adopted all the same") {
    Five five;
    for (RawBroker &broker : five.brokers) {
        broker.connection.reset();
    }
    std::int32_t fd = -1;
    CHECK(rp_handoff_offer_accept(five.offers[0].get(), &fd) == RP_HANDOFF_ACK_UNDELIVERED);
    CHECK(five.brokers[0].client.is_served_by(fd));
    UniqueFd(fd).reset();
    CHECK(rp_handoff_offer_refuse(five.offers[1].get(), "no") == RP_HANDOFF_ACK_UNDELIVERED);
    five.offers[2].reset();
    const rp_handoff_backend_statistics counts = statistics(five.backend.backend);
    CHECK(counts.answers_undelivered == 3);
    CHECK(counts.accepted == 1);
    CHECK(counts.refused == 2);
}

TEST_CASE("an offer is answered once") {
    Five five;
    CHECK(accept_and_close(five.offers[0]) == RP_HANDOFF_OK);
    Out<std::int32_t> fd;
    CHECK(rp_handoff_offer_accept(five.offers[0].get(), fd.get()) == RP_HANDOFF_ERR_ANSWERED);
    CHECK(fd.untouched());
    CHECK(rp_handoff_offer_refuse(five.offers[0].get(), "no") == RP_HANDOFF_ERR_ANSWERED);
    CHECK(rp_handoff_offer_refuse(five.offers[1].get(), "no") == RP_HANDOFF_OK);
    CHECK(rp_handoff_offer_accept(five.offers[1].get(), fd.get()) == RP_HANDOFF_ERR_ANSWERED);
    five.offers.clear();
    CHECK(five.brokers[0].answer() == acceptance(token_of(0)));
    CHECK(five.brokers[1].answer() == refusal(token_of(1), "no"));
}

TEST_CASE("a broker that leaves without reading its answer has offered nothing wrong") {
    Five five;
    CHECK(accept_and_close(five.offers[0]) == RP_HANDOFF_OK);
    five.brokers[0].connection.reset(); // which is a reset for the backend
    CHECK(take_offer(five.backend.backend) == nullptr);
    CHECK(statistics(five.backend.backend).connections == 0);
    CHECK(statistics(five.backend.backend).rejected_offers == 0);
}

TEST_CASE("what a backend counts adds up") {
    Listening backend;
    std::vector<RawBroker> brokers;
    for (int i = 0; i < 8; ++i) {
        brokers.emplace_back(backend.path);
    }
    for (std::uint8_t i = 0; i < 5; ++i) {
        brokers[i].offer(token_of(i));
    }
    brokers[5].offer(token_of(0));              // a replay
    brokers[6].send_with_descriptor({1, 2, 3}); // the rest never comes
    brokers[6].connection.reset();
    brokers[7].send(RawBroker::message(token_of(7))); // no descriptor
    std::vector<Offer> offers;
    while (Offer offer = take_offer(backend.backend)) {
        offers.push_back(std::move(offer));
    }
    REQUIRE(offers.size() == 5);
    CHECK(accept_and_close(offers[0]) == RP_HANDOFF_OK);
    CHECK(accept_and_close(offers[1]) == RP_HANDOFF_OK);
    CHECK(rp_handoff_offer_refuse(offers[2].get(), "no") == RP_HANDOFF_OK);
    offers[3].reset();

    const rp_handoff_backend_statistics counts = statistics(backend.backend);
    CHECK(counts.accepted == 2);
    CHECK(counts.refused == 2);
    CHECK(counts.unanswered == 1);
    CHECK(counts.connections == 5); // four that were answered, and the replay's
    CHECK(counts.rejected_tokens == 1);
    CHECK(counts.rejected_offers == 2);
    CHECK(counts.rejected_peers == 0);
    CHECK(counts.answers_undelivered == 0);
}

TEST_CASE("what a broker counts adds up") {
    const Directory directory;
    const std::string nobody = directory / "nobody";
    const SocketPair connection;
    const ClientConnection client;
    FakeTime time;
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    rp_handoff_request request = request_over(connection.a.get(), client.fd.get(), issue(broker));
    REQUIRE(execute(broker, request).ownership == RP_HANDOFF_OWNER_AMBIGUOUS);
    request.socket_path = nobody.c_str();
    request.token = issue(broker);
    REQUIRE(execute(broker, request).ownership == RP_HANDOFF_OWNER_BROKER);
    const rp_handoff_token acknowledged = issue(broker);
    REQUIRE(rp_handoff_broker_acknowledge(broker.get(), &acknowledged, time.now, nullptr) == RP_HANDOFF_OK);
    const rp_handoff_token revoked = issue(broker);
    REQUIRE(rp_handoff_broker_revoke(broker.get(), &revoked) == 1);
    const rp_handoff_token late = issue(broker);
    REQUIRE(rp_handoff_broker_acknowledge(broker.get(), &late, time.now + 5 * second, nullptr) ==
            RP_HANDOFF_ERR_ACK_OVERDUE);
    issue(broker);

    const rp_handoff_broker_statistics counts = statistics(broker);
    CHECK(counts.issued == 6);
    CHECK(counts.completed == 1);
    CHECK(counts.revoked == 1);
    CHECK(counts.overdue == 1);
    CHECK(counts.pending_tokens == 1);
    CHECK(counts.pending_acks == 1);
    CHECK(counts.fallbacks == 2);
    CHECK(counts.fallbacks_owner_broker == 1);
    CHECK(counts.fallbacks_owner_ambiguous == 1);
    CHECK(counts.fallbacks_owner_backend == 0);
    CHECK(counts.fallbacks_by_reason[RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT] == 2);
    CHECK(counts.issued == counts.completed + counts.revoked + counts.overdue + counts.fallbacks + counts.pending_acks);
}
