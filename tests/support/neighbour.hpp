// A broker whose one backend misbehaves has another one, which does not notice.
#pragma once

#include "support/session_hand.hpp"

namespace rp::test {

// A session of the same broker whose backend is honest.
class Neighbour {
  public:
    explicit Neighbour(const Broker &broker) : Neighbour(broker, SocketPair()) {
        turn({&offering_, &receiving_});
        REQUIRE(take_event(offering_).kind == RP_HANDOFF_EVENT_OPENED);
        REQUIRE(take_event(receiving_).kind == RP_HANDOFF_EVENT_OPENED);
    }

    void check_works() const {
        ClientConnection client;
        submit(offering_, client);
        turn({&receiving_});
        const UniqueFd adopted = accept_offer(take_event(receiving_).offer);
        CHECK(take_event(receiving_).kind == 0);
        turn({&offering_});
        CHECK(take_event(offering_).is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
        CHECK(are_joined(client.client.get(), adopted.get()));
    }

  private:
    Neighbour(const Broker &broker, SocketPair pair)
        : offering_(open_over(broker, std::move(pair.a))), receiving_(receive_over(std::move(pair.b))) {}

    Session offering_;
    Session receiving_;
};

inline void check_broken_off(const hand::Scene &scene, std::int32_t status = RP_HANDOFF_ERR_PROTOCOL) {
    scene.turn();
    const Event event = take_event(scene.offering);
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == status);
    CHECK(take_event(scene.offering).kind == 0);
    CHECK(statistics(scene.broker).pending_tokens == 0);
    CHECK(statistics(scene.broker).pending_acks == 0);
    Neighbour(scene.broker).check_works();
}

} // namespace rp::test
