// What a session closes of what its peer gave: strays do not make it wait, and what is the broker's again is left as it is.
#include "support/linger.hpp"
#include "support/session_core.hpp"

using namespace rp::test;
using rp::handoff::PeerPolicy;
using rp::handoff::Status;
using rp::handoff::session::FrameKind;
using rp::handoff::session::Hello;

namespace {

std::shared_ptr<BackendSession> backend_of(SocketPair &pair, bool allows_nobody = false) {
    Config config;
    if (allows_nobody) {
        config.peers = PeerPolicy(false, false, {61831});
    }
    return open_backend(over(std::move(pair.a), config));
}

void check_end(BackendSession &session, Status status) {
    const Event event = std::move(*take(session));
    REQUIRE(event.kind == rp::test::Kind::closed);
    CHECK(event.end->status == status);
}

} // namespace

TEST_CASE("a broker that is rejected makes nobody wait by connections that linger beside its frames") {
    const Hello strange{Hello::Role::broker, 9, 9, 8, 0, {}};
    for (const bool with_hello : {true, false}) {
        CAPTURE(with_hello);
        LingeringConnection connection;
        SocketPair pair;
        const auto session = backend_of(pair, !with_hello);
        const parts::Hand hand(std::move(pair.b));
        if (!with_hello) {
            hand.say(parts::framed(parts::hello_of(Hello::Role::broker)));
            session->process();
        }
        hand.say(with_hello ? parts::framed(strange) : parts::ledger_of(8), {connection.lingering.get()});
        connection.lingering.reset();
        const Watch watch;
        session->process();
        check_end(*session, with_hello ? Status::protocol : Status::peer_rejected);
        session->shutdown();
        CHECK(watch.nobody_waited());
    }
}

TEST_CASE("offers that nobody took when the session ended keep their SO_LINGER, wherever they lay") {
    for (const bool was_read : {true, false}) {
        CAPTURE(was_read);
        BeforeHand scene;
        const Front front(ClientKind::tcp);
        const UniqueFd client = front.connect();
        const UniqueFd connection = front.accept();
        const linger option{1, 5};
        REQUIRE(setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &option, sizeof option) == 0);
        scene.send_offer(connection.get());
        if (was_read) {
            scene.session->process();
        }
        scene.session->shutdown();
        CHECK(lingers(connection.get()));
    }
}
