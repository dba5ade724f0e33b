// A backend that is stopped with connections in its queue, or a broker that dies: whoever owns a connection can serve it or
// end it, and the client sees that at once, though a duplicate lies where nobody reads it.
#include "session_scene.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t soon = 20'000'000; // the deadline of an offer that nobody answers

char read_word(const UniqueFd &client) {
    char word = 0;
    return recv(client.get(), &word, 1, 0) == 1 ? word : '\0';
}

// A broker, and a backend that is stopped once their session is open.
class Scene {
  public:
    Scene() {
        REQUIRE(backend.hear() == 'r');
        session = open_session(broker, path);
        backend.stop();
    }

    // Offers the connection of a new client, who is returned.
    UniqueFd offer(std::uint64_t timeout_ns) {
        UniqueFd client = front.connect();
        UniqueFd connection = front.accept();
        REQUIRE(submit(session, connection, timeout_ns) == 1);
        return client;
    }

    Directory directory;
    std::string path = directory / "backend";
    Child backend{session_backend(path)};
    Broker broker = make_broker();
    Session session;
    Front front{ClientKind::tcp};
};

UniqueFd take_back(const Session &session) {
    const Happening happening(session);
    REQUIRE(happening.event.kind == RP_HANDOFF_EVENT_OUTCOME);
    REQUIRE(happening.event.ownership == RP_HANDOFF_OWNER_BROKER);
    REQUIRE(happening.outcome.cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    return UniqueFd(happening.event.fd);
}

} // namespace

TEST_CASE("what lies in a stopped backend's queue is the broker's at the deadline, to serve or to end") {
    Scene scene;
    std::vector<UniqueFd> clients;
    for (int i = 0; i < 10; ++i) {
        clients.push_back(scene.offer(soon));
    }
    for (std::size_t i = 0; i < clients.size(); ++i) {
        const UniqueFd connection = take_back(scene.session);
        if (i % 2 == 0) {
            CHECK(send(connection.get(), "b", 1, MSG_NOSIGNAL) == 1);
        }
        CHECK(shutdown(connection.get(), SHUT_RDWR) == 0);
    }
    for (std::size_t i = 0; i < clients.size(); ++i) {
        CHECK(read_word(clients[i]) == (i % 2 == 0 ? 'b' : '\0'));
        CHECK(read_word(clients[i]) == '\0');
    }
    scene.backend.signal(SIGCONT);
    CHECK(rp_handoff_session_close(scene.session.get()) == RP_HANDOFF_OK);
    CHECK(Happening(scene.session).event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(scene.backend.hear() == 'l');
    CHECK(scene.backend.wait() == 0);
}

TEST_CASE("a session that is destroyed ends what lies in a stopped backend's queue") {
    Scene scene;
    const UniqueFd client = scene.offer(0);
    scene.session.reset();
    CHECK(read_word(client) == '\0');
}

TEST_CASE("a session that is destroyed ends what came back and was not taken") {
    Scene scene;
    const UniqueFd client = scene.offer(soon);
    CHECK(rp_handoff_session_wait(scene.session.get(), RP_HANDOFF_FOREVER) == 1);
    scene.session.reset();
    CHECK(read_word(client) == '\0');
}

TEST_CASE("what a broker offered before it was killed is adopted by the backend once that goes on") {
    const Directory directory;
    const std::string path = directory / "backend";
    const Front front(ClientKind::tcp);
    Child backend(session_backend(path));
    REQUIRE(backend.hear() == 'r');
    Child broker_process([&](const Wire &wire) {
        const Broker broker = make_broker();
        const Session session = open_session(broker, path);
        wire.say('o');
        must(wire.hear() == 's');
        UniqueFd connection = front.accept();
        must(submit(session, connection) == 1);
        wire.say('d');
        wire.hear();
    });
    REQUIRE(broker_process.hear() == 'o');
    backend.stop();
    const UniqueFd client = front.connect();
    broker_process.say('s');
    REQUIRE(broker_process.hear() == 'd');
    broker_process.signal(SIGKILL);
    CHECK(broker_process.wait() == 128 + SIGKILL);
    backend.signal(SIGCONT);
    CHECK(read_word(client) == adopted_word);
    CHECK(backend.hear() == 'n');
    CHECK(backend.wait() == 0);
}
