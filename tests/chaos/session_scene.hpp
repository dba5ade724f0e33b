// Backends in processes of their own, and the broker's side of sessions with them, for tests that stop and kill them.
#pragma once

#include <cerrno>
#include <sys/resource.h>

#include "support/api.hpp"
#include "support/process.hpp"
#include "support/sockets.hpp"

namespace rp::test {

// What a backend writes on each connection that it adopts, before it ends it.
constexpr char adopted_word = 'a';

inline void adopt_and_end(rp_handoff_offer *offer) {
    std::int32_t fd = -1;
    if (rp_handoff_offer_accept(offer, &fd) >= RP_HANDOFF_OK) {
        const UniqueFd connection(fd);
        send(fd, &adopted_word, 1, MSG_NOSIGNAL);
        ::shutdown(fd, SHUT_RDWR);
    }
    rp_handoff_offer_destroy(offer);
}

// Until the session ends. Says 'l' then if it found offers revoked, 'n' if none.
inline void serve_session(const Wire &wire, const Session &session) {
    auto event = sized<rp_handoff_event>();
    while (event.kind != RP_HANDOFF_EVENT_CLOSED) {
        must(rp_handoff_session_wait(session.get(), RP_HANDOFF_FOREVER) == 1);
        while (rp_handoff_session_next_event(session.get(), &event, nullptr) == 1) {
            if (event.kind == RP_HANDOFF_EVENT_OFFER) {
                adopt_and_end(event.offer);
            }
        }
    }
    auto counts = sized<rp_handoff_session_statistics>();
    must(rp_handoff_session_get_statistics(session.get(), &counts) == RP_HANDOFF_OK);
    must(counts.in_flight == 0);
    must(counts.offers == counts.accepted + counts.refused + counts.lost);
    wire.say(counts.lost > 0 ? 'l' : 'n');
}

// The body of a backend's process: says 'r' when it can be reached, and serves one session.
inline void run_session_backend(const Wire &wire, const std::string &path) {
    rp_handoff_listener *made = nullptr;
    must(rp::test::create_listener(path.c_str(), &made) == RP_HANDOFF_OK);
    const Listener listener(made);
    wire.say('r');
    auto options = sized<rp_handoff_session_options>();
    must(rp_handoff_listener_accept(listener.get(), RP_HANDOFF_FOREVER, &options.connection_fd) == RP_HANDOFF_OK);
    options.max_in_flight = RP_HANDOFF_IN_FLIGHT_MAX;
    rp_handoff_session *session = nullptr;
    must(rp_handoff_session_create_backend(&options, &session, nullptr) == RP_HANDOFF_OK);
    serve_session(wire, Session(session));
}

inline auto session_backend(const std::string &path) {
    return [path](const Wire &wire) { run_session_backend(wire, path); };
}

// The next event of a session, whenever it comes. Its kind is 0 if the session can give none.
struct Happening {
    rp_handoff_event event = sized<rp_handoff_event>();
    rp_handoff_outcome outcome = sized<rp_handoff_outcome>();

    explicit Happening(const Session &session) {
        while (rp_handoff_session_next_event(session.get(), &event, &outcome) != 1) {
            if (rp_handoff_session_wait(session.get(), RP_HANDOFF_FOREVER) < 0) {
                event.kind = 0;
                return;
            }
        }
    }
};

inline Session open_session(const Broker &broker, const std::string &path, std::uint32_t max_in_flight = 0) {
    auto options = sized<rp_handoff_session_options>();
    options.socket_path = path.c_str();
    options.max_in_flight = max_in_flight;
    rp_handoff_session *made = nullptr;
    must(rp_handoff_session_create_broker(broker.get(), &options, &made, nullptr) == RP_HANDOFF_OK);
    Session session(made);
    must(Happening(session).event.kind == RP_HANDOFF_EVENT_OPENED);
    return session;
}

// Takes the descriptor if it succeeds.
inline std::int32_t submit(const Session &session, UniqueFd &fd, std::uint64_t timeout_ns = 0) {
    auto item = sized<rp_handoff_submission>();
    item.fd = fd.get();
    item.timeout_ns = timeout_ns;
    const std::int32_t status = rp_handoff_session_submit(session.get(), &item, 1, nullptr, nullptr);
    if (status == 1) {
        fd.release();
    }
    return status;
}

} // namespace rp::test
