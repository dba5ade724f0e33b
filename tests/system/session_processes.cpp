// Broker and backend in processes of their own, which are killed, stopped and continued at every stage of a handoff.
#include "support/session_hand.hpp"
#include "support/stdio.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t short_while = 50'000'000;

// A backend in a process of its own, which does with each offer what the test says: 'a' accepts and writes an 'A' to
// the client, 'f' accepts and sends its answer at once, 'r' refuses, 'd' drops. It says 'o' when it has one, and what
// the call answered: '0', '1' for the acknowledgement that nobody hears, 'v' for revoked.
class BackendProcess {
  public:
    explicit BackendProcess(SocketPair &pair)
        : child([&pair](const Wire &wire) {
              pair.a.reset();
              serve(wire, receive_over(std::move(pair.b)));
          }) {
        pair.b.reset();
    }

    char tell(char word) const {
        child.say(word);
        return child.hear();
    }

    Child child;

  private:
    static void serve(const Wire &wire, const Session &session) {
        std::vector<UniqueFd> served;
        for (Event event = await_event(session); event.kind != RP_HANDOFF_EVENT_CLOSED; event = await_event(session)) {
            if (event.kind == RP_HANDOFF_EVENT_OFFER) {
                wire.say('o');
                serve_one(wire, session, event, served);
            }
        }
        wire.say('c');
        wire.hear();
    }
    static void serve_one(const Wire &wire, const Session &session, const Event &event, std::vector<UniqueFd> &served) {
        const char word = wire.hear();
        if (word == 'r') {
            wire.say(rp_handoff_offer_refuse(event.offer.get(), "no") == RP_HANDOFF_OK ? '0' : '1');
            return;
        }
        std::int32_t fd = -1;
        const std::int32_t status = rp_handoff_offer_accept(event.offer.get(), &fd);
        if (status >= 0) {
            served.emplace_back(fd);
            must(send(fd, "A", 1, MSG_NOSIGNAL) == 1);
        }
        if (word == 'f') {
            must(rp_handoff_session_flush(session.get()) == RP_HANDOFF_OK);
        }
        wire.say(status == RP_HANDOFF_ERR_REVOKED ? 'v' : static_cast<char>('0' + status));
        if (word == 'a') {
            wire.hear(); // holds its answer back
        }
    }
};

class Scene {
  public:
    Scene() : Scene(SocketPair()) {}

    // Hands it over, until the backend has it.
    std::uint64_t offer(ClientConnection &client, std::uint64_t timeout = 0) const {
        auto submission = submission_of(client.fd.release());
        submission.timeout_ns = timeout;
        const std::uint64_t id = submit(offering, submission);
        REQUIRE(backend.child.hear() == 'o');
        return id;
    }

    Broker broker = make_broker();
    BackendProcess backend;
    Session offering;

  private:
    explicit Scene(SocketPair pair) : backend(pair), offering(open_over(broker, std::move(pair.a))) {
        await_event(offering, RP_HANDOFF_EVENT_OPENED);
    }
};

bool is_served(const ClientConnection &client) {
    char byte = 0;
    return recv(client.client.get(), &byte, 1, 0) == 1 && byte == 'A';
}

bool has_ended(const ClientConnection &client) {
    char byte = 0;
    return recv(client.client.get(), &byte, 1, 0) == 0;
}

} // namespace

TEST_CASE("a connection is handed to another process, which serves it") {
    const Scene scene;
    auto peer = sized<rp_handoff_session_peer>();
    CHECK(rp_handoff_session_get_peer(scene.offering.get(), &peer) == RP_HANDOFF_OK);
    CHECK(peer.pid == static_cast<std::uint32_t>(scene.backend.child.pid()));
    ClientConnection client;
    scene.offer(client);
    CHECK(scene.backend.tell('f') == '0');
    CHECK(await_event(scene.offering).is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
    CHECK(is_served(client));
}

TEST_CASE("a backend that is killed with an offer pending has not got it, and another one can") {
    Scene scene;
    ClientConnection client;
    scene.offer(client);
    scene.backend.child.signal(SIGKILL);
    Event event = await_event(scene.offering);
    CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_SESSION_LOST));
    CHECK(await_event(scene.offering).status == RP_HANDOFF_ERR_CLOSED);
    const Scene other;
    client.fd = std::move(event.fd);
    other.offer(client);
    CHECK(other.backend.tell('f') == '0');
    CHECK(is_served(client));
}

TEST_CASE("a backend that is killed after it adopted, its answer unsent, had the connection, which ends with it") {
    Scene scene;
    ClientConnection client;
    scene.offer(client);
    CHECK(scene.backend.tell('a') == '0');
    CHECK(is_served(client));
    scene.backend.child.signal(SIGKILL);
    CHECK(await_event(scene.offering).is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
    CHECK(has_ended(client));
    CHECK(await_event(scene.offering).status == RP_HANDOFF_ERR_CLOSED);
}

TEST_CASE("a backend that is stopped has not got what it is offered, and finds it revoked when it goes on") {
    const Scene scene;
    ClientConnection client;
    scene.offer(client, short_while);
    scene.backend.child.stop();
    Event event = await_event(scene.offering);
    CHECK(event.is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_ACK_TIMED_OUT));
    shutdown(event.fd.get(), SHUT_RDWR);
    event.fd.reset();
    CHECK(has_ended(client)); // though the backend still has its duplicate
    scene.backend.child.signal(SIGCONT);
    CHECK(scene.backend.tell('f') == 'v');
    ClientConnection next;
    scene.offer(next);
    CHECK(scene.backend.tell('f') == '0');
    CHECK(await_event(scene.offering).ownership == RP_HANDOFF_OWNER_BACKEND);
    CHECK(is_served(next));
    CHECK(statistics(scene.offering).in_flight == 0);
}

TEST_CASE("a backend that is stopped after it adopted, its answer unsent, has the connection") {
    const Scene scene;
    ClientConnection client;
    scene.offer(client, short_while);
    CHECK(scene.backend.tell('a') == '0');
    scene.backend.child.stop();
    CHECK(await_event(scene.offering).is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
    CHECK(is_served(client));
    CHECK(statistics(scene.offering).in_flight == 1);
    scene.backend.child.signal(SIGCONT);
    scene.backend.child.say('g');
    while (statistics(scene.offering).in_flight > 0) {
        rp_handoff_session_wait(scene.offering.get(), 1'000'000);
    }
    CHECK(take_event(scene.offering).kind == 0);
}

TEST_CASE("a stopped backend keeps neither submit nor execute, cancel nor close waiting") {
    Setup setup;
    Scene scene;
    ClientConnection clients[2];
    scene.offer(clients[0]);
    scene.backend.child.stop();
    const ClientConnection borrowed;
    auto submission = submission_of(borrowed.fd.get());
    submission.timeout_ns = short_while;
    auto outcome = sized<rp_handoff_outcome>();
    CHECK(rp_handoff_session_execute(scene.offering.get(), &submission, &outcome, nullptr) == RP_HANDOFF_OK);
    CHECK(outcome.ownership == RP_HANDOFF_OWNER_BROKER);
    const std::uint64_t id = submit(scene.offering, clients[1]);
    CHECK(rp_handoff_session_cancel(scene.offering.get(), id) == 1);
    CHECK(take_event(scene.offering).ownership == RP_HANDOFF_OWNER_BROKER);
    CHECK(rp_handoff_session_close(scene.offering.get()) == RP_HANDOFF_OK);
    scene.offering.reset();
    CHECK(has_ended(clients[0]));
    scene.backend.child.signal(SIGCONT);
    CHECK(scene.backend.tell('f') == 'v');
}

TEST_CASE("a broker that is killed with an offer pending leaves it to the backend, which adopts it and serves") {
    SocketPair pair;
    ClientConnection client;
    Child broker([&](const Wire &wire) {
        pair.b.reset();
        const Broker made = make_broker();
        const Session offering = open_over(made, std::move(pair.a));
        await_event(offering, RP_HANDOFF_EVENT_OPENED);
        submit(offering, client);
        client.client.reset();
        wire.say('s');
        wire.hear();
    });
    pair.a.reset();
    client.fd.reset();
    const Session receiving = receive_over(std::move(pair.b));
    await_event(receiving, RP_HANDOFF_EVENT_OPENED);
    const Event event = await_event(receiving, RP_HANDOFF_EVENT_OFFER);
    CHECK(broker.hear() == 's');
    broker.signal(SIGKILL);
    CHECK(broker.wait() == 128 + SIGKILL);
    CHECK(await_event(receiving).status == RP_HANDOFF_ERR_CLOSED);
    const UniqueFd adopted = accept_offer(event.offer, RP_HANDOFF_ACK_UNDELIVERED);
    CHECK(are_joined(adopted.get(), client.client.get()));
}

TEST_CASE("a broker that exits without a word leaves what it had not sent to the end of its connections") {
    SocketPair pair;
    ClientConnection client;
    Child broker([&](const Wire &) {
        const Broker made = make_broker();
        const Session offering = open_over(made, std::move(pair.a));
        submit(offering, client);
        _exit(0);
    });
    pair.a.reset();
    client.fd.reset();
    CHECK(broker.wait() == 0);
    CHECK(has_ended(client));
    const Session receiving = receive_over(std::move(pair.b));
    CHECK(await_event(receiving).kind == RP_HANDOFF_EVENT_CLOSED);
}

TEST_CASE("a session over a path opens, serves and closes between two processes, whichever of them listens") {
    for (const bool broker_listens : {false, true}) {
        const Directory directory;
        const std::string path = directory / "session";
        Listener listener;
        if (broker_listens) {
            listener = make_listener(path);
        }
        Child backend([&](const Wire &wire) {
            if (!broker_listens) {
                listener = make_listener(path);
            }
            wire.say('l');
            const Session receiving = broker_listens ? receive_at(path) : receive_over(accept_from(listener));
            for (Event event = await_event(receiving); event.kind != RP_HANDOFF_EVENT_CLOSED;
                 event = await_event(receiving)) {
                if (event.kind == RP_HANDOFF_EVENT_OFFER) {
                    must(send(accept_offer(event.offer).get(), "A", 1, MSG_NOSIGNAL) == 1);
                } else {
                    must(event.kind == RP_HANDOFF_EVENT_OPENED);
                }
            }
        });
        CHECK(backend.hear() == 'l');
        const Broker broker = make_broker();
        const Session offering = broker_listens ? open_over(broker, accept_from(listener)) : open_at(broker, path);
        await_event(offering, RP_HANDOFF_EVENT_OPENED);
        std::vector<ClientConnection> clients(20);
        for (ClientConnection &client : clients) {
            submit(offering, client);
        }
        for (const ClientConnection &client : clients) {
            CHECK(await_event(offering).ownership == RP_HANDOFF_OWNER_BACKEND);
            CHECK(is_served(client));
        }
        CHECK(rp_handoff_session_close(offering.get()) == RP_HANDOFF_OK);
        const Event event = await_event(offering);
        CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
        CHECK(event.status == RP_HANDOFF_OK);
        CHECK(backend.wait() == 0);
    }
}

TEST_CASE("no descriptor that a session keeps, or gives, is at 0, 1 or 2") {
    const ClientConnection clients[2];
    SocketPair pair;
    check_without_stdio([&] {
        struct Kept {
            explicit Kept(SocketPair made) : joined({}, std::move(made)) {}
            Joined joined;
            Event offers[2];
            UniqueFd adopted;
        };
        auto kept = std::make_unique<Kept>(std::move(pair));
        auto duplicated = submission_of(clients[0].fd.get());
        duplicated.flags = RP_HANDOFF_SUBMIT_DUPLICATE;
        submit(kept->joined.offering, duplicated);
        kept->offers[0] = kept->joined.next_offer();
        submit(kept->joined.offering, submission_of(fcntl(clients[1].fd.get(), F_DUPFD_CLOEXEC, 3)));
        kept->offers[1] = kept->joined.next_offer();
        kept->adopted = accept_offer(kept->offers[0].offer);
        must(rp_handoff_session_wait(kept->joined.offering.get(), 0) >= 0);
        return kept;
    });
}
