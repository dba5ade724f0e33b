// Broker, backend and clients in processes of their own, some of which are killed.
#include "support/town.hpp"

using namespace rp::test;

TEST_CASE("a client's connection goes from the broker's process to the backend's, and stays the one that it has") {
    const Town town;
    const BackendProcess backend(town.handoff, town.reconnect);
    const BrokerProcess broker(town.door, town.handoff, town.reconnect);
    for (int i = 1; i <= 20; ++i) {
        const ConnectedClient client(town.request());
        REQUIRE(client.status == RP_HANDOFF_OK);
        CHECK(client.connection.route == RP_HANDOFF_ROUTE_HANDLE_PASSED);
        CHECK(client.connection.connection_id == static_cast<std::uint64_t>(i));
        CHECK(broker.next_result() == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
        CHECK(client.greeting() == 'A');
    }
}

TEST_CASE("a client that does not adopt reconnects to the backend's process, and one that knows it skips the broker") {
    const Town town;
    const BackendProcess backend(town.handoff, town.reconnect);
    const BrokerProcess broker(town.door, town.handoff, town.reconnect);
    auto request = town.request();
    request.adopt = 0;
    const ConnectedClient client(request);
    REQUIRE(client.status == RP_HANDOFF_OK);
    CHECK(client.connection.route == RP_HANDOFF_ROUTE_BROKER_NEGOTIATED);
    CHECK(client.greeting() == 'R');
    CHECK(broker.next_result() == RP_HANDOFF_FRONT_DOOR_RECONNECT);
    request.cached_endpoint = client.connection.endpoint;
    const ConnectedClient skipping(request);
    REQUIRE(skipping.status == RP_HANDOFF_OK);
    CHECK(skipping.connection.route == RP_HANDOFF_ROUTE_HELLO_SKIP);
    CHECK(skipping.greeting() == 'R');
}

TEST_CASE("a backend that was killed is fallen back from, and one started anew is handed over to") {
    const Town town;
    const BrokerProcess broker(town.door, town.handoff, town.reconnect);
    for (int round = 0; round < 2; ++round) {
        BackendProcess backend(town.handoff, town.reconnect);
        const ConnectedClient client(town.request());
        REQUIRE(client.status == RP_HANDOFF_OK);
        CHECK(client.connection.route == RP_HANDOFF_ROUTE_HANDLE_PASSED);
        CHECK(broker.next_result() == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
        backend.child.signal(SIGKILL);
        CHECK(backend.child.wait() == 128 + SIGKILL);
        CHECK(client.greeting() == 0);
        const ConnectedClient next(town.request());
        CHECK(next.status == RP_HANDOFF_ERR_UNAVAILABLE); // where the broker told it to go
        CHECK(broker.next_result() == RP_HANDOFF_FRONT_DOOR_RECONNECT);
    }
}

TEST_CASE("a backend that stands still leaves its client to its own patience, and the client goes elsewhere") {
    const Town town;
    const BackendProcess backend(town.handoff, town.reconnect);
    const BrokerProcess broker(town.door, town.handoff, town.reconnect, 50'000'000);
    backend.child.stop();
    auto request = town.request();
    request.ready_timeout_ns = 50'000'000; // the connection lies in the backend's queue, and so has no end
    const ConnectedClient client(request);
    CHECK(broker.next_result() == RP_HANDOFF_FRONT_DOOR_RECONNECT);
    backend.child.signal(SIGCONT);
    REQUIRE(client.status == RP_HANDOFF_OK);
    CHECK(client.connection.route == RP_HANDOFF_ROUTE_BROKER_NEGOTIATED);
    CHECK(client.greeting() == 'R');
}

TEST_CASE("a broker that is killed before it answers is tried once more") {
    const Town town;
    const UniqueFd listener = listener_at(town.door);
    const auto die_on_a_client = [&listener](const Wire &) {
        const UniqueFd client = accept_from(listener);
        char byte = 0;
        must(recv(client.get(), &byte, 1, 0) == 1);
        kill(getpid(), SIGKILL);
    };
    Child first(die_on_a_client);
    Child second_broker(die_on_a_client); // at the same socket, as a supervisor would start it
    const ConnectedClient client(town.request());
    CHECK(client.status == RP_HANDOFF_ERR_CLOSED);
    CHECK(first.wait() == 128 + SIGKILL);
    CHECK(second_broker.wait() == 128 + SIGKILL);
    CHECK_FALSE(is_readable(listener.get())); // there was no third try
}

TEST_CASE("a client that is killed in the middle costs its own visit only") {
    const Town town;
    const BackendProcess backend(town.handoff, town.reconnect);
    const BrokerProcess broker(town.door, town.handoff, town.reconnect);
    const Bytes hello = encoded(hello_of());
    for (const std::size_t sent : {std::size_t{0}, std::size_t{3}, hello.size() - 1}) {
        Child client([&](const Wire &wire) {
            const UniqueFd fd = dial(town.door);
            write_all(fd.get(), Bytes(hello.begin(), hello.begin() + static_cast<std::ptrdiff_t>(sent)));
            wire.say('s');
            wire.hear();
        });
        CHECK(client.hear() == 's');
        client.signal(SIGKILL);
        CHECK(client.wait() == 128 + SIGKILL);
        CHECK(broker.next_result() == RP_HANDOFF_FRONT_DOOR_DROPPED);
    }
    const ConnectedClient client(town.request());
    REQUIRE(client.status == RP_HANDOFF_OK);
    CHECK(client.connection.route == RP_HANDOFF_ROUTE_HANDLE_PASSED);
    CHECK(client.greeting() == 'A');
}
