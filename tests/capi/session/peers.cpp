// Who is at the other end of a session: by the kernel's word and no other, and what becomes of one who speaks something
// else.
#include "support/api.hpp"
#include "support/session_hand.hpp"
#include "support/shortage.hpp"
#include "support/valgrind.hpp"

using namespace rp::test;

namespace {

void check_closed(const Session &session, std::int32_t status) {
    turn({&session});
    const Event event = take_event(session);
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == status);
    CHECK(take_event(session).kind == 0);
}

rp_handoff_session_peer peer_of(const Session &session) {
    auto peer = sized<rp_handoff_session_peer>();
    REQUIRE(rp_handoff_session_get_peer(session.get(), &peer) == RP_HANDOFF_OK);
    return peer;
}

} // namespace

TEST_CASE("both sides know who the other one is, by the kernel's word") {
    Setup setup;
    setup.offering.service_name = "\xC3\xA9tage";
    setup.offering.peer_pid = setup.receiving.peer_pid = static_cast<std::uint32_t>(getpid());
    const Joined joined(setup);
    for (const Session *session : {&joined.offering, &joined.receiving}) {
        const auto peer = peer_of(*session);
        CHECK(peer.pid == static_cast<std::uint32_t>(getpid()));
        CHECK(peer.uid == geteuid());
        CHECK(peer.gid == getegid());
        CHECK((peer.pidfd_state == RP_HANDOFF_PIDFD_HELD || peer.pidfd_state == RP_HANDOFF_PIDFD_UNSUPPORTED));
        CHECK((peer.pidfd >= 0) == (peer.pidfd_state == RP_HANDOFF_PIDFD_HELD));
        if (peer.pidfd >= 0) {
            CHECK((fcntl(peer.pidfd, F_GETFD) & FD_CLOEXEC) != 0);
            pollfd alive{peer.pidfd, POLLIN, 0}; // readable when the process has ended
            CHECK(poll(&alive, 1, 0) == 0);
        }
    }
    CHECK(std::string(peer_of(joined.receiving).service_name) == "\xC3\xA9tage");
    CHECK(peer_of(joined.receiving).service_name_length == 6);
    CHECK(peer_of(joined.offering).service_name_length == 0);
}

TEST_CASE("a peer of another pid than the one that was asked for is rejected") {
    for (const bool by_broker : {true, false}) {
        const Broker broker = make_broker();
        auto options = sized<rp_handoff_session_options>();
        options.peer_pid = static_cast<std::uint32_t>(getpid()) + 1;
        SocketPair pair;
        const Session offering =
            open_over(broker, std::move(pair.a), by_broker ? options : sized<rp_handoff_session_options>());
        const Session receiving =
            receive_over(std::move(pair.b), by_broker ? sized<rp_handoff_session_options>() : options);
        turn({&offering, &receiving});
        const Event event = take_event(by_broker ? offering : receiving);
        CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
        CHECK(event.status == RP_HANDOFF_ERR_PEER_REJECTED);
    }
}

TEST_CASE("a hello that was sent before the other side could ask who sends it is believed by nobody") {
    const Broker broker = make_broker();
    SocketPair pairs[2];
    hand::send_with(pairs[0].b.get(), hand::Hello().framed(), {});
    const Session offering = open_over(broker, std::move(pairs[0].a));
    check_closed(offering, RP_HANDOFF_ERR_PEER_REJECTED);

    hand::Hello hello; // of a broker that sends all it has before there is a session at the other end
    hello.role = hand::as_broker;
    const UniqueFd file = hand::memory(64 * 64);
    hand::send_with(pairs[1].b.get(), hello.framed(), {});
    const SocketPair aside;
    hand::send_with(pairs[1].b.get(), hand::frame(hand::ledger, 0, {64, 0, 0, 0}), {file.get(), aside.b.get()});
    const Session receiving = receive_over(std::move(pairs[1].a));
    check_closed(receiving, RP_HANDOFF_ERR_PEER_REJECTED);
}

TEST_CASE("a hello that comes in two pieces is nobody's hello") {
    const Broker broker = make_broker();
    SocketPair pair;
    const Session offering = open_over(broker, std::move(pair.a));
    const Bytes hello = hand::Hello().framed();
    write_all(pair.b.get(), Bytes(hello.begin(), hello.begin() + 10));
    process(offering);
    write_all(pair.b.get(), Bytes(hello.begin() + 10, hello.end()));
    check_closed(offering, RP_HANDOFF_ERR_PROTOCOL);
}

TEST_CASE("a pidfd can be demanded, and where there is none nobody is let in") {
    Setup setup;
    setup.offering.peer_flags = setup.receiving.peer_flags = RP_HANDOFF_PEER_REQUIRE_PIDFD;
    const Broker broker = make_broker();
    SocketPair pair;
    const Session offering = open_over(broker, std::move(pair.a), setup.offering);
    const Session receiving = receive_over(std::move(pair.b), setup.receiving);
    turn({&offering, &receiving});
    const Event event = take_event(offering);
    if (event.kind == RP_HANDOFF_EVENT_OPENED) {
        CHECK(peer_of(offering).pidfd_state == RP_HANDOFF_PIDFD_HELD);
    } else {
        CHECK(event.status == RP_HANDOFF_ERR_PEER_REJECTED); // before Linux 6.5
    }
}

TEST_CASE("where no descriptor is left for a pidfd the session opens without, unless it is demanded" *
          doctest::test_suite(not_under_valgrind)) {
    for (const bool demanded : {false, true}) {
        const Broker broker = make_broker();
        SocketPair pair;
        auto options = sized<rp_handoff_session_options>();
        options.peer_flags = demanded ? std::uint32_t{RP_HANDOFF_PEER_REQUIRE_PIDFD} : 0U;
        const Session offering = open_over(broker, std::move(pair.a), options);
        hand::send_with(pair.b.get(), hand::Hello().framed(), {});
        {
            const NoMoreDescriptors none;
            process(offering);
        }
        const Event event = take_event(offering); // no ledger can be made without a descriptor either
        CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
        CHECK(event.status == (demanded ? RP_HANDOFF_ERR_PEER_REJECTED : RP_HANDOFF_ERR_SYSTEM));
    }
}

TEST_CASE("a peer of the v1 wire on a session's endpoint is turned away, and its descriptor closed") {
    SocketPair pair;
    const Session receiving = receive_over(std::move(pair.b));
    ClientConnection client;
    rp_handoff_token token = token_of(1);
    Bytes message(token.bytes, token.bytes + sizeof token.bytes);
    const Bytes frame = encoded(wire_offer(token, "service", 7));
    message.insert(message.end(), frame.begin(), frame.end());
    hand::send_with(pair.a.get(), message, {client.fd.get()});
    client.fd.reset();
    check_closed(receiving, RP_HANDOFF_ERR_PROTOCOL);
    CHECK(is_at_end(client.client.get()));
}

TEST_CASE("a v1 broker that meets a session's endpoint has no acknowledgement") {
    const Directory directory;
    const std::string path = directory / "session";
    const Listener listener = make_listener(path);
    WithTime clock;
    Session receiving;
    Broker broker = make_broker(clock.in({}).broker);
    clock.time.meanwhile = [&] {
        if (receiving == nullptr) {
            receiving = receive_over(accept_from(listener));
        }
        turn({&receiving});
    };
    const ClientConnection client;
    const rp_handoff_outcome outcome = execute(broker, request_to(path, client.fd.get(), issue(broker)));
    CHECK(outcome.result == RP_HANDOFF_FALLBACK);
    CHECK(outcome.cause == RP_HANDOFF_CAUSE_ACK_MALFORMED); // the session tells what it is
}

TEST_CASE("a session that meets a v1 backend ends, and has sent no descriptor") {
    const Directory directory;
    const std::string path = directory / "backend";
    const Backend backend = make_backend();
    REQUIRE(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
    const Broker broker = make_broker();
    const Session offering = open_at(broker, path);
    ClientConnection client;
    submit(offering, client);
    CHECK(take_offer(backend) == nullptr);
    turn({&offering});
    const Event event = take_event(offering);
    CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_SESSION_LOST));
    CHECK(event.outcome.may_have_reached_backend == 0);
    CHECK(std::string(event.outcome.detail) == "the session ended: the peer speaks v1, not sessions");
    check_closed(offering, RP_HANDOFF_ERR_PROTOCOL);
    CHECK(statistics(backend).rejected_offers == 1);
}
