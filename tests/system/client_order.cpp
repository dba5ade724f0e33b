// In which order a client does things that others see.
#include "support/pairs.hpp"
#include "support/town.hpp"

using namespace rp::test;

namespace {

constexpr int patience_ms = 10'000;

bool comes_to_its_end(int fd) {
    pollfd target{fd, POLLIN, 0};
    return poll(&target, 1, patience_ms) == 1 && is_at_end(fd);
}

} // namespace

TEST_CASE(
    "a client that has to reconnect closes its connection to the broker first, so that nobody waits for it there") {
    const Town town;
    Child others([&](const Wire &wire) {
        const UniqueFd door = listener_at(town.door);
        const UniqueFd backend = listener_at(town.reconnect, 0); // full with one
        const UniqueFd in_the_way = dial(town.reconnect);
        wire.say('r');
        const UniqueFd hello = accept_from(door);
        wait_for_input(hello.get());
        read_available(hello.get());
        auto reply = sized<rp_handoff_wire_reply>();
        reply.choice = RP_HANDOFF_REPLY_NEGOTIATED;
        reply.negotiated_protocol = 1;
        SET_PAIR(reply, backend_pipe, town.reconnect);
        write_all(hello.get(), encoded(reply));
        must(comes_to_its_end(hello.get()));
        accept_from(backend);
        const UniqueFd reconnected = accept_from(backend);
        wire.hear();
    });
    REQUIRE(others.hear() == 'r');
    auto request = town.request();
    request.timeout_ns = 30 * second;
    const ConnectedClient client(request);
    CHECK(client.status == RP_HANDOFF_OK);
    CHECK(client.connection.route == RP_HANDOFF_ROUTE_BROKER_NEGOTIATED);
    others.say('e');
    CHECK(others.wait() == 0);
}
