// Dialling a backend and looking who is there, when the kernel does not play along. Nothing is sent in any of these.
#include "support/api.hpp"
#include "support/hand_backend.hpp"
#include "support/interpose.hpp"

using namespace rp::test;

namespace {

// A broker, and an endpoint on which one can see whether anything came.
struct Dialling {
    Dialling() { request = request_to(path, client.fd.get(), issue(broker)); }

    rp_handoff_outcome run() const { return execute(broker, request); }

    void check_nothing_left(std::int32_t cause, std::int32_t reason, int os_error) const {
        const rp_handoff_outcome outcome = run();
        check_fallback(outcome, RP_HANDOFF_STAGE_SEND, reason, cause, RP_HANDOFF_OWNER_BROKER);
        CHECK(outcome.os_error == os_error);
        CHECK(outcome.may_have_reached_backend == 0);
    }

    // After the hooks are gone, since these look at the descriptor's flags with system calls of their own.
    void check_ended() const { rp::test::check_ended(broker, request, flags); }

    FakeTime time;
    Directory directory;
    std::string path = directory / "backend";
    UniqueFd listener = listener_at(path);
    ClientConnection client;
    Flags flags{client.fd.get()};
    Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    rp_handoff_request request{};
};

struct Row {
    int error;
    std::int32_t cause;
    std::int32_t reason;
};

constexpr auto unavailable = RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT;

// SO_PEERCRED answers as `answer` says; every other option is really asked for.
auto peer_credentials_by(std::function<int(ucred &, socklen_t &)> answer) {
    return [answer](int fd, int level, int name, void *value, socklen_t *length) {
        if (level == SOL_SOCKET && name == SO_PEERCRED) {
            return answer(*static_cast<ucred *>(value), *length);
        }
        return calls::getsockopt().real(fd, level, name, value, length);
    };
}

int refuse_to_tell(ucred &, socklen_t &) {
    return fails_with(ENOPROTOOPT);
}
int tell_nobody(ucred &credentials, socklen_t &length) {
    credentials = {0, static_cast<uid_t>(-1), static_cast<gid_t>(-1)};
    length = sizeof credentials;
    return 0;
}
int tell_too_little(ucred &credentials, socklen_t &length) {
    credentials = {getpid(), geteuid(), getegid()};
    length = sizeof credentials - 1;
    return 0;
}

} // namespace

TEST_CASE("a connect that fails leaves the connection with the broker, for a reason that tells") {
    const Row rows[] = {
        {EACCES, RP_HANDOFF_CAUSE_PERMISSION_DENIED, RP_HANDOFF_REASON_PERMISSION_DENIED},
        {EPERM, RP_HANDOFF_CAUSE_PERMISSION_DENIED, RP_HANDOFF_REASON_PERMISSION_DENIED},
        {EAGAIN, RP_HANDOFF_CAUSE_WOULD_BLOCK, unavailable},
        {ENOENT, RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, unavailable},
        {ECONNREFUSED, RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, unavailable},
        {EPROTOTYPE, RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, unavailable},
        {ENOTDIR, RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, unavailable},
        {ENOMEM, RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, unavailable},
        {EMFILE, RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE, RP_HANDOFF_REASON_FD_PRESSURE_DISABLED},
    };
    for (const Row &row : rows) {
        CAPTURE(row.error);
        const Dialling dialling;
        {
            const Hooked<int(int, const sockaddr *, socklen_t)> hook(
                calls::connect(), [&](int, const sockaddr *, socklen_t) { return fails_with(row.error); });
            dialling.check_nothing_left(row.cause, row.reason, row.error);
        }
        dialling.check_ended();
        CHECK_FALSE(is_readable(dialling.listener.get()));
    }
}

TEST_CASE("a connect that is interrupted is repeated") {
    const Dialling dialling;
    int interruptions = 3;
    const Hooked<int(int, const sockaddr *, socklen_t)> hook(
        calls::connect(), [&](int fd, const sockaddr *address, socklen_t length) {
            return interruptions-- > 0 ? fails_with(EINTR) : calls::connect().real(fd, address, length);
        });
    CHECK(dialling.run().stage == RP_HANDOFF_STAGE_AWAIT_ACK);
    CHECK(interruptions == -1);
}

TEST_CASE("a connect that signals interrupt in its wait for a place until the deadline has passed is given up") {
    Dialling dialling;
    {
        const Hooked<int(int, const sockaddr *, socklen_t)> hook(calls::connect(),
                                                                 [&](int, const sockaddr *, socklen_t) {
                                                                     dialling.time.now += second;
                                                                     return fails_with(EINTR);
                                                                 });
        dialling.check_nothing_left(RP_HANDOFF_CAUSE_WOULD_BLOCK, unavailable, EAGAIN);
    }
    dialling.check_ended();
}

TEST_CASE("a broker that is out of descriptors cannot dial, and says so") {
    const Row rows[] = {
        {EMFILE, RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE, RP_HANDOFF_REASON_FD_PRESSURE_DISABLED},
        {ENFILE, RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE, RP_HANDOFF_REASON_FD_PRESSURE_DISABLED},
        {ENOMEM, RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, unavailable},
        {EACCES, RP_HANDOFF_CAUSE_PERMISSION_DENIED, RP_HANDOFF_REASON_PERMISSION_DENIED},
    };
    for (const Row &row : rows) {
        CAPTURE(row.error);
        const Dialling dialling;
        {
            const Hooked<int(int, int, int)> hook(calls::socket(),
                                                  [&](int, int, int) { return fails_with(row.error); });
            dialling.check_nothing_left(row.cause, row.reason, row.error);
        }
        dialling.check_ended();
    }
}

TEST_CASE("nothing is sent to a backend of which the kernel does not tell who it is") {
    for (const auto &answer : {refuse_to_tell, tell_nobody, tell_too_little}) {
        Dialling dialling;
        const SocketPair connection;
        const Hooked<int(int, int, int, void *, socklen_t *)> hook(calls::getsockopt(), peer_credentials_by(answer));
        dialling.check_nothing_left(RP_HANDOFF_CAUSE_PEER_UNKNOWN, RP_HANDOFF_REASON_PERMISSION_DENIED, 0);
        CHECK(is_at_end(accept_from(dialling.listener).get()));

        dialling.request = request_over(connection.a.get(), dialling.client.fd.get(), issue(dialling.broker));
        dialling.request.connection_trust = RP_HANDOFF_TRUST_CREDENTIALS;
        dialling.check_nothing_left(RP_HANDOFF_CAUSE_PEER_UNKNOWN, RP_HANDOFF_REASON_PERMISSION_DENIED, 0);
        CHECK_FALSE(is_readable(connection.b.get()));
        dialling.check_ended();
    }
}

TEST_CASE("who is there does not matter for a connection that the caller vouches for") {
    Scene scene;
    scene.answer = [&](const ReceivedOffer &offer) { scene.send(offer.accepted()); };
    const Hooked<int(int, int, int, void *, socklen_t *)> hook(calls::getsockopt(),
                                                               peer_credentials_by(refuse_to_tell));
    CHECK(scene.run().result == RP_HANDOFF_COMPLETED);
}

TEST_CASE("a backend does not talk to a broker of which the kernel does not tell who it is") {
    const Directory directory;
    const std::string path = directory / "backend";
    const Backend backend = make_backend();
    REQUIRE(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
    SocketPair pair;
    const Hooked<int(int, int, int, void *, socklen_t *)> hook(calls::getsockopt(),
                                                               peer_credentials_by(refuse_to_tell));
    const UniqueFd dialled = dial(path);
    CHECK(take_offer(backend) == nullptr);
    CHECK(is_at_end(dialled.get()));
    CHECK(rp_handoff_backend_add_connection(backend.get(), pair.b.get(), RP_HANDOFF_TRUST_CREDENTIALS) ==
          RP_HANDOFF_ERR_PEER_REJECTED);
    CHECK(statistics(backend).rejected_peers == 2);
    CHECK(rp_handoff_backend_add_connection(backend.get(), pair.b.get(), RP_HANDOFF_TRUST_CALLER) == RP_HANDOFF_OK);
    pair.b.release();
}
