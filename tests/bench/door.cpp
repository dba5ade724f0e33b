// A client of the v1 protocol that waits for "ready": written by the backend together with the reply, over a session,
// or relayed by the broker, which is what the v1 wire has. Against the same client and the same front door, which hands
// nothing over.
#include "doors.hpp"
#include "scenarios.hpp"
#include "support/api.hpp"

namespace rp::bench {

namespace {

void make_direct(Route &route) {
    Pair session;
    route.start([&] {
        auto backend = std::make_shared<Session>(backend_session(std::move(session.b)));
        return [backend] { serve_offers(backend->get(), 1, reply); };
    });
    route.start([&] {
        auto door = std::make_shared<Door>(route);
        auto end = std::make_shared<Session>(broker_session(door->broker(), std::move(session.a)));
        door->hand_over_by(end->get(), nullptr);
        return [door, end] { door->serve(RP_HANDOFF_FRONT_DOOR_HANDED_OFF); };
    });
}

void take_offer(rp_handoff_backend *backend) {
    rp_handoff_offer *offer = nullptr;
    std::int32_t fd = -1;
    must(rp_handoff_backend_next_offer(backend, RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK &&
             rp_handoff_offer_accept(offer, &fd) == RP_HANDOFF_OK,
         "take an offer");
    reply(Fd(fd));
    rp_handoff_offer_destroy(offer);
}

void make_relayed(Route &route) {
    route.start([&] {
        rp_handoff_backend *backend = nullptr;
        must(rp_handoff_backend_create(nullptr, &backend, nullptr) == RP_HANDOFF_OK &&
                 rp::test::listen_at(backend, route.path("offers").c_str()) == RP_HANDOFF_OK,
             "a backend");
        return [owner = std::make_shared<Backend>(backend)] { take_offer(owner->get()); };
    });
    route.start([&] {
        auto door = std::make_shared<Door>(route);
        door->hand_over_by(nullptr, route.path("offers").c_str());
        return [door] { door->serve(RP_HANDOFF_FRONT_DOOR_HANDED_OFF); };
    });
}

} // namespace

void door(const Settings &settings) {
    Route direct("written by the backend", Family::local, client_that_waits);
    Route relayed("relayed by the broker", Family::local, client_that_waits);
    Route reconnect("reconnect", Family::local, client_that_waits);
    make_direct(direct);
    make_relayed(relayed);
    make_reconnect(reconnect);
    take_turns(settings, {&direct, &relayed, &reconnect});
    print_record("client that waits for ready", settings, direct.side(), reconnect.side());
    print_record("client that waits for ready", settings, direct.side(), relayed.side());
    print_record("client that waits for ready", settings, relayed.side(), reconnect.side());
}

} // namespace rp::bench
