// Processes of different users. Needs root, to become them.
#include "support/api.hpp"
#include "support/process.hpp"
#include "support/raw_broker.hpp"
#include "support/server.hpp"

using namespace rp::test;

namespace {

constexpr uid_t another = stranger + 1;

void give_to_stranger(const Directory &directory) {
    REQUIRE(chown(directory.path().c_str(), stranger, stranger) == 0);
}

// A backend of another user's, which adopts one connection, or sees that nothing comes.
auto strangers_backend(const std::string &path, bool adopts) {
    return [path, adopts](const Wire &wire) {
        become(stranger);
        const Backend backend = make_backend([] {
            auto options = sized<rp_handoff_backend_options>();
            options.peer_flags = RP_HANDOFF_PEER_ANY_UID;
            return options;
        }());
        must(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
        wire.say('r');
        rp_handoff_offer *offer = nullptr;
        if (adopts) {
            must(rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK);
            must(accept_and_close(Offer(offer)) == RP_HANDOFF_OK);
            return;
        }
        must(wire.hear() == 'e');
        must(take_offer(backend) == nullptr);
        auto counts = sized<rp_handoff_backend_statistics>();
        must(rp_handoff_backend_get_statistics(backend.get(), &counts) == RP_HANDOFF_OK);
        must(counts.connections == 0 && counts.rejected_offers == 0); // not a byte
    };
}

rp_handoff_outcome hand_over(const Broker &broker, const std::string &path) {
    const ClientConnection client;
    const rp_handoff_request request = request_to(path, client.fd.get(), issue(broker));
    return execute(broker, request);
}

void check_strangers_backend(const rp_handoff_broker_options &options, bool adopts) {
    const Directory directory;
    give_to_stranger(directory);
    Child backend(strangers_backend(directory / "backend", adopts));
    REQUIRE(backend.hear() == 'r');
    const rp_handoff_outcome outcome = hand_over(make_broker(options), directory / "backend");
    if (adopts) {
        CHECK(outcome.result == RP_HANDOFF_COMPLETED);
    } else {
        check_fallback(outcome, RP_HANDOFF_STAGE_SEND, RP_HANDOFF_REASON_PERMISSION_DENIED,
                       RP_HANDOFF_CAUSE_PEER_REJECTED, RP_HANDOFF_OWNER_BROKER);
        CHECK(outcome.may_have_reached_backend == 0);
        backend.say('e');
    }
    CHECK(backend.wait() == 0);
}

// A listener that everybody reaches.
UniqueFd public_listener(const Directory &directory) {
    REQUIRE(chmod(directory.path().c_str(), 0755) == 0);
    UniqueFd listener = listener_at(directory / "backend");
    REQUIRE(chmod((directory / "backend").c_str(), 0666) == 0);
    return listener;
}

// A broker of another user's offers once at this backend's activated listener; what comes of it.
void check_strangers_broker(const rp_handoff_backend_options &options, std::int32_t trust, bool is_taken) {
    const Directory directory;
    UniqueFd listener = public_listener(directory);
    const Backend backend = make_backend(options);
    REQUIRE(rp::test::listen_on(backend.get(), listener.get(), trust) == RP_HANDOFF_OK);
    listener.release();
    Child broker([&](const Wire &wire) {
        become(stranger);
        RawBroker own(directory / "backend");
        own.offer(token_of(1));
        wire.say('o');
        must(wire.hear() == 'e');
        must(own.answer() == (is_taken ? acceptance(token_of(1)) : Bytes()));
        must(own.client_was_closed());
    });
    REQUIRE(broker.hear() == 'o');
    const Offer offer = take_offer(backend);
    CHECK((offer != nullptr) == is_taken);
    if (offer != nullptr) {
        CHECK(info_of(offer).peer_uid == stranger);
        CHECK(accept_and_close(offer) == RP_HANDOFF_OK);
    }
    CHECK(statistics(backend).rejected_peers == (is_taken ? 0 : 1));
    broker.say('e');
    CHECK(broker.wait() == 0);
}

} // namespace

TEST_CASE("a broker does not talk to a backend of another user, and not a byte reaches it") {
    check_strangers_backend(sized<rp_handoff_broker_options>(), false);
    check_strangers_backend(allowing<rp_handoff_broker_options>({geteuid(), another}), false);
}

TEST_CASE("a broker talks to a backend of another user if it was told to") {
    check_strangers_backend(allowing<rp_handoff_broker_options>({stranger}), true);
    check_strangers_backend(allowing<rp_handoff_broker_options>({another, stranger}), true);
    check_strangers_backend(allowing<rp_handoff_broker_options>({}, RP_HANDOFF_PEER_ANY_UID), true);
    check_strangers_backend(allowing<rp_handoff_broker_options>({another}, RP_HANDOFF_PEER_ANY_UID), true);
}

TEST_CASE("the users that are allowed are the only ones, so that the broker's own has to be among them") {
    const Directory directory;
    Server server;
    REQUIRE(rp::test::listen_at(server.backend.get(), (directory / "backend").c_str()) == RP_HANDOFF_OK);
    CHECK(hand_over(make_broker(allowing<rp_handoff_broker_options>({stranger})), directory / "backend").cause ==
          RP_HANDOFF_CAUSE_PEER_REJECTED);
    CHECK(hand_over(make_broker(allowing<rp_handoff_broker_options>({stranger, geteuid()})), directory / "backend")
              .result == RP_HANDOFF_COMPLETED);
}

TEST_CASE("a backend does not talk to a broker of another user unless it was told to") {
    const auto own = sized<rp_handoff_backend_options>();
    check_strangers_broker(own, RP_HANDOFF_TRUST_CREDENTIALS, false);
    check_strangers_broker(own, RP_HANDOFF_TRUST_CALLER, true);
    check_strangers_broker(allowing<rp_handoff_backend_options>({another}), RP_HANDOFF_TRUST_CREDENTIALS, false);
    check_strangers_broker(allowing<rp_handoff_backend_options>({another, stranger}), RP_HANDOFF_TRUST_CREDENTIALS,
                           true);
    check_strangers_broker(allowing<rp_handoff_backend_options>({}, RP_HANDOFF_PEER_ANY_UID),
                           RP_HANDOFF_TRUST_CREDENTIALS, true);
}

TEST_CASE("a connection from a broker of another user stays the giver's if it is not trusted") {
    const Directory directory;
    const UniqueFd listener = public_listener(directory);
    Child broker([&](const Wire &wire) {
        become(stranger);
        const UniqueFd connection = dial(directory / "backend");
        wire.say('d');
        wire.hear();
    });
    REQUIRE(broker.hear() == 'd');
    UniqueFd connection = accept_from(listener);
    const Backend backend = make_backend();
    CHECK(rp_handoff_backend_add_connection(backend.get(), connection.get(), RP_HANDOFF_TRUST_CREDENTIALS) ==
          RP_HANDOFF_ERR_PEER_REJECTED);
    CHECK(is_open(connection.get()));
    CHECK(rp_handoff_backend_add_connection(backend.get(), connection.get(), RP_HANDOFF_TRUST_CALLER) == RP_HANDOFF_OK);
    connection.release();
}

TEST_CASE("what counts of a peer is the user that it was when it listened, not what it became") {
    const Directory directory;
    give_to_stranger(directory);
    Child backend([&](const Wire &wire) {
        must(setresuid(stranger, stranger, 0) == 0); // it can come back
        const UniqueFd listener = listener_at(directory / "backend");
        must(setresuid(0, 0, 0) == 0);
        wire.say('r');
        wire.hear();
    });
    REQUIRE(backend.hear() == 'r');
    CHECK(hand_over(make_broker(), directory / "backend").cause == RP_HANDOFF_CAUSE_PEER_REJECTED);
}

TEST_CASE("a broker without permission to reach the socket is told so") {
    const Directory directory;
    const UniqueFd listener = listener_at(directory / "backend");
    REQUIRE(chmod((directory / "backend").c_str(), 0600) == 0);
    REQUIRE(chmod(directory.path().c_str(), 0755) == 0);
    Child broker([&](const Wire &) {
        become(stranger);
        const rp_handoff_outcome outcome = hand_over(make_broker(), directory / "backend");
        must(outcome.stage == RP_HANDOFF_STAGE_SEND);
        must(outcome.ownership == RP_HANDOFF_OWNER_BROKER);
        must(outcome.cause == RP_HANDOFF_CAUSE_PERMISSION_DENIED);
        must(outcome.reason == RP_HANDOFF_REASON_PERMISSION_DENIED);
        must(outcome.os_error == EACCES);
    });
    CHECK(broker.wait() == 0);
    CHECK_FALSE(is_readable(listener.get()));
}

TEST_CASE("a backend does not listen in a directory of another user, be it as private as it should be") {
    const Directory directory;
    give_to_stranger(directory);
    const Backend backend = make_backend();
    CHECK(rp::test::listen_at(backend.get(), (directory / "backend").c_str()) == RP_HANDOFF_ERR_PATH_UNSAFE);
}

TEST_CASE("a backend does not replace a stale socket of another user") {
    const Directory directory;
    const std::string path = directory / "backend";
    listener_at(path);
    REQUIRE(chown(path.c_str(), stranger, stranger) == 0);
    const Backend backend = make_backend();
    CHECK(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_ERR_PATH_FOREIGN);
    CHECK(exists(path));
}
