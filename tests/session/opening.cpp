// How a session comes to be: dialled by path or over a connected socket, by either side; who is at the other end; and what
// becomes of one whose peer is silent, full, foreign, or speaks something else.
#include "../fault/shortage.hpp"
#include "hand.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t open_timeout = 5 * second;

void check_closed(const Session &session, std::int32_t status) {
    turn({&session});
    const Event event = take_event(session);
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == status);
    CHECK(take_event(session).kind == 0);
}

void check_works(const Session &offering, const Session &receiving) {
    ClientConnection client;
    submit(offering, client);
    turn({&offering, &receiving});
    const UniqueFd adopted = accept_offer(take_event(receiving).offer);
    CHECK(take_event(receiving).kind == 0);
    turn({&offering});
    CHECK(take_event(offering).ownership == RP_HANDOFF_OWNER_BACKEND);
    CHECK(are_joined(client.client.get(), adopted.get()));
}

void check_opens(const Session &offering, const Session &receiving) {
    turn({&offering, &receiving});
    CHECK(take_event(offering).kind == RP_HANDOFF_EVENT_OPENED);
    CHECK(take_event(receiving).kind == RP_HANDOFF_EVENT_OPENED);
    check_works(offering, receiving);
}

rp_handoff_session_peer peer_of(const Session &session) {
    auto peer = sized<rp_handoff_session_peer>();
    REQUIRE(rp_handoff_session_peer_get(session.get(), &peer) == RP_HANDOFF_OK);
    return peer;
}

std::int32_t status_of_open(const Broker &broker, const char *path) {
    auto options = sized<rp_handoff_session_options>();
    options.socket_path = path;
    Out<rp_handoff_session *> out;
    const std::int32_t status = rp_handoff_session_open(broker.get(), &options, out.get());
    CHECK(out.untouched());
    CHECK(rp_handoff_session_receive(&options, out.get()) == status);
    CHECK(out.untouched());
    return status;
}

} // namespace

TEST_CASE(
    "a session opens over a socketpair, over what a listener accepted, and either side may be the one that dials") {
    const Broker broker = make_broker();
    {
        SocketPair pair;
        const Session offering = open_over(broker, std::move(pair.a));
        check_opens(offering, receive_over(std::move(pair.b)));
    }
    const Directory directory;
    const Listener listener = make_listener(directory / "backend");
    {
        const Session offering = open_at(broker, directory / "backend");
        CHECK(is_readable(rp_handoff_listener_fd(listener.get())));
        check_opens(offering, receive_over(accept_from(listener)));
    }
    {
        const Session receiving = receive_at(directory / "backend");
        check_opens(open_over(broker, accept_from(listener)), receiving);
    }
}

TEST_CASE(
    "a session opens also if its peer comes to its own session late, after all that the first could say was said") {
    const Broker broker = make_broker();
    for (const bool broker_first : {true, false}) {
        SocketPair pair;
        Session offering;
        Session receiving;
        if (broker_first) {
            offering = open_over(broker, std::move(pair.a));
            turn({&offering});
            receiving = receive_over(std::move(pair.b));
        } else {
            receiving = receive_over(std::move(pair.b));
            turn({&receiving});
            offering = open_over(broker, std::move(pair.a));
        }
        check_opens(offering, receiving);
    }
}

TEST_CASE("what is submitted before a session is open is sent when it is") {
    const Broker broker = make_broker();
    SocketPair pair;
    const Session offering = open_over(broker, std::move(pair.a));
    ClientConnection client;
    submit(offering, client);
    auto peer = sized<rp_handoff_session_peer>();
    CHECK(rp_handoff_session_peer_get(offering.get(), &peer) == RP_HANDOFF_ERR_UNAVAILABLE);
    const Session receiving = receive_over(std::move(pair.b));
    turn({&offering, &receiving});
    CHECK(take_event(receiving).kind == RP_HANDOFF_EVENT_OPENED);
    const UniqueFd adopted = accept_offer(take_event(receiving).offer);
    CHECK(are_joined(client.client.get(), adopted.get()));
}

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
    const SocketPair answers;
    hand::send_with(pairs[1].b.get(), hand::frame(hand::ledger, 0, {64, 0, 0, 0}), {file.get(), answers.b.get()});
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

TEST_CASE("where no descriptor is left for a pidfd the session opens without, unless it is demanded") {
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

TEST_CASE("a silent peer ends a session at the open timeout and not before, and what was submitted comes back") {
    WithTime clock;
    for (const bool by_broker : {true, false}) {
        SocketPair pair;
        const Broker broker = make_broker(clock.in({}).broker);
        const Session session =
            by_broker ? open_over(broker, std::move(pair.a)) : receive_over(std::move(pair.a), clock.in({}).receiving);
        ClientConnection client;
        if (by_broker) {
            auto submission = submission_of(client.fd.release());
            submit(session, submission);
        }
        CHECK(timeout_of(session) == open_timeout);
        clock.time.now += open_timeout - 1;
        process(session);
        CHECK(take_event(session).kind == 0);
        CHECK(timeout_of(session) == 1);
        clock.time.now += 1;
        process(session);
        if (by_broker) {
            const Event event = take_event(session);
            CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_SESSION_LOST));
            CHECK(are_joined(event.fd.get(), client.client.get()));
        }
        check_closed(session, RP_HANDOFF_ERR_TIMED_OUT);
    }
}

TEST_CASE("a peer that has gone ends a session, and one that was gone before keeps it from beginning") {
    const Broker broker = make_broker();
    SocketPair pairs[3];
    const Session offering = open_over(broker, std::move(pairs[0].a));
    const Session receiving = receive_over(std::move(pairs[1].a));
    pairs[0].b.reset();
    pairs[1].b.reset();
    check_closed(offering, RP_HANDOFF_ERR_CLOSED);
    check_closed(receiving, RP_HANDOFF_ERR_CLOSED);
    pairs[2].b.reset();
    Session none;
    CHECK(try_open(broker, pairs[2].a, sized<rp_handoff_session_options>(), none) == RP_HANDOFF_ERR_CLOSED);
    CHECK(is_open(pairs[2].a.get()));
}

TEST_CASE("paths are checked as they are everywhere, and nobody listening is told at once") {
    const Broker broker = make_broker();
    const Directory directory;
    CHECK(status_of_open(broker, "") == RP_HANDOFF_ERR_PATH_INVALID);
    CHECK(status_of_open(broker, "@abstract") == RP_HANDOFF_ERR_PATH_INVALID);
    CHECK(status_of_open(broker, std::string(108, 'p').c_str()) == RP_HANDOFF_ERR_PATH_INVALID);
    CHECK(status_of_open(broker, (directory / "nobody").c_str()) == RP_HANDOFF_ERR_UNAVAILABLE);
    const UniqueFd bound = bound_at(directory / "bound");
    CHECK(status_of_open(broker, (directory / "bound").c_str()) == RP_HANDOFF_ERR_UNAVAILABLE);
}

TEST_CASE("only a connected stream socket of the Unix kind can be a session's, and on failure it stays the caller's") {
    const Broker broker = make_broker();
    const Directory directory;
    const UniqueFd not_connected(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const UniqueFd listening = listener_at(directory / "listening");
    const SocketPair packets(SOCK_SEQPACKET);
    const SocketPair datagrams(SOCK_DGRAM);
    const Front front(ClientKind::tcp);
    const UniqueFd tcp = front.connect();
    const UniqueFd file(open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int fd :
         {-1, 9999, not_connected.get(), listening.get(), packets.a.get(), datagrams.a.get(), tcp.get(), file.get()}) {
        CAPTURE(fd);
        auto options = sized<rp_handoff_session_options>();
        options.connection_fd = fd;
        Out<rp_handoff_session *> out;
        const std::int32_t status = rp_handoff_session_open(broker.get(), &options, out.get());
        CHECK(status == RP_HANDOFF_ERR_INVALID_ARGUMENT);
        CHECK(out.untouched());
        CHECK(rp_handoff_session_receive(&options, out.get()) == status);
        CHECK(out.untouched());
        CHECK((fd < 0 || fd == 9999 || is_open(fd)));
    }
}

TEST_CASE("a dial into a full backlog is tried again, after pauses that grow, and opens when there is a place") {
    WithTime clock;
    const Directory directory;
    const UniqueFd listener = listener_at(directory / "full", 0);
    const UniqueFd in_the_way = dial(directory / "full");
    const Broker broker = make_broker(clock.in({}).broker);
    const Session offering = open_at(broker, directory / "full");
    for (const std::uint64_t ms : {1U, 2U, 4U, 8U, 16U, 32U, 50U, 50U}) {
        CHECK(timeout_of(offering) == ms * 1'000'000);
        clock.time.now += ms * 1'000'000;
        process(offering);
        CHECK(take_event(offering).kind == 0);
    }
    accept_from(listener);
    CHECK_FALSE(is_readable(listener.get()));
    clock.time.now += timeout_of(offering);
    process(offering);
    check_opens(offering, receive_over(accept_from(listener)));
}

TEST_CASE("a dial that finds no place in the backlog ends at the open timeout, and so does one whose listener goes") {
    for (const bool goes : {false, true}) {
        WithTime clock;
        const Directory directory;
        UniqueFd listener = listener_at(directory / "full", 0);
        const UniqueFd in_the_way = dial(directory / "full");
        const Broker broker = make_broker(clock.in({}).broker);
        const std::uint64_t until = clock.time.now + open_timeout;
        const Session offering = open_at(broker, directory / "full");
        ClientConnection client;
        submit(offering, client);
        if (goes) {
            listener.reset();
        }
        Event event;
        while (event.kind == 0) {
            REQUIRE(clock.time.now < until);
            clock.time.now += timeout_of(offering);
            process(offering);
            event = take_event(offering);
        }
        CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_SESSION_LOST));
        CHECK(goes == (clock.time.now < until));
        check_closed(offering, goes ? RP_HANDOFF_ERR_UNAVAILABLE : RP_HANDOFF_ERR_TIMED_OUT);
    }
}

TEST_CASE("a listener has its rules, and gives connections as they come") {
    const Directory directory;
    const std::string path = directory / "listener";
    Listener listener = make_listener(path);
    CHECK((fcntl(rp_handoff_listener_fd(listener.get()), F_GETFD) & FD_CLOEXEC) != 0);
    Out<rp_handoff_listener *> out;
    CHECK(rp_handoff_listener_create("@abstract", out.get()) == RP_HANDOFF_ERR_PATH_INVALID);
    CHECK(rp_handoff_listener_create(nullptr, out.get()) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp_handoff_listener_create(path.c_str(), nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp_handoff_listener_create("/tmp/rp_handoff_unsafe", out.get()) == RP_HANDOFF_ERR_PATH_UNSAFE);
    CHECK(out.untouched());
    Out<std::int32_t> fd;
    CHECK(rp_handoff_listener_accept(listener.get(), 0, fd.get()) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(rp_handoff_listener_accept(listener.get(), 1'000'000, fd.get()) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(fd.untouched());
    CHECK(rp_handoff_listener_accept(listener.get(), 0, nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    const UniqueFd dialled = dial(path);
    CHECK(is_readable(rp_handoff_listener_fd(listener.get())));
    const UniqueFd accepted = accept_from(listener);
    CHECK((fcntl(accepted.get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(are_joined(dialled.get(), accepted.get()));
    CHECK(rp_handoff_listener_create(path.c_str(), out.get()) == RP_HANDOFF_ERR_PATH_IN_USE);
    CHECK(out.untouched());
    listener.reset();
    CHECK_FALSE(exists(path));
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
    CHECK(outcome.cause == RP_HANDOFF_CAUSE_BACKEND_CLOSED);
}

TEST_CASE("a session that meets a v1 backend ends, and has sent no descriptor") {
    const Directory directory;
    const std::string path = directory / "backend";
    const Backend backend = make_backend();
    REQUIRE(rp_handoff_backend_listen(backend.get(), path.c_str()) == RP_HANDOFF_OK);
    const Broker broker = make_broker();
    const Session offering = open_at(broker, path);
    ClientConnection client;
    submit(offering, client);
    CHECK(take_offer(backend) == nullptr);
    turn({&offering});
    const Event event = take_event(offering);
    CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_SESSION_LOST));
    CHECK(event.outcome.may_have_reached_backend == 0);
    check_closed(offering, RP_HANDOFF_ERR_CLOSED);
    CHECK(statistics(backend).rejected_offers == 1);
}
