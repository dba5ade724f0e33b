// Handles that more than one file of this folder knows.
#pragma once

#include <memory>

#include "boundary.hpp"
#include "handoff/broker.hpp"
#include "os/descriptor.hpp"
#include "session/backend_session.hpp"
#include "session/broker_session.hpp"
#include "v1/backend.hpp"

struct rp_handoff_broker {
    static constexpr rp::handoff::capi::Kind own_kind = rp::handoff::capi::Kind::broker;
    rp::handoff::capi::Handle base{own_kind};
    std::unique_ptr<rp::handoff::TimeSource> time;
    std::unique_ptr<rp::handoff::RandomSource> random;
    rp::handoff::Broker broker;

    rp_handoff_broker(rp::handoff::Broker::Config config, std::unique_ptr<rp::handoff::TimeSource> t,
                      std::unique_ptr<rp::handoff::RandomSource> r)
        : time(std::move(t)), random(std::move(r)),
          broker(std::move(config), *time, *random, rp::handoff::os::queue_is_empty) {}
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
    rp::handoff::session::Index place = 0;
};

struct rp_handoff_session {
    static constexpr rp::handoff::capi::Kind own_kind = rp::handoff::capi::Kind::session;
    rp::handoff::capi::Handle base{own_kind};
    std::shared_ptr<rp::handoff::session::BrokerSession> offering; // one of the two
    std::shared_ptr<rp::handoff::capi::Received> received;
    std::size_t max_queued = 0; // of the broker's side

    rp::handoff::session::Session &any() noexcept;
};

namespace rp::handoff::capi {

// The backend's side and the handles of its offers, which live as long as one of them does.
struct Received {
    std::shared_ptr<session::BackendSession> session;
    std::unique_ptr<rp_handoff_offer[]> offers;
};

rp_handoff_outcome to_outcome(const Broker::Report &report) noexcept;

} // namespace rp::handoff::capi

inline rp::handoff::session::Session &rp_handoff_session::any() noexcept {
    return offering != nullptr ? static_cast<rp::handoff::session::Session &>(*offering) : *received->session;
}
