// Handoffs that succeed, between processes that share nothing but sockets.
#include "support/api.hpp"
#include "support/process.hpp"
#include "support/sockets.hpp"

using namespace rp::test;

namespace {

constexpr std::size_t piece = 4096;

// Every byte value, in an order that shows a piece that is missing, doubled or in the wrong place.
std::string pattern(std::size_t length) {
    std::string text;
    std::uint32_t state = 1;
    while (text.size() < length) {
        state = state * 1664525U + 1013904223U;
        text += static_cast<char>(state >> 24U);
    }
    return text;
}

std::string read_exactly(int fd, std::size_t length) {
    std::string text(length, '\0');
    for (std::size_t done = 0; done < length;) {
        const ssize_t n = read(fd, &text[done], length - done);
        must(n > 0);
        done += static_cast<std::size_t>(n);
    }
    return text;
}

// The client: its first piece is on its way before the broker decides, the others follow. Whoever answers, it gets back
// exactly what it sent, and then the end.
void converse(const UniqueFd &fd, const Wire &wire) {
    const std::string text = pattern(64 * piece);
    for (std::size_t at = 0; at < text.size(); at += piece) {
        must(write(fd.get(), text.data() + at, piece) == static_cast<ssize_t>(piece));
        if (at == 0) {
            wire.say('s');
        }
        must(read_exactly(fd.get(), piece) == text.substr(at, piece));
    }
    must(shutdown(fd.get(), SHUT_WR) == 0);
    char extra = 0;
    must(read(fd.get(), &extra, 1) == 0);
}

void send_back(const UniqueFd &fd) {
    char buffer[piece];
    for (ssize_t n = 0; (n = read(fd.get(), buffer, sizeof buffer)) > 0;) {
        must(write(fd.get(), buffer, static_cast<std::size_t>(n)) == n);
    }
}

void serve(const Backend &backend, int clients) {
    for (int i = 0; i < clients; ++i) {
        rp_handoff_offer *offer = nullptr;
        must(rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK);
        const Offer owned(offer);
        std::int32_t fd = -1;
        must(rp_handoff_offer_accept(offer, &fd) == RP_HANDOFF_OK);
        must((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        send_back(UniqueFd(fd));
    }
}

// The backend as a forked process that listens at `path`.
auto listening_backend(const std::string &path, int clients = 1) {
    return [path, clients](const Wire &wire) {
        const Backend backend = make_backend();
        must(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
        wire.say('r');
        serve(backend, clients);
    };
}

// A client comes, is handed over, and is content. `route` completes the request.
template <class Route>
void hand_over_a_client(ClientKind kind, const Broker &broker, Route route) {
    const Front front(kind);
    Child client([&](const Wire &wire) { converse(front.connect(), wire); });
    UniqueFd connection = front.accept();
    REQUIRE(client.hear() == 's');
    auto request = sized<rp_handoff_request>();
    request.fd = connection.get();
    request.token = issue(broker, "echo");
    route(request);
    const Flags before(connection.get());

    const rp_handoff_outcome outcome = execute(broker, request);
    CHECK(outcome.result == RP_HANDOFF_COMPLETED);
    CHECK(outcome.ownership == RP_HANDOFF_OWNER_BACKEND);
    CHECK(outcome.stage == RP_HANDOFF_STAGE_NONE);
    CHECK(outcome.reason == RP_HANDOFF_REASON_NONE);
    CHECK(outcome.cause == RP_HANDOFF_CAUSE_NONE);
    CHECK(outcome.os_error == 0);
    CHECK(outcome.may_have_reached_backend == 1);
    CHECK(std::string(outcome.detail).empty());
    CHECK(Flags(connection.get()) == before);

    connection.reset();
    CHECK(client.wait() == 0);
}

template <class Route>
void hand_over_clients_of_both_kinds(const Broker &broker, Route route) {
    for (const ClientKind kind : {ClientKind::tcp, ClientKind::local}) {
        CAPTURE(static_cast<int>(kind));
        hand_over_a_client(kind, broker, route);
    }
}

auto by_path(const std::string &path) {
    return [path](rp_handoff_request &request) { request.socket_path = path.c_str(); };
}

auto over(const UniqueFd &connection, std::int32_t trust) {
    return [fd = connection.get(), trust](rp_handoff_request &request) {
        request.connection_fd = fd;
        request.connection_trust = trust;
    };
}

} // namespace

TEST_CASE("a client that is handed over by path gets its bytes from the backend and notices nothing") {
    const Directory directory;
    const std::string path = directory / "backend";
    Child backend(listening_backend(path, 2));
    REQUIRE(backend.hear() == 'r');
    const Broker broker = make_broker();
    hand_over_clients_of_both_kinds(broker, [&](rp_handoff_request &request) { request.socket_path = path.c_str(); });
    CHECK(backend.wait() == 0);
    CHECK(statistics(broker).completed == 2);
}

TEST_CASE("a client that is handed over on a connection of the broker's own gets its bytes from the backend") {
    const Directory directory;
    Child backend(listening_backend(directory / "backend", 2));
    REQUIRE(backend.hear() == 'r');
    const UniqueFd connection = dial(directory / "backend");
    hand_over_clients_of_both_kinds(make_broker(), over(connection, RP_HANDOFF_TRUST_CREDENTIALS));
    CHECK(backend.wait() == 0);
}

TEST_CASE("several clients are handed over one after the other on an inherited socketpair") {
    SocketPair pair;
    Child backend([&](const Wire &) {
        const Backend own = make_backend();
        must(rp_handoff_backend_add_connection(own.get(), pair.b.release(), RP_HANDOFF_TRUST_CALLER) == RP_HANDOFF_OK);
        serve(own, 6);
        auto counts = sized<rp_handoff_backend_statistics>();
        must(rp_handoff_backend_get_statistics(own.get(), &counts) == RP_HANDOFF_OK);
        must(counts.accepted == 6 && counts.connections == 1 && counts.unanswered == 0);
    });
    pair.b.reset();
    const Broker broker = make_broker();
    for (int round = 0; round < 3; ++round) {
        hand_over_clients_of_both_kinds(broker, over(pair.a, RP_HANDOFF_TRUST_CALLER));
    }
    CHECK(backend.wait() == 0);
}

TEST_CASE("a connection of the broker's own is not used until the caller says on what its trust rests") {
    const SocketPair pair;
    const ClientConnection client;
    const Broker broker = make_broker();
    rp_handoff_request request = request_over(pair.a.get(), client.fd.get(), issue(broker));
    auto outcome = sized<rp_handoff_outcome>();
    for (const std::int32_t trust : {0, 3, -1}) {
        CAPTURE(trust);
        request.connection_trust = trust;
        CHECK(rp_handoff_broker_execute(broker.get(), &request, &outcome, nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    }
    CHECK_FALSE(is_readable(pair.b.get()));
    CHECK(statistics(broker).pending_tokens == 1); // the token is still good for a request that is whole
}

TEST_CASE("a backend that was started by execve and has nothing but its arguments adopts a client") {
    const Directory directory;
    const std::string path = directory / "backend";
    for (const ClientKind kind : {ClientKind::tcp, ClientKind::local}) {
        Program backend({BACKEND_PROGRAM, "listen", path});
        REQUIRE(backend.read_line() == "ready");
        hand_over_a_client(kind, make_broker(), by_path(path));
        CHECK(backend.process().wait() == 0);
    }
}

TEST_CASE("a backend that was started by execve with one end of a socketpair adopts a client") {
    SocketPair pair;
    Program backend({BACKEND_PROGRAM, "connection", std::to_string(pair.b.get())}, pair.b.get());
    REQUIRE(backend.read_line() == "ready");
    pair.b.reset();
    hand_over_a_client(ClientKind::tcp, make_broker(), over(pair.a, RP_HANDOFF_TRUST_CALLER));
    CHECK(backend.process().wait() == 0);
}

TEST_CASE("a backend that is started with a listener of its parent's adopts a client") {
    const Directory directory;
    const std::string path = directory / "backend";
    const UniqueFd listener = listener_at(path);
    Program backend({BACKEND_PROGRAM, "listener", std::to_string(listener.get())}, listener.get());
    REQUIRE(backend.read_line() == "ready");
    hand_over_a_client(ClientKind::tcp, make_broker(), by_path(path));
    CHECK(backend.process().wait() == 0);
}

TEST_CASE("the kernel names the parent that made an activated listener, and a pid to match has to be that") {
    const Directory directory;
    const std::string path = directory / "backend";
    const UniqueFd listener = listener_at(path);
    Program backend({BACKEND_PROGRAM, "listener", std::to_string(listener.get())}, listener.get());
    REQUIRE(backend.read_line() == "ready");
    auto options = sized<rp_handoff_broker_options>();
    options.peer_flags = RP_HANDOFF_PEER_MATCH_PID;
    const Broker broker = make_broker(options);
    const ClientConnection client;
    const rp_handoff_request request =
        request_to(path, client.fd.get(), issue(broker, "echo", static_cast<std::uint32_t>(backend.process().pid())));
    CHECK(execute(broker, request).cause == RP_HANDOFF_CAUSE_PEER_REJECTED);
    hand_over_a_client(ClientKind::local, broker, [&](rp_handoff_request &matching) {
        matching.socket_path = path.c_str();
        REQUIRE(rp_handoff_broker_revoke(broker.get(), &matching.token) == 1);
        matching.token = issue(broker, "echo", static_cast<std::uint32_t>(getpid()));
    });
    CHECK(backend.process().wait() == 0);
}
