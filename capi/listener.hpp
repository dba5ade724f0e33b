// A listening socket that a listener's handle and backends share: it is closed, and its name removed, with the last of them.
#pragma once

#include <atomic>
#include <memory>

#include "boundary.hpp"
#include "os/endpoint.hpp"
#include "os/poller.hpp"

struct rp_handoff_listener {
    static constexpr rp::handoff::capi::Kind own_kind = rp::handoff::capi::Kind::listener;
    rp::handoff::capi::Handle base{own_kind};
    std::shared_ptr<rp::handoff::os::Endpoint> endpoint;
    bool trusted; // the caller vouches for who connects
    rp::handoff::os::Poller poller;
    std::atomic<bool> stopped{false};

    rp_handoff_listener(std::shared_ptr<rp::handoff::os::Endpoint> e, bool t, rp::handoff::os::Poller p) noexcept
        : endpoint(std::move(e)), trusted(t), poller(std::move(p)) {}

    bool can_be_freed() noexcept { return true; } // it never changes
    void end(rp::handoff::capi::Ending) noexcept {}
};
