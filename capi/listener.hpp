// A listening socket that a listener's handle and backends share: it is closed, and its name removed, with the last of them.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "boundary.hpp"
#include "os/endpoint.hpp"
#include "os/poller.hpp"

namespace rp::handoff::capi {

struct Listening {
    std::optional<os::Endpoint> made; // with a name in the file system
    UniqueFd adopted;                 // or from outside

    int fd() const noexcept { return made ? made->fd() : adopted.get(); }
};

} // namespace rp::handoff::capi

struct rp_handoff_listener {
    static constexpr rp::handoff::capi::Kind own_kind = rp::handoff::capi::Kind::listener;
    rp::handoff::capi::Handle base{own_kind};
    std::shared_ptr<rp::handoff::capi::Listening> listening;
    bool trusted; // the caller vouches for who connects
    rp::handoff::os::Poller poller;
    std::atomic<bool> stopped{false};

    rp_handoff_listener(std::shared_ptr<rp::handoff::capi::Listening> l, bool t, rp::handoff::os::Poller p) noexcept
        : listening(std::move(l)), trusted(t), poller(std::move(p)) {}
};
