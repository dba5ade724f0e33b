// A front door whose backend is reached through a session: the client hears nothing before the verdict, and then from
// its backend that it was adopted, or from the broker that it should reconnect.
#include "support/client.hpp"
#include "support/session_hand.hpp"
#include "support/town.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t longest_verdict = 500'000'000;

// A door, a session behind it, and a backend that does what the test says while the broker waits; all on one clock.
class Lodge : public Timed {
  public:
    explicit Lodge(const Setup &setup = {}) : Timed(setup), door(rp::test::make_front_door(broker)) {
        service = sized<rp_handoff_front_door_service>();
        service.name = "service";
        service.version = "2.1";
        service.backend_endpoint = "/where/clients/reconnect";
        service.capabilities = 0xF0;
        service.keepalive_ns = 60 * second;
        service.session = offering.get();
        put();
        time.meanwhile = [this] {
            rp::test::turn({&receiving});
            for (Event event = take_event(receiving); event.kind != 0; event = take_event(receiving)) {
                if (event.kind == RP_HANDOFF_EVENT_OFFER) {
                    deal(event.offer);
                }
            }
        };
    }
    ~Lodge() { time.meanwhile = nullptr; }

    void put() { REQUIRE(rp_handoff_front_door_put_service(door.get(), &service, nullptr) == RP_HANDOFF_OK); }
    Visit serve(const Guest &guest) const { return rp::test::serve(door, guest.brokers_end()); }

    void check_nothing_pending() const {
        CHECK(rp::test::statistics(broker).pending_tokens == 0);
        CHECK(rp::test::statistics(broker).pending_acks == 0);
        CHECK(take_event(offering).kind == 0);
    }

    FrontDoor door;
    rp_handoff_front_door_service service;
    UniqueFd adopted;
    std::function<void(Offer &)> deal = [this](const Offer &offer) { adopted = accept_offer(offer); };
};

// The client was told to reconnect, and promised nothing.
void check_reconnects(const Guest &guest, const Visit &visit) {
    CHECK(visit.visit.result == RP_HANDOFF_FRONT_DOOR_RECONNECT);
    CHECK(visit.visit.ready_delivered == 0);
    const Reply answer = guest.reply();
    CHECK(answer.reply.choice == RP_HANDOFF_REPLY_NEGOTIATED);
    CHECK(std::string(VIEW_PAIR(answer.reply, backend_pipe)) == "/where/clients/reconnect");
    CHECK_FALSE(answer.offers_handoff());
    CHECK(answer.reply.handle_passed_token_length == 0);
    CHECK(answer.reply.connection_id == visit.visit.connection_id);
    CHECK(answer.rest.empty());
}

std::uint32_t failures_of(const Lodge &lodge) {
    auto key = sized<rp_handoff_backend_key>();
    key.service_name = "service";
    key.service_version = "2.1";
    std::uint32_t count = 0;
    REQUIRE(rp_handoff_broker_get_failure_count(lodge.broker.get(), &key, &count, nullptr) == RP_HANDOFF_OK);
    return count;
}

} // namespace

TEST_CASE("an adopted client gets its reply and ready as the first bytes, from its backend in one write") {
    Lodge lodge;
    const Guest guest(hello_of());
    bool silent_before = false;
    Bytes after;
    lodge.deal = [&](const Offer &offer) {
        silent_before = guest.received().empty();
        CHECK(info_of(offer).flags == RP_HANDOFF_OFFER_HAS_PROLOGUE);
        lodge.adopted = accept_offer(offer);
        after = guest.received(); // before the broker can have heard of it
        CHECK(send(lodge.adopted.get(), "greeting", 8, 0) == 8);
    };
    const Visit visit = lodge.serve(guest);
    CHECK(silent_before);
    CHECK(visit.visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
    CHECK(visit.visit.ready_delivered == 1);
    CHECK(visit.visit.attempted == 1);
    CHECK(visit.outcome.result == RP_HANDOFF_COMPLETED);
    CHECK(visit.outcome.correlation_id == visit.visit.connection_id);
    const Reply answer(after);
    CHECK(answer.offers_handoff());
    CHECK((answer.reply.server_capabilities & 0xF0) == 0xF0);
    CHECK(answer.reply.connection_id == visit.visit.connection_id);
    const rp_handoff_token token = answer.token();
    auto ready = sized<rp_handoff_wire_ack>();
    std::size_t consumed = 0;
    CHECK(rp_handoff_wire_decode_ack(answer.rest.data(), answer.rest.size(), RP_HANDOFF_KIND_EVENT, &ready,
                                     &consumed) == RP_HANDOFF_OK);
    CHECK(consumed == answer.rest.size());
    CHECK(ready.accepted == 1);
    CHECK(ready.correlation_id == visit.visit.connection_id);
    CHECK(Bytes(ready.token, ready.token + ready.token_length) == Bytes(token.bytes, token.bytes + sizeof token.bytes));
    CHECK(guest.received().size() == 8);
    lodge.check_nothing_pending();
    CHECK(failures_of(lodge) == 0);
}

TEST_CASE("the reply is answered to the request that asked, whichever of the two sends it") {
    for (const bool accepts : {true, false}) {
        Lodge lodge;
        lodge.deal = [&](const Offer &offer) {
            if (accepts) {
                lodge.adopted = accept_offer(offer);
            }
        };
        const Guest guest(encoded(hello_of(), 4711));
        lodge.serve(guest);
        CHECK(guest.reply().request_id == 4711);
    }
}

TEST_CASE("a client whose backend refuses is told to reconnect, by the broker, and nothing else") {
    Lodge lodge;
    lodge.deal = [](const Offer &offer) { CHECK(rp_handoff_offer_refuse(offer.get(), "not today") == RP_HANDOFF_OK); };
    const Guest guest(hello_of());
    const Visit visit = lodge.serve(guest);
    check_reconnects(guest, visit);
    check_fallback(visit.outcome, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                   RP_HANDOFF_CAUSE_BACKEND_REFUSED, RP_HANDOFF_OWNER_BROKER);
    lodge.check_nothing_pending();
    CHECK(failures_of(lodge) == 1);
}

TEST_CASE("a client waits for the verdict half a second at most, and a backend that comes later finds nothing") {
    Lodge lodge;
    Offer kept;
    lodge.deal = [&](Offer &offer) { kept = std::move(offer); };
    const std::uint64_t before = lodge.time.now;
    const Guest guest(hello_of());
    const Visit visit = lodge.serve(guest);
    CHECK(lodge.time.now == before + longest_verdict);
    check_reconnects(guest, visit);
    CHECK(visit.outcome.cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    CHECK(visit.outcome.ownership == RP_HANDOFF_OWNER_BROKER);
    accept_offer(kept, RP_HANDOFF_ERR_REVOKED);
    CHECK(guest.received().empty());
    lodge.check_nothing_pending();
    CHECK(failures_of(lodge) == 1);
}

TEST_CASE("the broker's own deadline counts where it is shorter") {
    Setup setup;
    setup.broker.ack_deadline_ns = longest_verdict / 10;
    Lodge lodge(setup);
    lodge.deal = [](const Offer &) {};
    lodge.time.meanwhile = nullptr;
    const std::uint64_t before = lodge.time.now;
    const Guest guest(hello_of());
    check_reconnects(guest, lodge.serve(guest));
    CHECK(lodge.time.now == before + longest_verdict / 10);
}

TEST_CASE("a client whose backend has died, or dies with the offer, is told to reconnect") {
    for (const bool before : {true, false}) {
        Lodge lodge;
        lodge.deal = [](const Offer &) {};
        if (before) {
            lodge.receiving.reset();
            lodge.time.meanwhile = nullptr;
        } else {
            lodge.time.meanwhile = [&] { lodge.receiving.reset(); };
        }
        const Guest guest(hello_of());
        const Visit visit = lodge.serve(guest);
        check_reconnects(guest, visit);
        CHECK(visit.outcome.ownership == RP_HANDOFF_OWNER_BROKER);
        CHECK((visit.outcome.cause == RP_HANDOFF_CAUSE_SESSION_LOST ||
               visit.outcome.cause == RP_HANDOFF_CAUSE_BACKEND_REFUSED));
        const Guest next(hello_of());
        const Visit other = lodge.serve(next); // the session is over
        check_reconnects(next, other);
        CHECK(other.visit.attempted == 0);
        CHECK(other.visit.status == RP_HANDOFF_ERR_CLOSED);
        CHECK(statistics(lodge.broker).pending_tokens == 0);
    }
}

TEST_CASE("a client for whom a session has no room is told to reconnect, and no attempt was made") {
    Setup setup;
    setup.offering.max_in_flight = 1;
    Lodge lodge(setup);
    lodge.time.meanwhile = nullptr;
    ClientConnection in_the_way;
    submit(lodge.offering, in_the_way);
    const Guest guest(hello_of());
    const Visit visit = lodge.serve(guest);
    check_reconnects(guest, visit);
    CHECK(visit.visit.attempted == 0);
    CHECK(visit.visit.status == RP_HANDOFF_ERR_LIMIT_SESSION);
    CHECK(statistics(lodge.broker).pending_tokens == 1); // that of what is in the way
    CHECK(failures_of(lodge) == 0);
}

TEST_CASE("clients that cannot be handed over, and backends that fail too often, are not attempted") {
    Setup setup;
    setup.broker.max_failed_attempts = 2;
    Lodge lodge(setup);
    lodge.deal = [](const Offer &offer) { rp_handoff_offer_refuse(offer.get(), nullptr); };
    auto plain = hello_of();
    plain.client_capabilities = 0;
    const Guest old(plain);
    Visit visit = lodge.serve(old);
    check_reconnects(old, visit);
    CHECK(visit.visit.attempted == 0);
    for (int i = 0; i < 2; ++i) {
        const Guest guest(hello_of());
        CHECK(lodge.serve(guest).visit.attempted == 1);
    }
    const Guest limited(hello_of());
    visit = lodge.serve(limited);
    check_reconnects(limited, visit);
    CHECK(visit.visit.attempted == 0);
    CHECK(statistics(lodge.offering).submitted == 2);
}

TEST_CASE("a connection that takes no prologue leaves all of it to the backend, which has adopted it") {
    Lodge lodge;
    const Guest guest(hello_of());
    fill_up(guest.pair.b);
    std::size_t unwritten = 0;
    lodge.deal = [&](const Offer &offer) {
        lodge.adopted = accept_offer(offer);
        unwritten = info_of(offer).unwritten_length;
    };
    const Visit visit = lodge.serve(guest);
    CHECK(visit.visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
    CHECK(unwritten > 0);
}

TEST_CASE("a service has a session of its own broker, open or not, or an endpoint, and not both") {
    Lodge lodge;
    const Broker other = make_broker();
    SocketPair pair;
    const Session foreign = open_over(other, std::move(pair.a));
    auto service = lodge.service;
    const auto status_with = [&](rp_handoff_session *session) {
        service.session = session;
        return rp_handoff_front_door_put_service(lodge.door.get(), &service, nullptr);
    };
    CHECK(status_with(foreign.get()) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(status_with(lodge.receiving.get()) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(status_with(reinterpret_cast<rp_handoff_session *>(lodge.broker.get())) == RP_HANDOFF_ERR_WRONG_HANDLE);
    service.handoff_endpoint = "/some/path";
    CHECK(status_with(lodge.offering.get()) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(status_with(nullptr) == RP_HANDOFF_OK);
}

TEST_CASE("a service outlives the handle of its session, and then sends its clients elsewhere") {
    Lodge lodge;
    lodge.offering.reset();
    lodge.time.meanwhile = nullptr;
    const Guest guest(hello_of());
    const Visit visit = lodge.serve(guest);
    check_reconnects(guest, visit);
    CHECK(visit.visit.status == RP_HANDOFF_ERR_CLOSED);
    CHECK(statistics(lodge.broker).pending_tokens == 0);
}

TEST_CASE("our client takes what a session's backend sends as its connection, and reconnects after anything else") {
    for (const bool accepts : {true, false}) {
        const Town town;
        Child backend([&](const Wire &wire) {
            const Listener listener = make_listener(town.handoff);
            const UniqueFd reconnect = listener_at(town.reconnect);
            wire.say('r');
            const Session receiving = receive_over(accept_from(listener));
            must(await_event(receiving).kind == RP_HANDOFF_EVENT_OPENED);
            const Event event = await_event(receiving, RP_HANDOFF_EVENT_OFFER);
            UniqueFd client;
            if (accepts) {
                client = accept_offer(event.offer);
                must(rp_handoff_session_flush(receiving.get()) == RP_HANDOFF_OK);
            } else {
                must(rp_handoff_offer_refuse(event.offer.get(), nullptr) == RP_HANDOFF_OK);
                must(rp_handoff_session_flush(receiving.get()) == RP_HANDOFF_OK);
                client = accept_from(reconnect);
            }
            char byte = 0;
            must(recv(client.get(), &byte, 1, 0) == 1);
            must(send(client.get(), accepts ? "A" : "R", 1, MSG_NOSIGNAL) == 1);
            wire.hear();
        });
        REQUIRE(backend.hear() == 'r');
        Child broker([&](const Wire &wire) {
            const Broker made = make_broker();
            const FrontDoor door = rp::test::make_front_door(made);
            const Session offering = open_at(made, town.handoff);
            auto service = sized<rp_handoff_front_door_service>();
            service.name = "service";
            service.backend_endpoint = town.reconnect.c_str();
            service.session = offering.get();
            must(rp_handoff_front_door_put_service(door.get(), &service, nullptr) == RP_HANDOFF_OK);
            const UniqueFd listener = listener_at(town.door);
            wire.say('r');
            const UniqueFd client = accept_from(listener);
            auto visit = sized<rp_handoff_front_door_visit>();
            auto outcome = sized<rp_handoff_outcome>();
            must(rp_handoff_front_door_serve(door.get(), client.get(), &visit, &outcome) == RP_HANDOFF_OK);
            if (outcome.ownership == RP_HANDOFF_OWNER_BROKER) {
                shutdown(client.get(), SHUT_RDWR);
            }
            wire.say(static_cast<char>('0' + visit.result));
            wire.hear();
        });
        REQUIRE(broker.hear() == 'r');
        const ConnectedClient client(town.request());
        CHECK(client.status == RP_HANDOFF_OK);
        CHECK(client.connection.route ==
              (accepts ? RP_HANDOFF_ROUTE_HANDLE_PASSED : RP_HANDOFF_ROUTE_BROKER_NEGOTIATED));
        CHECK(client.connection.has_token == (accepts ? 1 : 0));
        CHECK(std::string(client.connection.endpoint) == town.reconnect);
        CHECK(client.greeting() == (accepts ? 'A' : 'R'));
        CHECK(broker.hear() == '0' + (accepts ? RP_HANDOFF_FRONT_DOOR_HANDED_OFF : RP_HANDOFF_FRONT_DOOR_RECONNECT));
    }
}
