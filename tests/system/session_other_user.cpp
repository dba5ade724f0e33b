// Sessions between processes of different users, and with too many descriptors in flight for one. Needs root, to become
// other users.
#include <sys/resource.h>

#include "support/session_hand.hpp"
#include "support/valgrind.hpp"

using namespace rp::test;

namespace {

constexpr uid_t another = stranger + 1;

rp_handoff_session_options allowing(const std::uint32_t *uids, std::uint32_t count, std::uint32_t flags = 0) {
    auto options = sized<rp_handoff_session_options>();
    options.peer_uids = uids;
    options.peer_uids_length = count;
    options.peer_flags = flags;
    return options;
}

// What a session of either side comes to with a peer of another user at the other end of a socketpair of this
// process's.
std::int32_t status_with_stranger(bool as_broker, const rp_handoff_session_options &options) {
    SocketPair pair;
    Child peer([&](const Wire &wire) {
        pair.a.reset();
        become(stranger);
        const Broker broker = make_broker();
        auto any = sized<rp_handoff_session_options>();
        any.peer_flags = RP_HANDOFF_PEER_ANY_UID;
        const Session session =
            as_broker ? receive_over(std::move(pair.b), any) : open_over(broker, std::move(pair.b), any);
        while (await_event(session).kind != RP_HANDOFF_EVENT_CLOSED) {
        }
        wire.say('c');
    });
    pair.b.reset();
    const Broker broker = make_broker();
    const Session session =
        as_broker ? open_over(broker, std::move(pair.a), options) : receive_over(std::move(pair.a), options);
    const Event event = await_event(session);
    if (event.kind == RP_HANDOFF_EVENT_OPENED) {
        auto known = sized<rp_handoff_session_peer>();
        CHECK(rp_handoff_session_get_peer(session.get(), &known) == RP_HANDOFF_OK);
        CHECK(known.uid == stranger);
        CHECK(known.pid == static_cast<std::uint32_t>(peer.pid()));
    }
    return event.kind == RP_HANDOFF_EVENT_OPENED ? RP_HANDOFF_OK : event.status;
}

} // namespace

TEST_CASE("over a socketpair that this process made, the one who speaks is who counts, and another user is rejected") {
    const std::uint32_t strangers[] = {another, stranger};
    const std::uint32_t others[] = {0, another};
    for (const bool as_broker : {true, false}) {
        CAPTURE(as_broker);
        const auto status_of = [as_broker](const rp_handoff_session_options &options) {
            return status_with_stranger(as_broker, options);
        };
        CHECK(status_of(sized<rp_handoff_session_options>()) == RP_HANDOFF_ERR_PEER_REJECTED);
        CHECK(status_of(allowing(others, 2)) == RP_HANDOFF_ERR_PEER_REJECTED);
        CHECK(status_of(allowing(strangers, 2)) == RP_HANDOFF_OK);
        CHECK(status_of(allowing(nullptr, 0, RP_HANDOFF_PEER_ANY_UID)) == RP_HANDOFF_OK);
    }
}

TEST_CASE("an endpoint that another user has bound hears not a word, unless that user is allowed") {
    const Directory directory;
    REQUIRE(chown(directory.path().c_str(), stranger, stranger) == 0);
    const std::string path = directory / "backend";
    Child backend([&](const Wire &wire) {
        become(stranger);
        const Listener listener = make_listener(path);
        wire.say('l');
        const UniqueFd first = accept_from(listener);
        must(read_available(first.get()).empty());
        auto options = sized<rp_handoff_session_options>();
        options.peer_flags = RP_HANDOFF_PEER_ANY_UID;
        const Session receiving = receive_over(accept_from(listener), options);
        must(await_event(receiving).kind == RP_HANDOFF_EVENT_OPENED);
        wire.say('o');
        wire.hear();
    });
    REQUIRE(backend.hear() == 'l');
    const Broker broker = make_broker();
    auto options = sized<rp_handoff_session_options>();
    options.socket_path = path.c_str();
    Out<rp_handoff_session *> out;
    CHECK(rp_handoff_session_create_broker(broker.get(), &options, out.get(), nullptr) == RP_HANDOFF_ERR_PEER_REJECTED);
    CHECK(out.untouched());
    const std::uint32_t uid = stranger;
    options = allowing(&uid, 1);
    const Session offering = open_at(broker, path, options);
    CHECK(await_event(offering).kind == RP_HANDOFF_EVENT_OPENED);
    CHECK(backend.hear() == 'o');
}

TEST_CASE("who passes a connection on to another user is not who speaks over it") {
    SocketPair pair;
    Child forwarder([&](const Wire &wire) { // of root's, as this process, and root speaks first
        pair.a.reset();
        hand::Hello hello;
        hello.role = hand::as_broker;
        write_all(pair.b.get(), hello.framed());
        wire.say('h');
        wire.hear();
        const UniqueFd file = hand::memory(64 * 64);
        const SocketPair aside;
        become(stranger);
        hand::send_with(pair.b.get(), hand::frame(hand::ledger, 0, {64, 0, 0, 0}), {file.get(), aside.b.get()});
        wire.say('s');
        wire.hear();
    });
    pair.b.reset();
    const Session receiving = receive_over(std::move(pair.a));
    REQUIRE(forwarder.hear() == 'h');
    process(receiving);
    forwarder.say('g');
    REQUIRE(forwarder.hear() == 's');
    const Event event = await_event(receiving);
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == RP_HANDOFF_ERR_PEER_REJECTED);
}

TEST_CASE("too many descriptors in flight for a user are a fallback, and the session goes on when there is room again" *
          doctest::test_suite(not_under_valgrind)) {
    Child child([](const Wire &) {
        become(another);
        Setup setup;
        setup.broker.in_flight_percent = 100;
        rlimit limit{32, 32};
        const Joined joined(setup);
        const SocketPair lake;
        hand::send_with(lake.a.get(), {1}, std::vector<int>(33, STDIN_FILENO));
        must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        ClientConnection client;
        submit(joined.offering, client);
        Event event = take_event(joined.offering);
        must(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE));
        must(event.outcome.os_error == ETOOMANYREFS);
        must(event.outcome.may_have_reached_backend == 0);
        must(statistics(joined.broker).fd_pressure == 1);
        char byte = 0;
        must(recv(lake.b.get(), &byte, 1, 0) == 1);
        client.fd = std::move(event.fd);
        submit(joined.offering, client);
        const UniqueFd adopted = accept_offer(joined.next_offer().offer);
        must(are_joined(adopted.get(), client.client.get()));
        must(joined.next_outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
    });
    CHECK(child.wait() == 0);
}
