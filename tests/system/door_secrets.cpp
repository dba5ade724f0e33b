// Tokens of front door and client: whichever way a visit goes, afterwards none is in the memory of either.
#include "support/memory_scan.hpp"
#include "support/pairs.hpp"
#include "support/session_hand.hpp"
#include "support/town.hpp"
#include "support/valgrind.hpp"

using namespace rp::test;

namespace {

// A broker all of whose tokens are the secret, with a door in this process.
struct Lodge {
    Town town;
    FakeRandom random;
    Broker broker;
    FrontDoor door;
    rp_handoff_front_door_service service = sized<rp_handoff_front_door_service>();

    Lodge() {
        random.next = secret;
        random.step = 0;
        broker = make_broker(random.in(sized<rp_handoff_broker_options>()));
        door = make_front_door(broker);
        service.name = "service";
        service.backend_endpoint = town.reconnect.c_str();
        service.handoff_endpoint = town.handoff.c_str();
    }

    // The client does not read what it is told.
    __attribute__((noinline)) Visit visit() const {
        REQUIRE(rp_handoff_front_door_put_service(door.get(), &service, nullptr) == RP_HANDOFF_OK);
        const Guest guest(hello_of());
        return serve(door, guest.brokers_end());
    }
};

__attribute__((noinline)) void check_visit(const Lodge &lodge, std::int32_t result, std::int32_t cause) {
    const Visit visit = lodge.visit();
    CHECK(visit.visit.result == result);
    CHECK(visit.outcome.cause == cause);
    CHECK(lodge.random.calls > 0);
}

// Another process, which deals with one offer of a session.
auto session_backend(const Town &town, bool accepts) {
    return [&town, accepts](const Wire &wire) {
        const Listener listener = make_listener(town.handoff);
        wire.say('r');
        const Session receiving = receive_over(accept_from(listener));
        must(await_event(receiving).kind == RP_HANDOFF_EVENT_OPENED);
        const Event event = await_event(receiving, RP_HANDOFF_EVENT_OFFER);
        if (accepts) {
            accept_offer(event.offer);
        } else {
            must(rp_handoff_offer_refuse(event.offer.get(), nullptr) == RP_HANDOFF_OK);
        }
        must(rp_handoff_session_flush(receiving.get()) == RP_HANDOFF_OK);
        wire.hear();
    };
}

} // namespace

TEST_CASE("of a visit that ended in a handoff over the v1 wire no token is left in memory" *
          doctest::test_suite(not_under_valgrind)) {
    const Lodge lodge;
    const BackendProcess backend(lodge.town.handoff, lodge.town.reconnect);
    check_visit(lodge, RP_HANDOFF_FRONT_DOOR_HANDED_OFF, RP_HANDOFF_CAUSE_NONE);
    check_no_token_in_memory();
}

TEST_CASE("of a visit whose backend is not there no token is left in memory" *
          doctest::test_suite(not_under_valgrind)) {
    const Lodge lodge;
    check_visit(lodge, RP_HANDOFF_FRONT_DOOR_RECONNECT, RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE);
    check_no_token_in_memory();
}

TEST_CASE("of a visit whose client is gone before the reply no token is left in memory" *
          doctest::test_suite(not_under_valgrind)) {
    const Lodge lodge;
    const auto visit = [&] {
        REQUIRE(rp_handoff_front_door_put_service(lodge.door.get(), &lodge.service, nullptr) == RP_HANDOFF_OK);
        Guest guest(hello_of());
        guest.pair.a.reset();
        CHECK(serve(lodge.door, guest.brokers_end()).visit.result == RP_HANDOFF_FRONT_DOOR_DROPPED);
    };
    visit();
    check_no_token_in_memory();
}

TEST_CASE("of a visit whose backend is reached through a session, and accepts or refuses, no token is left in memory" *
          doctest::test_suite(not_under_valgrind)) {
    for (const bool accepts : {true, false}) {
        CAPTURE(accepts);
        Lodge lodge;
        const Child backend(session_backend(lodge.town, accepts));
        REQUIRE(backend.hear() == 'r');
        const Session offering = open_at(lodge.broker, lodge.town.handoff);
        REQUIRE(await_event(offering).kind == RP_HANDOFF_EVENT_OPENED);
        lodge.service.handoff_endpoint = nullptr;
        lodge.service.session = offering.get();
        check_visit(lodge, accepts ? RP_HANDOFF_FRONT_DOOR_HANDED_OFF : RP_HANDOFF_FRONT_DOOR_RECONNECT,
                    accepts ? RP_HANDOFF_CAUSE_NONE : RP_HANDOFF_CAUSE_BACKEND_REFUSED);
        check_no_token_in_memory();
    }
}

TEST_CASE(
    "of a token that a client was told only the caller's copy is left in memory, whichever way it came to its backend" *
    doctest::test_suite(not_under_valgrind) * doctest::skip(frames_are_kept)) {
    for (const bool adopts : {true, false}) {
        CAPTURE(adopts);
        const Town town;
        const BackendProcess backend(town.handoff, town.reconnect);
        const Child broker([&](const Wire &wire) {
            Lodge lodge;
            lodge.service.backend_endpoint = town.reconnect.c_str();
            lodge.service.handoff_endpoint = adopts ? town.handoff.c_str() : "/nowhere/backend";
            must(rp_handoff_front_door_put_service(lodge.door.get(), &lodge.service, nullptr) == RP_HANDOFF_OK);
            const UniqueFd listener = listener_at(town.door);
            wire.say('r');
            UniqueFd client = accept_from(listener);
            serve(lodge.door, client.get());
            client.reset();
            wire.hear();
        });
        REQUIRE(broker.hear() == 'r');
        auto request = town.request();
        request.ready_timeout_ns = adopts ? 3600 * second : second / 100;
        const auto connect = [&request, adopts] {
            ConnectedClient client(request);
            CHECK(client.status == RP_HANDOFF_OK);
            CHECK((client.connection.route == RP_HANDOFF_ROUTE_HANDLE_PASSED) == adopts);
            CHECK(client.connection.has_token == 1);
            rp_handoff_token_wipe(&client.connection.token);
        };
        connect();
        check_no_token_in_memory();
    }
}

TEST_CASE("of tokens that were encoded into frames only the caller's bytes are left in memory" *
          doctest::test_suite(not_under_valgrind) * doctest::skip(frames_are_kept)) {
    rp_handoff_token token = token_of(secret);
    const auto encode_all = [&token] {
        Bytes out(1024);
        std::size_t length = 0;
        const rp_handoff_wire_offer offer = wire_offer(token, "service", 7);
        CHECK(rp_handoff_wire_encode_offer(&offer, out.data(), out.size(), &length) == RP_HANDOFF_OK);
        const rp_handoff_wire_ack ack = wire_ack(token, true, 7);
        CHECK(rp_handoff_wire_encode_ack(&ack, RP_HANDOFF_KIND_RESPONSE, out.data(), out.size(), &length) ==
              RP_HANDOFF_OK);
        auto reply = sized<rp_handoff_wire_reply>();
        reply.choice = RP_HANDOFF_REPLY_NEGOTIATED;
        reply.negotiated_protocol = 1;
        SET_PAIR(reply, backend_pipe, "/where/clients/reconnect");
        reply.handle_passed_token = token.bytes;
        reply.handle_passed_token_length = sizeof token.bytes;
        CHECK(rp_handoff_wire_encode_reply(&reply, 1, out.data(), out.size(), &length) == RP_HANDOFF_OK);
        explicit_bzero(out.data(), out.size());
    };
    encode_all();
    clear_stack();
    CHECK(tokens_in_memory() == 1);
    rp_handoff_token_wipe(&token);
}
