// Who is at the other end, as the kernel tells it, and whom broker and backend talk to. Everything of one user; for
// several see other_user.cpp.
#include <numeric>

#include "support/api.hpp"
#include "support/hand_backend.hpp"
#include "support/process.hpp"
#include "support/server.hpp"

using namespace rp::test;

namespace {

// A server that listens at a path, and a broker with these settings.
struct Meeting {
    explicit Meeting(const rp_handoff_broker_options &options) : broker(make_broker(options)) {
        REQUIRE(rp::test::listen_at(server.backend.get(), path.c_str()) == RP_HANDOFF_OK);
        request.fd = client.fd.get();
    }

    rp_handoff_outcome by_path(std::uint32_t pid) {
        request.socket_path = path.c_str();
        request.token = issue(broker, "service", pid);
        return execute(broker, request);
    }
    rp_handoff_outcome over(int connection, std::int32_t trust, std::uint32_t pid) {
        request.socket_path = nullptr;
        request.connection_fd = connection;
        request.connection_trust = trust;
        request.token = issue(broker, "service", pid);
        return execute(broker, request);
    }

    Directory directory;
    std::string path = directory / "backend";
    Server server;
    ClientConnection client;
    Broker broker;
    rp_handoff_request request = sized<rp_handoff_request>();
};

void check_rejected(const rp_handoff_outcome &outcome) {
    check_fallback(outcome, RP_HANDOFF_STAGE_SEND, RP_HANDOFF_REASON_PERMISSION_DENIED, RP_HANDOFF_CAUSE_PEER_REJECTED,
                   RP_HANDOFF_OWNER_BROKER);
    CHECK(outcome.may_have_reached_backend == 0);
    CHECK(outcome.os_error == 0);
}

bool completes(const rp_handoff_outcome &outcome) {
    return outcome.result == RP_HANDOFF_COMPLETED;
}

std::vector<std::uint32_t> strangers_and_us(std::size_t strangers) {
    std::vector<std::uint32_t> uids(strangers);
    std::iota(uids.begin(), uids.end(), geteuid() + 1);
    uids.push_back(geteuid());
    return uids;
}

const std::vector<std::uint32_t> somebody_else = {geteuid() + 1};

} // namespace

TEST_CASE("a pid is matched if the broker asks for it and knows one") {
    auto options = sized<rp_handoff_broker_options>();
    options.peer_flags = RP_HANDOFF_PEER_MATCH_PID;
    Meeting meeting(options);
    CHECK(completes(meeting.by_path(static_cast<std::uint32_t>(getpid()))));
    check_rejected(meeting.by_path(static_cast<std::uint32_t>(getpid()) + 1));
    CHECK(completes(meeting.by_path(0)));
}

TEST_CASE("a pid is bookkeeping if the broker does not ask for it to be matched") {
    Meeting meeting(sized<rp_handoff_broker_options>());
    CHECK(completes(meeting.by_path(static_cast<std::uint32_t>(getpid()) + 1)));
}

TEST_CASE("of an inherited socketpair the kernel names the maker, whoever holds the other end") {
    auto options = sized<rp_handoff_broker_options>();
    options.peer_flags = RP_HANDOFF_PEER_MATCH_PID;
    const Broker broker = make_broker(options);
    SocketPair pair;
    Child backend([&](const Wire &) {
        const Backend own = make_backend();
        must(rp_handoff_backend_add_connection(own.get(), pair.b.release(), RP_HANDOFF_TRUST_CALLER) == RP_HANDOFF_OK);
        for (int i = 0; i < 2; ++i) {
            rp_handoff_offer *offer = nullptr;
            must(rp_handoff_backend_next_offer(own.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK);
            std::int32_t fd = -1;
            must(rp_handoff_offer_accept(Offer(offer).get(), &fd) == RP_HANDOFF_OK);
        }
    });
    pair.b.reset();
    const ClientConnection client;
    rp_handoff_request request = request_over(pair.a.get(), client.fd.get(), {});
    const auto pid = static_cast<std::uint32_t>(backend.pid());

    request.connection_trust = RP_HANDOFF_TRUST_CREDENTIALS;
    request.token = issue(broker, "service", pid);
    check_rejected(execute(broker, request));
    request.token = issue(broker, "service", static_cast<std::uint32_t>(getpid()));
    CHECK(completes(execute(broker, request)));
    request.connection_trust = RP_HANDOFF_TRUST_CALLER;
    request.token = issue(broker, "service", pid);
    CHECK(completes(execute(broker, request)));
    CHECK(backend.wait() == 0);
}

TEST_CASE("a broker talks to the users that it was told, which need not be its own") {
    Meeting strict(allowing<rp_handoff_broker_options>(somebody_else));
    check_rejected(strict.by_path(0));
    const UniqueFd connection = dial(strict.path);
    check_rejected(strict.over(connection.get(), RP_HANDOFF_TRUST_CREDENTIALS, 0));
    CHECK(completes(strict.over(connection.get(), RP_HANDOFF_TRUST_CALLER, 0)));

    CHECK(completes(Meeting(allowing<rp_handoff_broker_options>({geteuid()})).by_path(0)));
    CHECK(completes(Meeting(allowing<rp_handoff_broker_options>(strangers_and_us(63))).by_path(0)));
    CHECK(completes(Meeting(allowing<rp_handoff_broker_options>(somebody_else, RP_HANDOFF_PEER_ANY_UID)).by_path(0)));
}

TEST_CASE("nothing of a handoff shows at an endpoint that the broker does not talk to") {
    const Directory directory;
    const std::string path = directory / "backend";
    const UniqueFd listener = listener_at(path);
    const Broker broker = make_broker(allowing<rp_handoff_broker_options>(somebody_else));
    const ClientConnection client;
    const rp_handoff_request request = request_to(path, client.fd.get(), issue(broker));
    check_rejected(execute(broker, request));
    CHECK(is_at_end(accept_from(listener).get()));
    check_ended(broker, request, Flags(client.fd.get()));
}

TEST_CASE("sixty-four users can be named, and one more cannot") {
    rp_handoff_broker *broker = nullptr;
    rp_handoff_backend *backend = nullptr;
    const std::vector<std::uint32_t> most = strangers_and_us(63);
    const std::vector<std::uint32_t> too_many = strangers_and_us(64);
    auto of_broker = allowing<rp_handoff_broker_options>(too_many);
    auto of_backend = allowing<rp_handoff_backend_options>(too_many);
    CHECK(rp_handoff_broker_create(&of_broker, &broker, nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp_handoff_backend_create(&of_backend, &backend, nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    make_broker(allowing<rp_handoff_broker_options>(most));
    make_backend(allowing<rp_handoff_backend_options>(most));
}

TEST_CASE("a backend cannot match pids") {
    auto options = sized<rp_handoff_backend_options>();
    options.peer_flags = RP_HANDOFF_PEER_MATCH_PID;
    rp_handoff_backend *backend = nullptr;
    CHECK(rp_handoff_backend_create(&options, &backend, nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
}

TEST_CASE("a backend drops a broker of a user that it was not told, and takes nothing from it") {
    const Directory directory;
    const Backend backend = make_backend(allowing<rp_handoff_backend_options>(somebody_else));
    REQUIRE(rp::test::listen_at(backend.get(), (directory / "backend").c_str()) == RP_HANDOFF_OK);
    const UniqueFd dialled = dial(directory / "backend");
    ClientConnection client;
    std::size_t sent = 0;
    REQUIRE(rp_handoff_wire_send(dialled.get(), client.fd.get(), token_of(1).bytes, 16, &sent) == RP_HANDOFF_OK);
    client.fd.reset();
    CHECK(take_offer(backend) == nullptr);
    CHECK(is_at_end(client.client.get()));
    CHECK(statistics(backend).rejected_peers == 1);
    CHECK(statistics(backend).connections == 0);
}

TEST_CASE("a listener from outside is used by the rules, or trusted because its giver says so") {
    const Directory directory;
    const Backend backend = make_backend(allowing<rp_handoff_backend_options>(somebody_else));
    int count = 0;
    for (const std::int32_t trust : {RP_HANDOFF_TRUST_CREDENTIALS, RP_HANDOFF_TRUST_CALLER}) {
        const std::string path = directory / std::to_string(trust);
        UniqueFd listener = listener_at(path);
        REQUIRE(rp::test::listen_on(backend.get(), listener.get(), trust) == RP_HANDOFF_OK);
        listener.release();
        const UniqueFd dialled = dial(path);
        CHECK(take_offer(backend) == nullptr);
        CHECK(statistics(backend).rejected_peers == 1);
        CHECK(statistics(backend).connections == static_cast<std::uint32_t>(count++));
    }
}

TEST_CASE("a connection from outside is checked unless its giver vouches for it, and stays the giver's if it fails") {
    const Backend backend = make_backend(allowing<rp_handoff_backend_options>(somebody_else));
    SocketPair pair;
    CHECK(rp_handoff_backend_add_connection(backend.get(), pair.b.get(), RP_HANDOFF_TRUST_CREDENTIALS) ==
          RP_HANDOFF_ERR_PEER_REJECTED);
    CHECK(statistics(backend).rejected_peers == 1);
    CHECK(is_open(pair.b.get()));
    for (const std::int32_t trust : {0, 3, -1}) {
        CHECK(rp_handoff_backend_add_connection(backend.get(), pair.b.get(), trust) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    }
    CHECK(rp_handoff_backend_add_connection(backend.get(), pair.b.get(), RP_HANDOFF_TRUST_CALLER) == RP_HANDOFF_OK);
    pair.b.release();
    CHECK(statistics(backend).connections == 1);
}

TEST_CASE("an offer tells the process and the user that the kernel names for its broker") {
    const Directory directory;
    const std::string path = directory / "backend";
    const Backend backend = make_backend();
    REQUIRE(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
    Child broker([&](const Wire &) {
        const Broker own = make_broker();
        const ClientConnection client;
        rp_handoff_request request = request_to(path, client.fd.get(), issue(own, "named"));
        request.correlation_id = 99;
        must(execute(own, request).result == RP_HANDOFF_COMPLETED);
    });
    rp_handoff_offer *offer = nullptr;
    REQUIRE(rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK);
    const Offer owned(offer);
    const rp_handoff_offer_info info = info_of(owned);
    CHECK(info.peer_pid == static_cast<std::uint32_t>(broker.pid()));
    CHECK(info.peer_uid == geteuid());
    CHECK(info.correlation_id == 99);
    CHECK(std::string(info.service_name, info.service_name_length) == "named");
    CHECK(info.received_ns > 0);
    std::int32_t fd = -1;
    CHECK(rp_handoff_offer_accept(offer, &fd) == RP_HANDOFF_OK);
    UniqueFd adopted(fd);
    CHECK(broker.wait() == 0);
}
