// Handoffs that are abandoned because of what really happens to the process at the other end.
#include <thread>

#include "support/api.hpp"
#include "support/hand_backend.hpp"
#include "support/process.hpp"

using namespace rp::test;

namespace {

// A broker, and one client connection that it tries to hand over.
struct Attempt {
    explicit Attempt(const rp_handoff_broker_options &options = sized<rp_handoff_broker_options>())
        : broker(make_broker(options)) {
        request.fd = client.fd.get();
        request.token = issue(broker);
    }

    rp_handoff_outcome by_path(const std::string &path) {
        request.socket_path = path.c_str();
        const rp_handoff_outcome outcome = execute(broker, request);
        check_ended(broker, request, flags);
        CHECK(client.is_served_by(client.fd.get()));
        return outcome;
    }

    ClientConnection client;
    Flags flags{client.fd.get()};
    Broker broker;
    rp_handoff_request request = sized<rp_handoff_request>();
};

void check_nothing_left(const rp_handoff_outcome &outcome, std::int32_t cause, int os_error) {
    check_fallback(outcome, RP_HANDOFF_STAGE_SEND, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, cause,
                   RP_HANDOFF_OWNER_BROKER);
    CHECK(outcome.os_error == os_error);
    CHECK(outcome.may_have_reached_backend == 0);
}

void check_lost(const rp_handoff_outcome &outcome, std::int32_t cause) {
    check_fallback(outcome, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, cause,
                   RP_HANDOFF_OWNER_AMBIGUOUS);
    CHECK(outcome.may_have_reached_backend == 1);
}

Offer await_offer(const Backend &backend) {
    rp_handoff_offer *offer = nullptr;
    must(rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK);
    return Offer(offer);
}

// A backend process that listens at `path` and then does as `act` says.
template <class Act>
auto backend_at(const std::string &path, Act act) {
    return [path, act](const Wire &wire) {
        const Backend backend = make_backend();
        must(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
        wire.say('r');
        act(backend, wire);
    };
}

rp_handoff_broker_options on(FakeTime &time) {
    return time.in(sized<rp_handoff_broker_options>());
}

} // namespace

TEST_CASE("where no socket is, nobody is there") {
    const Directory directory;
    check_nothing_left(Attempt().by_path(directory / "none"), RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, ENOENT);
    check_nothing_left(Attempt().by_path(directory / "none/none"), RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, ENOENT);
}

TEST_CASE("a socket that its process left behind is nobody") {
    const Directory directory;
    listener_at(directory / "stale");
    check_nothing_left(Attempt().by_path(directory / "stale"), RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, ECONNREFUSED);
}

TEST_CASE("a socket on which nobody listens yet is nobody") {
    const Directory directory;
    const UniqueFd bound = bound_at(directory / "bound");
    check_nothing_left(Attempt().by_path(directory / "bound"), RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, ECONNREFUSED);
}

TEST_CASE("a file that is no socket is nobody") {
    const Directory directory;
    const UniqueFd file(open((directory / "file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    check_nothing_left(Attempt().by_path(directory / "file"), RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, ECONNREFUSED);
}

TEST_CASE("a socket that is no stream is nobody") {
    const Directory directory;
    const UniqueFd datagrams(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = unix_address(directory / "datagrams");
    REQUIRE(bind(datagrams.get(), as_sockaddr(address), sizeof address) == 0);
    check_nothing_left(Attempt().by_path(directory / "datagrams"), RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, EPROTOTYPE);
}

TEST_CASE("a backend process that refuses gives the connection back with its reason") {
    const Directory directory;
    Child backend(backend_at(directory / "backend", [](const Backend &own, const Wire &) {
        const Offer offer = await_offer(own);
        must(rp_handoff_offer_refuse(offer.get(), "full\nhouse \xff never said") == RP_HANDOFF_OK);
    }));
    REQUIRE(backend.hear() == 'r');
    const rp_handoff_outcome outcome = Attempt().by_path(directory / "backend");
    check_fallback(outcome, RP_HANDOFF_STAGE_AWAIT_ACK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                   RP_HANDOFF_CAUSE_BACKEND_REFUSED, RP_HANDOFF_OWNER_BROKER);
    CHECK(outcome.os_error == 0);
    CHECK(std::string(outcome.detail) == "backend refused the handoff: full?house ");
    CHECK(backend.wait() == 0);
}

TEST_CASE("a backend process that drops the offer refuses it") {
    const Directory directory;
    Child backend(backend_at(directory / "backend", [](const Backend &own, const Wire &) { await_offer(own); }));
    REQUIRE(backend.hear() == 'r');
    const rp_handoff_outcome outcome = Attempt().by_path(directory / "backend");
    CHECK(outcome.cause == RP_HANDOFF_CAUSE_BACKEND_REFUSED);
    CHECK(outcome.ownership == RP_HANDOFF_OWNER_BROKER);
    CHECK(backend.wait() == 0);
}

TEST_CASE("nobody knows whether a backend that was killed with the offer in its hands had adopted the connection") {
    const Directory directory;
    Child backend(backend_at(directory / "backend", [](const Backend &own, const Wire &wire) {
        const Offer offer = await_offer(own);
        wire.say('h');
        wire.hear();
    }));
    REQUIRE(backend.hear() == 'r');
    std::thread killer([&] {
        CHECK(backend.hear() == 'h');
        backend.signal(SIGKILL);
    });
    Attempt attempt;
    const rp_handoff_outcome outcome = attempt.by_path(directory / "backend");
    killer.join();
    check_lost(outcome, RP_HANDOFF_CAUSE_BACKEND_CLOSED);
    CHECK(backend.wait() == 128 + SIGKILL);
    attempt.client.fd.reset();
    CHECK(is_at_end(attempt.client.client.get())); // the dead process's duplicate is gone too
}

TEST_CASE("nobody knows either of one that was killed before it read the offer") {
    const Directory directory;
    FakeTime time;
    Child backend(backend_at(directory / "backend", [](const Backend &, const Wire &wire) { wire.hear(); }));
    REQUIRE(backend.hear() == 'r');
    time.meanwhile = [&] {
        backend.signal(SIGKILL);
        CHECK(backend.wait() == 128 + SIGKILL);
    };
    const rp_handoff_outcome outcome = Attempt(on(time)).by_path(directory / "backend");
    check_lost(outcome, RP_HANDOFF_CAUSE_BACKEND_CLOSED);
    CHECK(outcome.os_error == ECONNRESET);
}

TEST_CASE("a backend that is stopped until the deadline may still adopt when it goes on, and the broker lets go") {
    const Directory directory;
    FakeTime time;
    Child backend(backend_at(directory / "backend", [](const Backend &own, const Wire &) {
        const Offer offer = await_offer(own);
        std::int32_t fd = -1;
        must(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_ACK_UNDELIVERED);
        must(write(UniqueFd(fd).get(), "served", 6) == 6);
    }));
    REQUIRE(backend.hear() == 'r');
    backend.stop();
    Attempt attempt(on(time));
    check_lost(attempt.by_path(directory / "backend"), RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    attempt.client.fd.reset();
    CHECK_FALSE(is_readable(attempt.client.client.get())); // no end for the client yet

    backend.signal(SIGCONT);
    CHECK(backend.wait() == 0);
    CHECK(read_available(attempt.client.client.get()) == Bytes{'s', 'e', 'r', 'v', 'e', 'd'});
}

TEST_CASE("a backend that holds the offer and says nothing is given up at the real deadline, not before") {
    const Directory directory;
    Child backend(backend_at(directory / "backend", [](const Backend &own, const Wire &wire) {
        const Offer offer = await_offer(own);
        wire.hear();
        _exit(0);
    }));
    REQUIRE(backend.hear() == 'r');
    auto options = sized<rp_handoff_broker_options>();
    options.ack_deadline_ns = 30'000'000;
    rp_handoff_outcome outcome = Attempt(options).by_path(directory / "backend");
    while (outcome.may_have_reached_backend == 0) { // too soon for a machine this slow
        options.ack_deadline_ns *= 2;
        outcome = Attempt(options).by_path(directory / "backend");
    }
    check_lost(outcome, RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    CHECK(contains(outcome.detail, "timed out"));
    CHECK(outcome.elapsed_ns > 0);
    backend.say('e');
    CHECK(backend.wait() == 0);
}

TEST_CASE("a client connection of any kind can be offered, also one that the client has left already") {
    const Directory directory;
    Child backend(backend_at(directory / "backend", [](const Backend &own, const Wire &) {
        for (int i = 0; i < 3; ++i) {
            std::int32_t fd = -1;
            must(rp_handoff_offer_accept(await_offer(own).get(), &fd) == RP_HANDOFF_OK);
            close(fd);
        }
    }));
    REQUIRE(backend.hear() == 'r');
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    const UniqueFd out(ends[0]);
    const UniqueFd in(ends[1]);
    const UniqueFd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
    SocketPair left;
    left.b.reset();
    const std::string path = directory / "backend";
    const Broker broker = make_broker();
    for (const int fd : {out.get(), file.get(), left.a.get()}) {
        const rp_handoff_request request = request_to(path, fd, issue(broker));
        CHECK(execute(broker, request).result == RP_HANDOFF_COMPLETED);
    }
    CHECK(backend.wait() == 0);
}

TEST_CASE("a descriptor that is not open cannot be offered, and the backend sees nothing") {
    const SocketPair connection;
    const Broker broker = make_broker();
    const int closed = SocketPair().a.get();
    const rp_handoff_outcome outcome = execute(broker, request_over(connection.a.get(), closed, issue(broker)));
    check_nothing_left(outcome, RP_HANDOFF_CAUSE_SEND_FAILED, EBADF);
    CHECK_FALSE(is_readable(connection.b.get()));
}

TEST_CASE("a connection that is no Unix stream cannot carry a handoff, and nothing is sent on it") {
    const Front front(ClientKind::tcp);
    const UniqueFd near = front.connect();
    const UniqueFd far = front.accept();
    const SocketPair datagrams(SOCK_DGRAM);
    const UniqueFd file(open("/dev/null", O_RDWR | O_CLOEXEC));
    const ClientConnection client;
    const Broker broker = make_broker();
    for (const int connection : {near.get(), datagrams.a.get(), file.get()}) {
        CAPTURE(connection);
        const rp_handoff_request request = request_over(connection, client.fd.get(), issue(broker));
        auto outcome = sized<rp_handoff_outcome>();
        CHECK(rp_handoff_broker_execute(broker.get(), &request, &outcome, nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    }
    CHECK_FALSE(is_readable(far.get()));
    CHECK_FALSE(is_readable(datagrams.b.get()));
}

TEST_CASE("a connection whose backend has gone sends nothing") {
    SocketPair connection;
    connection.b.reset();
    const ClientConnection client;
    const Broker broker = make_broker();
    for (const std::int32_t trust : {RP_HANDOFF_TRUST_CREDENTIALS, RP_HANDOFF_TRUST_CALLER}) {
        rp_handoff_request request = request_over(connection.a.get(), client.fd.get(), issue(broker));
        request.connection_trust = trust;
        check_nothing_left(execute(broker, request), RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, EPIPE);
    }
}
