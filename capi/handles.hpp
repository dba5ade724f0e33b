// Handles that more than one file of this folder knows.
#pragma once

#include <memory>

#include "boundary.hpp"
#include "gate.hpp"
#include "handoff/broker.hpp"
#include "os/descriptor.hpp"
#include "os/message_memory.hpp"
#include "session/backend_session.hpp"
#include "session/broker_session.hpp"
#include "v1/backend.hpp"

namespace rp::handoff::capi {

// A broker and its sources. Its handle, and whatever was made of it, keep it together.
struct BrokerCore {
    std::shared_ptr<Gate> gate; // null: the sources are the library's own
    std::unique_ptr<TimeSource> time;
    std::unique_ptr<RandomSource> random;
    Broker broker;

    BrokerCore(Broker::Config config, std::shared_ptr<Gate> g, std::unique_ptr<TimeSource> t,
               std::unique_ptr<RandomSource> r)
        : gate(std::move(g)), time(std::move(t)), random(std::move(r)),
          broker(std::move(config), *time, *random, os::unread_memory, os::measure_message_memory()) {}

    bool can_be_freed() noexcept { return broker.can_be_freed() && capi::can_be_freed(gate); }
};

} // namespace rp::handoff::capi

struct rp_handoff_broker {
    static constexpr rp::handoff::capi::Kind own_kind = rp::handoff::capi::Kind::broker;
    rp::handoff::capi::Handle base{own_kind};
    std::shared_ptr<rp::handoff::capi::BrokerCore> core;
    rp::handoff::Broker &broker;

    explicit rp_handoff_broker(std::shared_ptr<rp::handoff::capi::BrokerCore> c) noexcept
        : core(std::move(c)), broker(core->broker) {}

    bool can_be_freed() noexcept { return core->can_be_freed(); }
    void end(rp::handoff::capi::Ending ending) noexcept {
        if (core->gate != nullptr && ending == rp::handoff::capi::Ending::of_owner) {
            broker.lose_sources();
            core->gate->close();
        }
    }
};

namespace rp::handoff::capi {
struct Received;
}

// An offer of the v1 wire is a thing of its own; one of a session is a place in it, and so is its handle, which is there
// all the time and comes to life with an event.
struct rp_handoff_offer {
    static constexpr rp::handoff::capi::Kind own_kind = rp::handoff::capi::Kind::offer;
    rp::handoff::capi::Handle base{own_kind};
    std::unique_ptr<rp::handoff::Offer> v1;
    std::shared_ptr<rp::handoff::capi::Received> session;
    rp::handoff::Index place = 0;

    bool can_be_freed() noexcept;
};

struct rp_handoff_session {
    // What both sides have, done by the one that this is.
    template <class Call>
    auto any(Call call) noexcept(false);

    static constexpr rp::handoff::capi::Kind own_kind = rp::handoff::capi::Kind::session;
    rp::handoff::capi::Handle base{own_kind};
    std::shared_ptr<rp::handoff::capi::BrokerCore> broker;         // of the broker's side, which uses it to its end
    std::shared_ptr<rp::handoff::session::BrokerSession> offering; // one of the two
    std::shared_ptr<rp::handoff::capi::Received> received;

    bool can_be_freed() noexcept;
    void end(rp::handoff::capi::Ending ending) noexcept;
};

namespace rp::handoff::capi {

// The backend's side and the handles of its offers, which live as long as one of them does.
struct Received {
    std::shared_ptr<Gate> gate; // null: the clock is the library's own
    std::shared_ptr<session::BackendSession> session;
    std::unique_ptr<rp_handoff_offer[]> offers;

    bool can_be_freed() noexcept { return session->can_be_freed() && capi::can_be_freed(gate); }
};

rp_handoff_outcome to_outcome(const Broker::Report &report) noexcept;

} // namespace rp::handoff::capi

inline bool rp_handoff_offer::can_be_freed() noexcept {
    return v1 != nullptr ? v1->can_be_freed() : session->can_be_freed();
}

template <class Call>
auto rp_handoff_session::any(Call call) noexcept(false) {
    return offering != nullptr ? call(*offering) : call(*received->session);
}
