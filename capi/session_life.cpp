// Sessions, of both sides: their settings, how they begin and end, and what can be asked of them.
#include "environment.hpp"
#include "handles.hpp"
#include "os/descriptor.hpp"
#include "os/endpoint.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

// The core's numbers are the public ones.
static_assert(static_cast<int>(session::PidfdState::held) == RP_HANDOFF_PIDFD_HELD);
static_assert(static_cast<int>(session::PidfdState::unsupported) == RP_HANDOFF_PIDFD_UNSUPPORTED);
static_assert(static_cast<int>(session::PidfdState::unavailable) == RP_HANDOFF_PIDFD_UNAVAILABLE);
static_assert(static_cast<int>(session::PidfdState::reaped) == RP_HANDOFF_PIDFD_REAPED);

namespace {

constexpr std::uint32_t session_flags = RP_HANDOFF_PEER_ANY_UID | RP_HANDOFF_PEER_REQUIRE_PIDFD;

Status check_connection(const rp_handoff_session_options &o, Explanation &why) noexcept {
    if (o.socket_path == nullptr && o.connection_fd <= 0) {
        return why.about(
            Status::invalid_argument, "socket_path",
            "is NULL, and connection_fd is no descriptor above 0: give one of the two, dup(2) descriptor 0");
    }
    if (o.socket_path != nullptr && !os::is_valid_path(o.socket_path)) {
        return why.because(Status::path_invalid, "socket_path", rp_handoff_strerror(code(Status::path_invalid)));
    }
    const bool by_path = o.socket_path != nullptr;
    return by_path || os::check_connection(o.connection_fd) != Status::invalid_argument
               ? Status::ok
               : why.about(Status::invalid_argument, "connection_fd", "is no connected Unix stream socket");
}

Result<session::Config> to_config(const rp_handoff_session_options &o, Explanation &why) {
    if (!os::supported) {
        return Failure(Status::unsupported);
    }
    if ((o.peer_flags & ~session_flags) != 0) {
        return Failure(why.about(Status::invalid_argument, "peer_flags", "has a flag that means nothing here"));
    }
    // With a pid to match, the policy matches it.
    const std::uint32_t match = o.peer_pid != 0 ? std::uint32_t{RP_HANDOFF_PEER_MATCH_PID} : 0U;
    auto peers = make_peers(
        {o.peer_flags | match, session_flags | RP_HANDOFF_PEER_MATCH_PID, o.peer_uids, o.peer_uids_length}, why);
    if (!peers) {
        return Failure(peers.error());
    }
    const Result<std::string_view> service =
        to_text(o.service_name, session::max_service, Presence::optional, "service_name", why);
    if (!service) {
        return Failure(service.error());
    }
    const std::uint32_t in_flight = or_default(o.max_in_flight, 256U);
    const Status valid = first_failure(
        {check_at_most(in_flight, session::max_in_flight, "max_in_flight", why), check_connection(o, why)});
    if (valid != Status::ok) {
        return Failure(valid);
    }
    session::Config config;
    config.peers = std::move(*peers);
    config.peer_pid = o.peer_pid;
    config.require_pidfd = (o.peer_flags & RP_HANDOFF_PEER_REQUIRE_PIDFD) != 0;
    config.path = o.socket_path != nullptr ? o.socket_path : "";
    config.connection_fd = o.connection_fd;
    config.max_in_flight = in_flight;
    config.service = *service;
    config.open_timeout = limited(o.open_timeout_ns, config.open_timeout);
    config.max_queued = or_default<std::size_t>(o.max_queued_bytes, config.max_queued);
    config.max_held = std::max(or_default<std::size_t>(o.max_held_bytes, config.max_held), config.least_held);
    return config;
}

} // namespace

bool rp_handoff_session::can_be_freed() noexcept {
    return offering != nullptr ? offering->can_be_freed() && broker->can_be_freed() : received->can_be_freed();
}

void rp_handoff_session::end(Ending ending) noexcept {
    if (ending == Ending::of_copy) {
        return;
    }
    any([](auto &s) { s.shutdown(); });
    if (received != nullptr && received->gate != nullptr) {
        received->gate->close(); // offers may live on
    }
}

int32_t rp_handoff_session_create_broker(rp_handoff_broker *broker, const rp_handoff_session_options *options,
                                         rp_handoff_session **out_session, rp_handoff_error *out_error) {
    return explained_with(broker, "broker", out_error, [&](Explanation &why) {
        rp_handoff_session_options o{};
        const Status given =
            first_failure({check_given(out_session, "out_session", why), read_struct(options, o, "options", why)});
        if (given != Status::ok) {
            return given;
        }
        if (o.now != nullptr || o.wait != nullptr) {
            return why.about(Status::invalid_argument, o.now != nullptr ? "now" : "wait",
                             "is its broker's in a broker's session: leave it NULL");
        }
        Result<session::Config> config = to_config(o, why);
        if (!config) {
            return config.error();
        }
        auto handle = std::make_unique<rp_handoff_session>();
        auto offering = session::BrokerSession::open(std::move(*config), broker->broker, why);
        if (!offering) {
            return offering.error();
        }
        handle->broker = broker->core;
        handle->offering = std::move(*offering);
        *out_session = handle.release();
        return Status::ok;
    });
}

int32_t rp_handoff_session_create_backend(const rp_handoff_session_options *options, rp_handoff_session **out_session,
                                          rp_handoff_error *out_error) {
    return explained(out_error, [&](Explanation &why) {
        rp_handoff_session_options o{};
        const Status given =
            first_failure({check_given(out_session, "out_session", why), read_struct(options, o, "options", why)});
        if (given != Status::ok) {
            return given;
        }
        Result<session::Config> config = to_config(o, why);
        if (!config) {
            return config.error();
        }
        const auto gate = make_gate(o.now);
        auto time = make_time(o.now, o.wait, o.time_user_data, gate, why, ClosedClock::stopped);
        if (!time) {
            return time.error();
        }
        auto handle = std::make_unique<rp_handoff_session>();
        handle->received = std::make_shared<Received>();
        handle->received->gate = gate;
        handle->received->offers = std::make_unique<rp_handoff_offer[]>(config->max_in_flight);
        std::for_each_n(handle->received->offers.get(), config->max_in_flight,
                        [](rp_handoff_offer &offer) { offer.base.kind = Kind::dead; });
        auto receiving = session::BackendSession::open(std::move(*config), std::move(*time), why);
        if (!receiving) {
            return receiving.error();
        }
        handle->received->session = std::move(*receiving);
        *out_session = handle.release();
        return Status::ok;
    });
}

void rp_handoff_session_destroy(rp_handoff_session *session) {
    destroy(session);
}

int32_t rp_handoff_session_stop(rp_handoff_session *session) {
    const CancellationOff off; // write(2) is a cancellation point
    const Status status = check_handle(session);
    if (status == Status::ok) {
        session->any([](auto &s) { s.stop(); });
    }
    return code(status);
}

int32_t rp_handoff_session_get_peer(rp_handoff_session *session, rp_handoff_session_peer *out_peer) {
    return guarded_with(session, [&] {
        if (const Status status = check_result_struct(out_peer); status != Status::ok) {
            return status;
        }
        const session::Peer *const peer = session->any([](auto &any) { return any.peer(); });
        if (peer == nullptr) {
            return Status::unavailable;
        }
        write_struct(out_peer, {0, peer->credentials.pid, peer->credentials.uid, peer->credentials.gid,
                                static_cast<std::int32_t>(peer->pidfd_state), peer->pidfd.get(), peer->max_in_flight, 0,
                                peer->service.c_str(), peer->service.size()});
        return Status::ok;
    });
}

int32_t rp_handoff_session_get_statistics(rp_handoff_session *session, rp_handoff_session_statistics *out_statistics) {
    return guarded_with(session, [&] {
        if (const Status status = check_result_struct(out_statistics); status != Status::ok) {
            return status;
        }
        const session::Statistics s = session->any([](auto &any) { return any.statistics(); });
        write_struct(out_statistics, {0, s.in_flight, s.submitted, s.completed, s.fallbacks, s.offers, s.accepted,
                                      s.refused, s.lost, s.messages_sent, s.messages_received});
        return Status::ok;
    });
}
