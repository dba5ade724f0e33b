// How a session comes to be: dialled by path or over a connected socket, by either side; and what becomes of one whose
// peer is silent, gone, or has no room.
#include "support/api.hpp"
#include "support/session_hand.hpp"

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

std::int32_t status_of_open(const Broker &broker, const char *path) {
    auto options = sized<rp_handoff_session_options>();
    options.socket_path = path;
    Out<rp_handoff_session *> out;
    const std::int32_t status = rp_handoff_session_create_broker(broker.get(), &options, out.get(), nullptr);
    CHECK(out.untouched());
    CHECK(rp_handoff_session_create_backend(&options, out.get(), nullptr) == status);
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
        CHECK(is_readable(rp_handoff_listener_get_fd(listener.get())));
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
    CHECK(rp_handoff_session_get_peer(offering.get(), &peer) == RP_HANDOFF_ERR_UNAVAILABLE);
    const Session receiving = receive_over(std::move(pair.b));
    turn({&offering, &receiving});
    CHECK(take_event(receiving).kind == RP_HANDOFF_EVENT_OPENED);
    const UniqueFd adopted = accept_offer(take_event(receiving).offer);
    CHECK(are_joined(client.client.get(), adopted.get()));
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
        const std::int32_t status = rp_handoff_session_create_broker(broker.get(), &options, out.get(), nullptr);
        CHECK(status == RP_HANDOFF_ERR_INVALID_ARGUMENT);
        CHECK(out.untouched());
        CHECK(rp_handoff_session_create_backend(&options, out.get(), nullptr) == status);
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
    CHECK((fcntl(rp_handoff_listener_get_fd(listener.get()), F_GETFD) & FD_CLOEXEC) != 0);
    Out<rp_handoff_listener *> out;
    CHECK(rp::test::create_listener("@abstract", out.get()) == RP_HANDOFF_ERR_PATH_INVALID);
    CHECK(rp::test::create_listener(nullptr, out.get()) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp::test::create_listener(path.c_str(), nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp::test::create_listener("/tmp/rp_handoff_unsafe", out.get()) == RP_HANDOFF_ERR_PATH_UNSAFE);
    CHECK(out.untouched());
    Out<std::int32_t> fd;
    CHECK(rp_handoff_listener_accept(listener.get(), 0, fd.get()) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(rp_handoff_listener_accept(listener.get(), 1'000'000, fd.get()) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(fd.untouched());
    CHECK(rp_handoff_listener_accept(listener.get(), 0, nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    const UniqueFd dialled = dial(path);
    CHECK(is_readable(rp_handoff_listener_get_fd(listener.get())));
    const UniqueFd accepted = accept_from(listener);
    CHECK((fcntl(accepted.get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(are_joined(dialled.get(), accepted.get()));
    CHECK(rp::test::create_listener(path.c_str(), out.get()) == RP_HANDOFF_ERR_PATH_IN_USE);
    CHECK(out.untouched());
    listener.reset();
    CHECK_FALSE(exists(path));
}
