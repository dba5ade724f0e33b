// The v1 protocol around the client's view: a client that says Hello and waits to be told, and the front door that it
// comes to.
#pragma once

#include "routes.hpp"
#include "sessions.hpp"

namespace rp::bench {

// Says Hello, reads the reply, and, if that promises a handoff, waits for "ready". Stays if it comes, and goes to the
// endpoint that the reply named if not. The same work on blocking sockets as rp_handoff_client_connect does, without
// its deadlines, so that what is compared is the ways and not the client.
std::uint64_t client_that_waits(const Address &front);

// A front door for one service, whose clients reconnect to `route.path("backend")`.
class Door {
  public:
    explicit Door(const Route &route);

    // How its clients are handed over from now on: by a session, to a socket path, or not at all.
    void hand_over_by(rp_handoff_session *session, const char *path);
    // Serves the route's next client. The visit has to end with `result`.
    void serve(std::int32_t result);

    rp_handoff_broker *broker() const noexcept { return broker_.get(); }

  private:
    const Route &route_;
    std::string endpoint_;
    Broker broker_;
    FrontDoor door_;
};

// A process of the route: who answers clients that reconnect.
void add_endpoint(Route &route);

// The reference: a front door that hands nothing over, and the endpoint.
void make_reconnect(Route &route);

} // namespace rp::bench
