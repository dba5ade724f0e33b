// Sessions in tests: events that own what they give, and both ends of a session in one process, on the system's clock
// or on one that the test turns.
#pragma once

#include "support/api.hpp"
#include "support/sockets.hpp"

namespace rp::test {

struct Event {
    std::int32_t kind = 0; // 0: none
    std::int32_t status = 0;
    std::int32_t ownership = 0;
    std::uint64_t id = 0;
    std::uint64_t user_data = 0;
    UniqueFd fd;
    Offer offer;
    rp_handoff_outcome outcome = sized<rp_handoff_outcome>();

    bool is_outcome(std::int32_t owner, std::int32_t cause) const {
        return kind == RP_HANDOFF_EVENT_OUTCOME && ownership == owner && outcome.ownership == owner &&
               outcome.cause == cause;
    }
};

// The next event that is there, or none.
inline Event take_event(const Session &session) {
    auto event = sized<rp_handoff_event>();
    auto outcome = sized<rp_handoff_outcome>();
    const std::int32_t n = rp_handoff_session_next_event(session.get(), &event, &outcome);
    REQUIRE(n >= 0);
    if (n == 0) {
        return {};
    }
    return {event.kind,      event.status,       event.ownership,    event.id,
            event.user_data, UniqueFd(event.fd), Offer(event.offer), outcome};
}

// Waits for it.
inline Event await_event(const Session &session) {
    for (;;) {
        if (Event event = take_event(session); event.kind != 0) {
            return event;
        }
        REQUIRE(rp_handoff_session_wait(session.get(), RP_HANDOFF_FOREVER) == 1);
    }
}

inline Event await_event(const Session &session, std::int32_t kind) {
    Event event = await_event(session);
    REQUIRE(event.kind == kind);
    return event;
}

inline void process(const Session &session) {
    REQUIRE(rp_handoff_session_process(session.get()) == RP_HANDOFF_OK);
}

inline int fd_of(const Session &session) {
    return rp_handoff_session_get_fd(session.get());
}

inline std::uint64_t timeout_of(const Session &session) {
    std::uint64_t timeout = 0;
    REQUIRE(rp_handoff_session_get_timeout(session.get(), &timeout) == RP_HANDOFF_OK);
    return timeout;
}

// Lets all of them act until none has anything to do.
inline void turn(std::initializer_list<const Session *> sessions) {
    bool busy = true;
    while (busy) {
        busy = false;
        for (const Session *session : sessions) {
            if (is_readable(fd_of(*session))) {
                process(*session);
                busy = true;
            }
        }
    }
}

inline rp_handoff_session_statistics statistics(const Session &session) {
    auto out = sized<rp_handoff_session_statistics>();
    REQUIRE(rp_handoff_session_get_statistics(session.get(), &out) == RP_HANDOFF_OK);
    return out;
}

inline std::int32_t try_open(const Broker &broker, UniqueFd &fd, rp_handoff_session_options options, Session &out) {
    options.connection_fd = fd.get();
    rp_handoff_session *made = nullptr;
    const std::int32_t status = rp_handoff_session_create_broker(broker.get(), &options, &made, nullptr);
    if (status == RP_HANDOFF_OK) {
        fd.release();
        out.reset(made);
    }
    return status;
}

inline std::int32_t try_receive(UniqueFd &fd, rp_handoff_session_options options, Session &out) {
    options.connection_fd = fd.get();
    rp_handoff_session *made = nullptr;
    const std::int32_t status = rp_handoff_session_create_backend(&options, &made, nullptr);
    if (status == RP_HANDOFF_OK) {
        fd.release();
        out.reset(made);
    }
    return status;
}

inline Session open_over(const Broker &broker, UniqueFd fd,
                         const rp_handoff_session_options &options = sized<rp_handoff_session_options>()) {
    Session session;
    REQUIRE(try_open(broker, fd, options, session) == RP_HANDOFF_OK);
    return session;
}

inline Session receive_over(UniqueFd fd,
                            const rp_handoff_session_options &options = sized<rp_handoff_session_options>()) {
    Session session;
    REQUIRE(try_receive(fd, options, session) == RP_HANDOFF_OK);
    return session;
}

inline Session open_at(const Broker &broker, const std::string &path,
                       rp_handoff_session_options options = sized<rp_handoff_session_options>()) {
    options.socket_path = path.c_str();
    rp_handoff_session *made = nullptr;
    REQUIRE(rp_handoff_session_create_broker(broker.get(), &options, &made, nullptr) == RP_HANDOFF_OK);
    return Session(made);
}

inline Session receive_at(const std::string &path,
                          rp_handoff_session_options options = sized<rp_handoff_session_options>()) {
    options.socket_path = path.c_str();
    rp_handoff_session *made = nullptr;
    REQUIRE(rp_handoff_session_create_backend(&options, &made, nullptr) == RP_HANDOFF_OK);
    return Session(made);
}

inline Listener make_listener(const std::string &path) {
    rp_handoff_listener *made = nullptr;
    REQUIRE(rp::test::create_listener(path.c_str(), &made) == RP_HANDOFF_OK);
    return Listener(made);
}

inline UniqueFd accept_from(const Listener &listener) {
    std::int32_t fd = -1;
    REQUIRE(rp_handoff_listener_accept(listener.get(), RP_HANDOFF_FOREVER, &fd) == RP_HANDOFF_OK);
    return UniqueFd(fd);
}

inline rp_handoff_submission submission_of(int fd, std::uint64_t user_data = 0) {
    auto submission = sized<rp_handoff_submission>();
    submission.fd = fd;
    submission.user_data = user_data;
    return submission;
}

inline std::int32_t try_submit(const Session &session, const rp_handoff_submission &submission,
                               std::uint64_t *out_id = nullptr) {
    return rp_handoff_session_submit(session.get(), &submission, 1, out_id, nullptr);
}

inline std::uint64_t submit(const Session &session, const rp_handoff_submission &submission) {
    std::uint64_t id = 0;
    REQUIRE(try_submit(session, submission, &id) == 1);
    return id;
}

// The session takes this end of the client's connection.
inline std::uint64_t submit(const Session &session, ClientConnection &client, std::uint64_t user_data = 0) {
    const std::uint64_t id = submit(session, submission_of(client.fd.get(), user_data));
    client.fd.release();
    return id;
}

inline UniqueFd accept_offer(const Offer &offer, std::int32_t expected = RP_HANDOFF_OK) {
    Out<std::int32_t> fd;
    const std::int32_t status = rp_handoff_offer_accept(offer.get(), fd.get());
    CHECK(status == expected);
    CHECK(fd.untouched() == (status < 0));
    return UniqueFd(status >= 0 ? fd.value : -1);
}

// Whether what is written to the one end arrives at the other.
inline bool are_joined(int end, int other) {
    char got = 0;
    return send(end, "x", 1, MSG_NOSIGNAL) == 1 && recv(other, &got, 1, MSG_DONTWAIT) == 1 && got == 'x';
}

// How broker, session and session of a pair are made.
struct Setup {
    rp_handoff_broker_options broker = sized<rp_handoff_broker_options>();
    rp_handoff_session_options offering = sized<rp_handoff_session_options>();
    rp_handoff_session_options receiving = sized<rp_handoff_session_options>();
};

// Both ends of a session that is open, in one process.
class Joined {
  public:
    explicit Joined(const Setup &setup = {}) : Joined(setup, SocketPair()) {}
    Joined(const Setup &setup, SocketPair pair)
        : broker(make_broker(setup.broker)), offering(open_over(broker, std::move(pair.a), setup.offering)),
          receiving(receive_over(std::move(pair.b), setup.receiving)) {
        turn();
        REQUIRE(take_event(offering).kind == RP_HANDOFF_EVENT_OPENED);
        REQUIRE(take_event(receiving).kind == RP_HANDOFF_EVENT_OPENED);
    }

    void turn() const { test::turn({&offering, &receiving}); }

    // Lets it through, and gives it.
    Event next_offer() const {
        turn();
        Event event = take_event(receiving);
        REQUIRE(event.kind == RP_HANDOFF_EVENT_OFFER);
        return event;
    }
    // Sends the answers, and gives what comes of it.
    Event next_outcome() const {
        CHECK(take_event(receiving).kind == 0);
        turn();
        Event event = take_event(offering);
        REQUIRE(event.kind == RP_HANDOFF_EVENT_OUTCOME);
        return event;
    }

    Broker broker;
    Session offering;  // the broker's side
    Session receiving; // the backend's
};

struct WithTime {
    FakeTime time;
    Setup in(Setup setup) noexcept {
        setup.broker = time.in(setup.broker);
        setup.receiving = time.in(setup.receiving);
        return setup;
    }
};

// The same on a clock that the test turns.
class Timed : public WithTime, public Joined {
  public:
    explicit Timed(const Setup &setup = {}) : Joined(in(setup)) {}
};

} // namespace rp::test
