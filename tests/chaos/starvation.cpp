// Descriptors in flight are counted per user (unix(7), ETOOMANYREFS): a stopped backend must not use up what the other
// sessions, and the other processes of the user, need. To be run as root, which becomes a user of few descriptors.
#include "session_scene.hpp"
#include "support/arrived.hpp"

using namespace rp::test;

namespace {

constexpr rlim_t few = 128;

void allow(rlim_t descriptors) {
    rlimit limit{};
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = descriptors;
    must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

// A user for each case: what one leaves in flight goes with its processes, a little later.
uid_t user_of_case() {
    static const uid_t user = stranger + static_cast<uid_t>(getpid());
    return user;
}

void become_short() {
    become(user_of_case());
    allow(few);
    auto platform = sized<rp_handoff_platform>();
    must(rp_handoff_get_platform(&platform) == RP_HANDOFF_OK);
    must(platform.in_flight_exempt != RP_HANDOFF_EXEMPT_YES);
}

auto short_backend(const std::string &path) {
    return [path](const Wire &wire) {
        become_short();
        run_session_backend(wire, path);
    };
}

// Whether this process can have a few descriptors in flight, on each word of the wire. Says 'y', or 't' for ETOOMANYREFS.
void run_bystander(const Wire &wire) {
    become_short();
    wire.say('r');
    while (wire.hear() != '\0') {
        const SocketPair pair;
        char answer = 'y';
        for (int i = 0; i < 20; ++i) {
            std::size_t sent = 0;
            const std::uint8_t byte = 0;
            if (rp_handoff_wire_send(pair.a.get(), STDIN_FILENO, &byte, 1, &sent) != RP_HANDOFF_OK) {
                answer = errno == ETOOMANYREFS ? 't' : 'e';
            }
        }
        take_all(pair.b.get());
        wire.say(answer);
    }
}

// What the test case, which stops and continues the backends, and the broker's process tell each other.
void next_step(const Wire &wire) {
    wire.say('n');
    must(wire.hear() == 'n');
}

UniqueFd any_descriptor() {
    UniqueFd fd(dup(STDIN_FILENO));
    must(bool(fd));
    return fd;
}

// Offers until that is refused; with what.
std::int32_t fill(const Session &session, std::uint32_t &count) {
    for (;;) {
        UniqueFd fd = any_descriptor();
        const std::int32_t status = submit(session, fd);
        if (status != 1) {
            return status;
        }
        ++count;
    }
}

void hand_over(const Session &session) {
    UniqueFd fd = any_descriptor();
    must(submit(session, fd) == 1);
    const Happening happening(session);
    must(happening.event.kind == RP_HANDOFF_EVENT_OUTCOME);
    must(happening.event.ownership == RP_HANDOFF_OWNER_BACKEND);
}

// A kernel that was asked to pass on too many: said as what it is, and nothing has left.
void check_pressure(const Happening &happening) {
    must(happening.event.kind == RP_HANDOFF_EVENT_OUTCOME);
    must(happening.event.ownership == RP_HANDOFF_OWNER_BROKER);
    must(happening.outcome.cause == RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE);
    must(happening.outcome.reason == RP_HANDOFF_REASON_FD_PRESSURE_DISABLED);
    must(happening.outcome.stage == RP_HANDOFF_STAGE_SEND);
    must(happening.outcome.os_error == ETOOMANYREFS);
    must(happening.outcome.may_have_reached_backend == 0);
    close(happening.event.fd);
}

// Of a backend that goes on with more in its queue than it has descriptors for.
void take_answer(const Session &session) {
    const Happening happening(session);
    must(happening.event.kind == RP_HANDOFF_EVENT_OUTCOME);
    if (happening.event.ownership == RP_HANDOFF_OWNER_BROKER) {
        must(happening.outcome.cause == RP_HANDOFF_CAUSE_BACKEND_DESCRIPTORS);
        close(happening.event.fd);
    }
}

// Backends a, b and c, a bystander and a broker, all of one user.
class Scene {
  public:
    template <class Body>
    explicit Scene(Body body)
        : broker([this, body](const Wire &wire) {
              become_short();
              body(wire, *this);
          }) {
        REQUIRE(a.hear() == 'r');
        REQUIRE(b.hear() == 'r');
        REQUIRE(c.hear() == 'r');
        REQUIRE(bystander.hear() == 'r');
        broker.say('n');
    }

    void await_broker() { REQUIRE(broker.hear() == 'n'); }
    char ask_bystander() {
        bystander.say('?');
        return bystander.hear();
    }
    std::string path(const char *name) const { return directory / name; }

    Directory directory;
    bool given = chown(directory.path().c_str(), user_of_case(), user_of_case()) == 0;
    Child a{short_backend(path("a"))};
    Child b{short_backend(path("b"))};
    Child c{short_backend(path("c"))};
    Child bystander{run_bystander};
    Child broker;
};

} // namespace

TEST_CASE("a stopped backend with unread offers leaves descriptors to the other sessions and to the user's processes") {
    Scene scene([](const Wire &wire, const Scene &town) {
        must(wire.hear() == 'n');
        const Broker broker = make_broker();
        const Session a = open_session(broker, town.path("a"), 16);
        const Session b = open_session(broker, town.path("b"), 16);
        const Session c = open_session(broker, town.path("c"), 16);
        next_step(wire); // a is stopped
        std::uint32_t count = 0;
        must(fill(a, count) == RP_HANDOFF_ERR_LIMIT_SESSION);
        must(count == 16);
        next_step(wire); // the bystander was asked
        for (int i = 0; i < 500; ++i) {
            hand_over(i % 2 == 0 ? b : c);
        }
        must(fill(a, count) == RP_HANDOFF_ERR_LIMIT_SESSION);
        must(count == 16);
    });
    scene.await_broker();
    scene.a.stop();
    scene.broker.say('n');
    scene.await_broker();
    CHECK(scene.ask_bystander() == 'y');
    scene.broker.say('n');
    CHECK(scene.broker.wait() == 0);
    CHECK(scene.ask_bystander() == 'y');
}

TEST_CASE("what was revoked counts for as long as it lies in a stopped backend's queue") {
    Scene scene([](const Wire &wire, const Scene &town) {
        must(wire.hear() == 'n');
        const Broker broker = make_broker();
        const Session a = open_session(broker, town.path("a"), 16);
        next_step(wire); // a is stopped
        for (int i = 0; i < 16; ++i) {
            UniqueFd fd = any_descriptor();
            must(submit(a, fd, 1'000'000) == 1);
        }
        for (int i = 0; i < 16; ++i) {
            const Happening happening(a);
            must(happening.event.ownership == RP_HANDOFF_OWNER_BROKER);
            close(happening.event.fd);
        }
        std::uint32_t count = 0;
        must(fill(a, count) == RP_HANDOFF_ERR_LIMIT_SESSION);
        must(count == 0);
        next_step(wire); // a goes on, and answers
        while (fill(a, count) != RP_HANDOFF_ERR_LIMIT_SESSION || count == 0) {
            must(rp_handoff_session_wait(a.get(), 1'000'000) >= 0);
        }
    });
    scene.await_broker();
    scene.a.stop();
    scene.broker.say('n');
    scene.await_broker();
    scene.a.signal(SIGCONT);
    scene.broker.say('n');
    CHECK(scene.broker.wait() == 0);
}

TEST_CASE(
    "several stopped backends together leave the half of the user's descriptors, and a submit says which bound it is") {
    Scene scene([](const Wire &wire, const Scene &town) {
        must(wire.hear() == 'n');
        const Broker broker = make_broker();
        const Session a = open_session(broker, town.path("a"), 48);
        const Session b = open_session(broker, town.path("b"), 48);
        const Session c = open_session(broker, town.path("c"), 48);
        hand_over(a); // so what they were sent at the opening lies in no queue
        hand_over(b);
        hand_over(c);
        next_step(wire); // a and b are stopped
        std::uint32_t count = 0;
        must(fill(a, count) == RP_HANDOFF_ERR_LIMIT_SESSION);
        must(fill(b, count) == RP_HANDOFF_ERR_LIMIT_DESCRIPTORS);
        must(count == few / 2);
        must(fill(c, count) == RP_HANDOFF_ERR_LIMIT_DESCRIPTORS);
        next_step(wire); // the bystander was asked, and a goes on
        must(Happening(a).event.ownership == RP_HANDOFF_OWNER_BACKEND);
        hand_over(c);
    });
    scene.await_broker();
    scene.a.stop();
    scene.b.stop();
    scene.broker.say('n');
    scene.await_broker();
    CHECK(scene.ask_bystander() == 'y');
    scene.a.signal(SIGCONT);
    scene.broker.say('n');
    CHECK(scene.broker.wait() == 0);
}

TEST_CASE("without the bound a stopped backend starves everybody, and the kernel's word for it is a cause of its own") {
    Scene scene([](const Wire &wire, const Scene &town) {
        must(wire.hear() == 'n');
        allow(2048);
        auto options = sized<rp_handoff_broker_options>();
        options.in_flight_percent = 100;
        const Broker broker = make_broker(options);
        const Session a = open_session(broker, town.path("a"), RP_HANDOFF_IN_FLIGHT_MAX);
        const Session b = open_session(broker, town.path("b"), RP_HANDOFF_IN_FLIGHT_MAX);
        std::vector<UniqueFd> fds;
        for (rlim_t i = 0; i < few + 12; ++i) {
            fds.push_back(any_descriptor());
        }
        allow(few);      // after the broker has seen that there are many
        next_step(wire); // a is stopped
        for (std::size_t i = 0; i < few + 11; ++i) {
            must(submit(a, fds[i]) == 1);
        }
        rlim_t refused = 0; // all beyond few + 1; b may not have read its ledger yet
        for (; rp_handoff_session_wait(a.get(), 0) == 1; ++refused) {
            check_pressure(Happening(a));
        }
        must(refused >= 10);
        must(submit(b, fds.back()) == 1);
        check_pressure(Happening(b));
        next_step(wire); // the bystander was asked, and a goes on
        for (rlim_t i = refused; i < few + 11; ++i) {
            take_answer(a);
        }
        hand_over(b);
    });
    scene.await_broker();
    scene.a.stop();
    scene.broker.say('n');
    scene.await_broker();
    CHECK(scene.ask_bystander() == 't');
    scene.a.signal(SIGCONT);
    scene.broker.say('n');
    CHECK(scene.broker.wait() == 0);
    CHECK(scene.ask_bystander() == 'y');
}
