// Shortages that are real: full sockets, full backlogs, descriptors in flight. The broker says so promptly, keeps the
// connection, and nothing has left.
#include "support/arrived.hpp"
#include "support/hand_backend.hpp"
#include "support/process.hpp"
#include "support/shortage.hpp"
#include "support/valgrind.hpp"

using namespace rp::test;

namespace {

constexpr rlim_t allowed_in_flight = 32;

void allow(rlim_t descriptors) {
    rlimit limit{};
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = descriptors;
    must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

// Leaves this process, which is not exempt, with so many descriptors in flight that no more may be sent; unix(7),
// ETOOMANYREFS. They are those of `lake`.
void fill_with_descriptors(const SocketPair &lake) {
    auto platform = sized<rp_handoff_platform>();
    must(rp_handoff_get_platform(&platform) == RP_HANDOFF_OK);
    must(platform.in_flight_exempt != RP_HANDOFF_EXEMPT_YES);
    allow(allowed_in_flight);
    send_message(lake.a.get(), {1}, STDIN_FILENO, allowed_in_flight + 1);
}

void check_pressure(const rp_handoff_outcome &outcome) {
    must(outcome.result == RP_HANDOFF_FALLBACK);
    must(outcome.stage == RP_HANDOFF_STAGE_SEND);
    must(outcome.ownership == RP_HANDOFF_OWNER_BROKER);
    must(outcome.cause == RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE);
    must(outcome.reason == RP_HANDOFF_REASON_FD_PRESSURE_DISABLED);
    must(outcome.os_error == ETOOMANYREFS);
    must(outcome.may_have_reached_backend == 0);
}

} // namespace

TEST_CASE("a connection that is full to the brim returns at once, and nothing of the handoff is on it") {
    Scene scene;
    fill_up(scene.connection.a);
    const rp_handoff_outcome outcome = scene.run();
    check_fallback(outcome, RP_HANDOFF_STAGE_SEND, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, RP_HANDOFF_CAUSE_WOULD_BLOCK,
                   RP_HANDOFF_OWNER_BROKER);
    CHECK(outcome.os_error == EAGAIN);
    CHECK(outcome.may_have_reached_backend == 0);
    CHECK(scene.time.waits == 0);
    const Arrived arrived = take_all(scene.connection.b.get());
    CHECK(arrived.bytes % 4096 == 0); // what filled it
    CHECK(arrived.descriptors == 0);
    check_ended(scene.broker, scene.request, scene.flags);
}

TEST_CASE(
    "a dial that finds no place in the backlog ends at the deadline, not before, and says that the backlog is full") {
    const Directory directory;
    const std::string path = directory / "backend";
    const UniqueFd listener = listener_at(path, 0);
    const UniqueFd in_the_way = dial(path);
    auto options = sized<rp_handoff_broker_options>();
    options.ack_deadline_ns = 50'000'000;
    const Broker broker = make_broker(options);
    const ClientConnection client;
    timespec before{};
    REQUIRE(clock_gettime(CLOCK_MONOTONIC, &before) == 0);
    const rp_handoff_request request = request_to(path, client.fd.get(), issue(broker));
    const rp_handoff_outcome outcome = execute(broker, request);
    timespec after{};
    REQUIRE(clock_gettime(CLOCK_MONOTONIC, &after) == 0);
    check_fallback(outcome, RP_HANDOFF_STAGE_SEND, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, RP_HANDOFF_CAUSE_WOULD_BLOCK,
                   RP_HANDOFF_OWNER_BROKER);
    CHECK(std::string(outcome.detail) == "the backlog of the backend's socket is full");
    CHECK(outcome.may_have_reached_backend == 0);
    CHECK((after.tv_sec - before.tv_sec) * 1'000'000'000 + after.tv_nsec - before.tv_nsec >= 50'000'000);
    accept_from(listener);
    CHECK_FALSE(is_readable(listener.get())); // there was only the one in the way
    check_ended(broker, request, Flags(client.fd.get()));
}

TEST_CASE(
    "a user with too many descriptors in flight is told so, keeps the connection, and can go on when they are read" *
    doctest::test_suite(not_under_valgrind)) {
    const SocketPair lake;
    Child broker([&](const Wire &) {
        if (geteuid() == 0) {
            become(stranger);
        }
        Scene scene;
        fill_with_descriptors(lake);
        check_pressure(scene.run());
        must(take_all(scene.connection.b.get()).bytes == 0);

        allow(10 * allowed_in_flight);
        must(take_all(lake.b.get()).descriptors == allowed_in_flight + 1);
        scene.answer = [&](const ReceivedOffer &offer) { scene.send(offer.accepted()); };
        scene.request.token = issue(scene.broker);
        must(scene.run().result == RP_HANDOFF_COMPLETED);
    });
    CHECK(broker.wait() == 0);
}

TEST_CASE("callers with sockets of their own learn of too many descriptors in flight from errno" *
          doctest::test_suite(not_under_valgrind)) {
    const SocketPair lake;
    Child sender([&](const Wire &) {
        if (geteuid() == 0) {
            become(stranger);
        }
        const SocketPair pair;
        fill_with_descriptors(lake);
        const std::uint8_t byte = 1;
        std::size_t sent = 7;
        must(rp_handoff_wire_send(pair.a.get(), STDIN_FILENO, &byte, 1, &sent) == RP_HANDOFF_ERR_SYSTEM);
        must(errno == ETOOMANYREFS);
        must(sent == 7);
    });
    CHECK(sender.wait() == 0);
}
