// The client's view when the handoff fails, so that it reconnects after all: the backend refuses, is gone, or dies with
// the offer in its hands. Against the client that is told to reconnect at once. The dying take turns with that by
// themselves, since the kernel goes on clearing up after a process for a while.
#include <optional>

#include "doors.hpp"
#include "scenarios.hpp"

namespace rp::bench {

namespace {

// Waits for an offer and gives it to `end`. At the end of the session, which is that of the benchmark, so ends this.
template <class End>
void await_offer(rp_handoff_session *session, End end) {
    auto event = sized<rp_handoff_event>();
    event.kind = RP_HANDOFF_EVENT_OPENED;
    while (event.kind != RP_HANDOFF_EVENT_OFFER) {
        must(rp_handoff_session_wait(session, RP_HANDOFF_FOREVER) == 1 &&
                 rp_handoff_session_next_event(session, &event, nullptr) == 1,
             "wait for an offer");
        if (event.kind == RP_HANDOFF_EVENT_CLOSED) {
            _exit(0);
        }
    }
    end(event.offer);
    must(rp_handoff_session_next_event(session, &event, nullptr) == 0, "one offer");
}

void refuse(rp_handoff_offer *offer) {
    must(rp_handoff_offer_refuse(offer, "not now") == RP_HANDOFF_OK, "refuse");
    rp_handoff_offer_destroy(offer);
}

[[noreturn]] void die(rp_handoff_offer *) {
    _exit(0);
}

void make_refused(Route &route) {
    Pair session;
    add_endpoint(route);
    route.start([&] {
        auto backend = std::make_shared<Session>(backend_session(std::move(session.b)));
        return [backend] { await_offer(backend->get(), refuse); };
    });
    route.start([&] {
        auto door = std::make_shared<Door>(route);
        auto end = std::make_shared<Session>(broker_session(door->broker(), std::move(session.a)));
        door->hand_over_by(end->get(), nullptr);
        return [door, end] { door->serve(RP_HANDOFF_FRONT_DOOR_RECONNECT); };
    });
}

// A backend that lives until its first offer, and the broker's end of a session with it.
struct ShortLived {
    explicit ShortLived(rp_handoff_broker *broker) : ShortLived(broker, Pair()) {}

    Process backend;
    Session session;

  private:
    ShortLived(rp_handoff_broker *broker, Pair pair)
        : backend([&] {
              pair.a.reset();
              const Session end = backend_session(std::move(pair.b));
              await_offer(end.get(), die);
          }) {
        pair.b.reset();
        session = broker_session(broker, std::move(pair.a));
    }
};

void make_gone(Route &route) {
    add_endpoint(route);
    route.start([&] {
        auto door = std::make_shared<Door>(route);
        auto gone = std::make_shared<std::optional<ShortLived>>();
        gone->emplace(door->broker());
        attempt((*gone)->session.get(), STDIN_FILENO);
        (*gone)->backend.wait();
        door->hand_over_by((*gone)->session.get(), nullptr);
        return [door, gone] { door->serve(RP_HANDOFF_FRONT_DOOR_RECONNECT); };
    });
}

void make_dying(Route &route) {
    add_endpoint(route);
    route.start([&] {
        auto door = std::make_shared<Door>(route);
        auto living = std::make_shared<std::optional<ShortLived>>();
        const auto renew = [door, living] {
            door->hand_over_by(nullptr, nullptr);
            living->emplace(door->broker());
            door->hand_over_by((*living)->session.get(), nullptr);
        };
        renew();
        return [door, renew] {
            door->serve(RP_HANDOFF_FRONT_DOOR_RECONNECT);
            renew();
        };
    });
}

} // namespace

void failing(const Settings &settings) {
    Route refused("refused", Family::local, client_that_waits);
    Route gone("backend gone", Family::local, client_that_waits);
    Route reconnect("reconnect", Family::local, client_that_waits);
    make_refused(refused);
    make_gone(gone);
    make_reconnect(reconnect);
    take_turns(settings, {&refused, &gone, &reconnect});
    print_record("failed handoff", settings, refused.side(), reconnect.side());
    print_record("failed handoff", settings, gone.side(), reconnect.side());
}

void dying(const Settings &settings) {
    Route dying("backend dies with the offer", Family::local, client_that_waits);
    Route reconnect("reconnect", Family::local, client_that_waits);
    make_dying(dying);
    make_reconnect(reconnect);
    take_turns(settings, {&dying, &reconnect});
    print_record("failed handoff", settings, dying.side(), reconnect.side());
}

} // namespace rp::bench
