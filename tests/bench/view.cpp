// A client that does not wait: it connects, sends its first request, and reads. The broker reads none of it: it hands
// the connection over, or names the backend.
#include "routes.hpp"
#include "scenarios.hpp"
#include "sessions.hpp"

namespace rp::bench {

namespace {

void add_handoff(Route &route) {
    auto session = std::make_shared<Pair>();
    route.start([&] {
        auto backend = std::make_shared<Session>(backend_session(std::move(session->b)));
        return [backend] { serve_offers(backend->get(), 1, reply); };
    });
    route.start([&] {
        auto broker = std::make_shared<Broker>(make_broker());
        auto end = std::make_shared<Session>(broker_session(broker->get(), std::move(session->a)));
        return [broker, end, &route] { execute(end->get(), accept_from(route.listener()).get()); };
    });
}

void add_reconnect(Route &route, Family family) {
    const auto listener = std::make_shared<Fd>(listen_on(family, route.path("backend")));
    route.start([&] { return [listener] { reply(accept_from(*listener)); }; });
    route.start([&] {
        return [&route, backend = address_of(*listener)] { redirect(accept_from(route.listener()), backend); };
    });
}

void view(const std::string &row, Family family, const Settings &settings) {
    Route handoff("handed over", family, client_that_stays);
    Route reconnect("reconnect", family, client_that_is_redirected);
    add_handoff(handoff);
    add_reconnect(reconnect, family);
    take_turns(settings, {&handoff, &reconnect});
    print_record(row, settings, handoff.side(), reconnect.side());
}

} // namespace

void view_tcp(const Settings &settings) {
    view("client over TCP", Family::tcp, settings);
}

void view_local(const Settings &settings) {
    view("client over AF_UNIX", Family::local, settings);
}

} // namespace rp::bench
