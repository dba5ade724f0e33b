// Handles that more than one file of this folder knows.
#pragma once

#include <memory>

#include "../lib/broker.hpp"
#include "boundary.hpp"

struct rp_handoff_broker {
    static constexpr rp::handoff::capi::Kind own_kind = rp::handoff::capi::Kind::broker;
    rp::handoff::capi::Handle base{own_kind};
    std::unique_ptr<rp::handoff::TimeSource> time;
    std::unique_ptr<rp::handoff::RandomSource> random;
    rp::handoff::Broker broker;

    rp_handoff_broker(rp::handoff::Broker::Config config, std::unique_ptr<rp::handoff::TimeSource> t,
                      std::unique_ptr<rp::handoff::RandomSource> r)
        : time(std::move(t)), random(std::move(r)), broker(std::move(config), *time, *random) {}
};

namespace rp::handoff::capi {

rp_handoff_outcome to_outcome(const Broker::Report &report) noexcept;

} // namespace rp::handoff::capi
