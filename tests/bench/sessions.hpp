// Handles of the public API, and the few steps that every benchmark of a session takes with them.
#pragma once

#include <memory>
#include <vector>

#include "measure.hpp"
#include "sockets.hpp"

namespace rp::bench {

template <auto Destroy>
struct Deleter {
    template <class Handle>
    void operator()(Handle *handle) const noexcept {
        Destroy(handle);
    }
};
using Broker = std::unique_ptr<rp_handoff_broker, Deleter<rp_handoff_broker_destroy>>;
using Backend = std::unique_ptr<rp_handoff_backend, Deleter<rp_handoff_backend_destroy>>;
using Session = std::unique_ptr<rp_handoff_session, Deleter<rp_handoff_session_destroy>>;
using FrontDoor = std::unique_ptr<rp_handoff_front_door, Deleter<rp_handoff_front_door_destroy>>;

template <class Struct>
Struct sized() {
    Struct value{};
    value.struct_size = sizeof value;
    return value;
}

Broker make_broker();
// Waits until the hellos are through.
Session broker_session(rp_handoff_broker *broker, Fd fd);
// Does not wait: a broker's session in the same process can answer its hello.
Session backend_session(Fd fd);

// One blocking handoff of a borrowed connection, which must be adopted.
void execute(rp_handoff_session *session, int fd);
// Its outcome, whatever it is.
rp_handoff_outcome attempt(rp_handoff_session *session, int fd);

// How handoffs travel: `in_flight` of them at once, `per_message` in each message.
struct Shape {
    std::uint32_t in_flight;
    std::uint32_t per_message;
};

// Hands duplicates of a connection over, all of which must be adopted: submits as long as there is room in flight, and
// takes the outcomes as they come.
class Pipeline {
  public:
    Pipeline(rp_handoff_session *session, int fd, Shape shape);
    void hand_over(std::uint32_t total);

  private:
    void submit();

    rp_handoff_session *session_;
    int fd_;
    Shape shape_;
    std::vector<rp_handoff_submission> items_; // of one message
};

// Takes `count` offers, or as many as come until the session ends. `serve` is given each connection, adopted.
template <class Serve>
void serve_offers(rp_handoff_session *session, std::uint64_t count, Serve serve) {
    auto event = sized<rp_handoff_event>();
    while (count > 0) {
        must(rp_handoff_session_wait(session, RP_HANDOFF_FOREVER) >= 0, "wait for offers");
        while (rp_handoff_session_next_event(session, &event, nullptr) == 1) {
            if (event.kind == RP_HANDOFF_EVENT_CLOSED) {
                return;
            }
            if (event.kind == RP_HANDOFF_EVENT_OFFER) {
                std::int32_t fd = -1;
                must(rp_handoff_offer_accept(event.offer, &fd) >= 0, "accept an offer");
                serve(Fd(fd));
                rp_handoff_offer_destroy(event.offer);
                count--;
            }
        }
    }
}

} // namespace rp::bench
