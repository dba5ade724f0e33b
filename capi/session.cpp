// Sessions, of both sides.
#include "environment.hpp"
#include "handles.hpp"
#include "os/descriptor.hpp"

#include <poll.h>

using namespace rp::handoff;
using namespace rp::handoff::capi;

// The core's numbers are the public ones.
static_assert(static_cast<int>(session::Event::Kind::opened) == RP_HANDOFF_EVENT_OPENED);
static_assert(static_cast<int>(session::Event::Kind::outcome) == RP_HANDOFF_EVENT_OUTCOME);
static_assert(static_cast<int>(session::Event::Kind::offer) == RP_HANDOFF_EVENT_OFFER);
static_assert(static_cast<int>(session::Event::Kind::closing) == RP_HANDOFF_EVENT_CLOSING);
static_assert(static_cast<int>(session::Event::Kind::closed) == RP_HANDOFF_EVENT_CLOSED);
static_assert(static_cast<int>(session::PidfdState::held) == RP_HANDOFF_PIDFD_HELD);
static_assert(static_cast<int>(session::PidfdState::unsupported) == RP_HANDOFF_PIDFD_UNSUPPORTED);
static_assert(static_cast<int>(session::PidfdState::unavailable) == RP_HANDOFF_PIDFD_UNAVAILABLE);
static_assert(static_cast<int>(session::PidfdState::reaped) == RP_HANDOFF_PIDFD_REAPED);
static_assert(session::max_metadata == RP_HANDOFF_METADATA_MAX);
static_assert(session::max_prologue == RP_HANDOFF_PROLOGUE_MAX);
static_assert(session::max_early == RP_HANDOFF_EARLY_BYTES_MAX);
static_assert(session::max_batch == RP_HANDOFF_BATCH_MAX);
static_assert(session::max_in_flight == RP_HANDOFF_IN_FLIGHT_MAX);

namespace {

constexpr std::uint32_t session_flags = RP_HANDOFF_PEER_ANY_UID | RP_HANDOFF_PEER_REQUIRE_PIDFD;
constexpr std::uint32_t submit_flags =
    RP_HANDOFF_SUBMIT_DUPLICATE | RP_HANDOFF_SUBMIT_TOKEN | RP_HANDOFF_SUBMIT_READY_FOLLOWS;

Result<session::Config> to_config(const rp_handoff_session_options *options, rp_handoff_session_options &o) {
    if (const Status status = read_struct(options, o); status != Status::ok) {
        return Failure(status);
    }
    if (!os::supported) {
        return Failure(Status::unsupported);
    }
    // With a pid to match, the policy matches it.
    auto peers = make_peers(o.peer_flags | (o.peer_pid != 0 ? std::uint32_t{RP_HANDOFF_PEER_MATCH_PID} : 0U),
                            session_flags | RP_HANDOFF_PEER_MATCH_PID, o.peer_uids, o.peer_uid_count);
    const Result<std::string_view> service = to_text(o.service_name, session::max_service);
    const std::uint32_t in_flight = or_default(o.max_in_flight, 256U);
    if (!peers || !service || (o.peer_flags & ~session_flags) != 0 || in_flight > session::max_in_flight ||
        (o.socket_path == nullptr && o.connection_fd < 0)) {
        return Failure(Status::invalid_argument);
    }
    if (o.socket_path != nullptr && o.socket_path[0] == '\0') {
        return Failure(Status::path_invalid);
    }
    session::Config config;
    config.peers = std::move(*peers);
    config.peer_pid = o.peer_pid;
    config.require_pidfd = (o.peer_flags & RP_HANDOFF_PEER_REQUIRE_PIDFD) != 0;
    config.path = o.socket_path != nullptr ? o.socket_path : "";
    config.connection_fd = o.connection_fd;
    config.max_in_flight = in_flight;
    config.service = *service;
    config.open_timeout = or_default(duration(o.open_timeout_ns), config.open_timeout);
    config.max_queued = or_default<std::size_t>(o.max_queued_bytes, config.max_queued);
    return config;
}

Result<session::Submission> to_submission(const rp_handoff_submission &s, Token &token) {
    const auto view = [](const std::uint8_t *bytes, std::uint32_t length) { return ByteView(bytes, length); };
    if ((s.flags & ~submit_flags) != 0 || (s.metadata == nullptr && s.metadata_length > 0) ||
        (s.early == nullptr && s.early_length > 0) || (s.prologue == nullptr && s.prologue_length > 0)) {
        return Failure(Status::invalid_argument);
    }
    session::Submission submission;
    submission.fd = s.fd;
    submission.descriptor = (s.flags & RP_HANDOFF_SUBMIT_DUPLICATE) != 0 ? session::Submission::Descriptor::duplicated
                                                                         : session::Submission::Descriptor::taken;
    submission.ready_follows = (s.flags & RP_HANDOFF_SUBMIT_READY_FOLLOWS) != 0;
    submission.metadata = view(s.metadata, s.metadata_length);
    submission.early = view(s.early, s.early_length);
    submission.prologue = view(s.prologue, s.prologue_length);
    if ((s.flags & RP_HANDOFF_SUBMIT_TOKEN) != 0) {
        token = to_token(s.token);
        submission.token = &token;
    }
    submission.timeout = duration(s.timeout_ns);
    submission.correlation_id = s.correlation_id;
    submission.user_data = s.user_data;
    return submission;
}

Status submit_one(session::BrokerSession &offering, const rp_handoff_submission *item, Instant now,
                  std::uint64_t *out_id) {
    rp_handoff_submission s{};
    if (const Status status = read_struct(item, s); status != Status::ok) {
        return status;
    }
    Token token;
    const Result<session::Submission> submission = to_submission(s, token);
    rp_handoff_token_wipe(&s.token);
    const Result<std::uint64_t> id = submission ? offering.submit(*submission, now) : Failure(submission.error());
    if (id && out_id != nullptr) {
        *out_id = *id;
    }
    return id ? Status::ok : id.error();
}

// A call of the broker's on a session of the backend's is one on a handle of another kind.
template <class Body>
std::int32_t guarded_offering(rp_handoff_session *session, Body body) noexcept {
    return guarded_with(session, [&]() -> std::int32_t {
        return session->offering != nullptr ? static_cast<std::int32_t>(body(*session->offering))
                                            : RP_HANDOFF_ERR_WRONG_HANDLE;
    });
}

rp_handoff_event to_event(session::Event &event, rp_handoff_session &session) noexcept {
    rp_handoff_event out{};
    out.kind = static_cast<std::int32_t>(event.kind);
    out.fd = event.fd.release();
    out.id = event.id;
    out.user_data = event.user_data;
    if (event.kind == session::Event::Kind::closed) {
        out.status = code(event.status);
    } else if (event.kind == session::Event::Kind::outcome) {
        out.ownership = static_cast<std::int32_t>(event.report.outcome.ownership);
    } else if (event.kind == session::Event::Kind::offer) {
        rp_handoff_offer &offer = session.received->offers[event.offer];
        offer.base.kind = Kind::offer;
        offer.base.owner = session.base.owner;
        offer.session = session.received;
        offer.place = event.offer;
        out.offer = &offer;
    }
    return out;
}

} // namespace

int32_t rp_handoff_session_create_broker(rp_handoff_broker *broker, const rp_handoff_session_options *options,
                                         rp_handoff_session **out_session) {
    return guarded_with(broker, [&] {
        rp_handoff_session_options o{};
        if (out_session == nullptr) {
            return Status::invalid_argument;
        }
        Result<session::Config> config = to_config(options, o);
        if (!config) {
            return config.error();
        }
        if (o.now != nullptr || o.wait != nullptr) {
            return Status::invalid_argument; // it has its broker's
        }
        auto handle = std::make_unique<rp_handoff_session>();
        auto offering = session::BrokerSession::open(std::move(*config), broker->broker);
        if (!offering) {
            return offering.error();
        }
        handle->offering = std::move(*offering);
        *out_session = handle.release();
        return Status::ok;
    });
}

int32_t rp_handoff_session_create_backend(const rp_handoff_session_options *options, rp_handoff_session **out_session) {
    return guarded([&] {
        rp_handoff_session_options o{};
        if (out_session == nullptr) {
            return Status::invalid_argument;
        }
        Result<session::Config> config = to_config(options, o);
        if (!config) {
            return config.error();
        }
        auto time = make_time(o.now, o.wait, o.time_user_data);
        if (!time) {
            return time.error();
        }
        auto handle = std::make_unique<rp_handoff_session>();
        handle->received = std::make_shared<Received>();
        handle->received->offers = std::make_unique<rp_handoff_offer[]>(config->max_in_flight);
        std::for_each_n(handle->received->offers.get(), config->max_in_flight,
                        [](rp_handoff_offer &offer) { offer.base.kind = Kind::dead; });
        auto receiving = session::BackendSession::open(std::move(*config), std::move(*time));
        if (!receiving) {
            return receiving.error();
        }
        handle->received->session = std::move(*receiving);
        *out_session = handle.release();
        return Status::ok;
    });
}

void rp_handoff_session_destroy(rp_handoff_session *session) {
    destroy(session, [session](bool in_child) {
        if (in_child) {
            return session->any().can_be_freed();
        }
        session->any().shutdown();
        return true;
    });
}

int32_t rp_handoff_session_close(rp_handoff_session *session) {
    return guarded_with(session, [&] {
        session->any().close();
        return Status::ok;
    });
}

int32_t rp_handoff_session_get_fd(rp_handoff_session *session) {
    return guarded_with(session, [&]() -> std::int32_t {
        const Result<int> fd = session->any().fd();
        return fd ? *fd : code(fd.error());
    });
}

int32_t rp_handoff_session_events(rp_handoff_session *session) {
    const Status status = check_handle(session);
    return status == Status::ok ? POLLIN : code(status);
}

int32_t rp_handoff_session_get_timeout(rp_handoff_session *session, uint64_t *out_timeout_ns) {
    return guarded_with(session, [&] {
        if (out_timeout_ns == nullptr) {
            return Status::invalid_argument;
        }
        const Instant deadline = session->any().next_deadline();
        *out_timeout_ns =
            deadline == end_of_time ? RP_HANDOFF_FOREVER : elapsed(session->any().now(), deadline).count();
        return Status::ok;
    });
}

int32_t rp_handoff_session_process(rp_handoff_session *session) {
    return guarded_with(session, [&] {
        session->any().process();
        return Status::ok;
    });
}

int32_t rp_handoff_session_wait(rp_handoff_session *session, uint64_t timeout_ns) {
    return guarded_with(session, [&]() -> std::int32_t {
        const auto timeout = timeout_ns == RP_HANDOFF_FOREVER ? std::nullopt : std::optional(duration(timeout_ns));
        return session->any().wait(timeout) ? 1 : 0;
    });
}

int32_t rp_handoff_session_next_event(rp_handoff_session *session, rp_handoff_event *out_event,
                                      rp_handoff_outcome *out_outcome) {
    return guarded_with(session, [&]() -> std::int32_t {
        if (check_result_struct(out_event) != Status::ok ||
            (out_outcome != nullptr && check_result_struct(out_outcome) != Status::ok)) {
            return RP_HANDOFF_ERR_INVALID_ARGUMENT;
        }
        session::Event event;
        if (!session->any().next_event(event)) {
            return 0;
        }
        if (event.kind == session::Event::Kind::outcome && out_outcome != nullptr) {
            write_struct(out_outcome, to_outcome({event.report, event.correlation, event.elapsed}));
        }
        write_struct(out_event, to_event(event, *session));
        return 1;
    });
}

int32_t rp_handoff_session_flush(rp_handoff_session *session) {
    return guarded_with(session, [&] {
        session->any().flush();
        return Status::ok;
    });
}

int32_t rp_handoff_session_submit(rp_handoff_session *session, const rp_handoff_submission *items, size_t stride,
                                  uint32_t count, uint64_t *out_ids) {
    return guarded_offering(session, [&](session::BrokerSession &offering) -> std::int32_t {
        if (items == nullptr || count == 0 || count > INT32_MAX || (count > 1 && stride < sizeof *items)) {
            return RP_HANDOFF_ERR_INVALID_ARGUMENT;
        }
        const Instant now = offering.now(); // of all of them
        std::uint32_t submitted = 0;
        std::int32_t status = RP_HANDOFF_OK;
        while (submitted < count && status == RP_HANDOFF_OK) {
            const auto *const item = reinterpret_cast<const rp_handoff_submission *>(
                reinterpret_cast<const unsigned char *>(items) + submitted * stride);
            // Each by itself: what went before is not undone by an exception.
            status = walled([&] {
                const bool overlaps = count > 1 && item->struct_size > stride;
                return overlaps ? Status::invalid_argument
                                : submit_one(offering, item, now, out_ids != nullptr ? out_ids + submitted : nullptr);
            });
            submitted += status == RP_HANDOFF_OK ? 1 : 0;
        }
        if (submitted == 0) {
            return status;
        }
        offering.send_submitted();
        return static_cast<std::int32_t>(submitted);
    });
}

int32_t rp_handoff_session_cancel(rp_handoff_session *session, uint64_t id) {
    return guarded_offering(session, [&](session::BrokerSession &offering) { return offering.cancel(id) ? 1 : 0; });
}

int32_t rp_handoff_session_execute(rp_handoff_session *session, const rp_handoff_submission *submission,
                                   rp_handoff_outcome *out_outcome) {
    return guarded_offering(session, [&](session::BrokerSession &offering) -> std::int32_t {
        rp_handoff_submission s{};
        if (check_result_struct(out_outcome) != Status::ok) {
            return RP_HANDOFF_ERR_INVALID_ARGUMENT;
        }
        if (const Status status = read_struct(submission, s); status != Status::ok) {
            return code(status);
        }
        Token token;
        Result<session::Submission> to_execute = to_submission(s, token);
        rp_handoff_token_wipe(&s.token);
        if (!to_execute) {
            return code(to_execute.error());
        }
        to_execute->descriptor = session::Submission::Descriptor::borrowed;
        const Result<Broker::Report> report = offering.execute(*to_execute);
        if (!report) {
            return code(report.error());
        }
        write_struct(out_outcome, to_outcome(*report));
        return RP_HANDOFF_OK;
    });
}

int32_t rp_handoff_session_get_peer(rp_handoff_session *session, rp_handoff_session_peer *out_peer) {
    return guarded_with(session, [&] {
        if (const Status status = check_result_struct(out_peer); status != Status::ok) {
            return status;
        }
        const session::Peer *const peer = session->any().peer();
        if (peer == nullptr) {
            return Status::unavailable;
        }
        write_struct(out_peer, {0, peer->credentials.pid, peer->credentials.uid, peer->credentials.gid,
                                static_cast<std::int32_t>(peer->pidfd_state), peer->pidfd.get(), peer->max_in_flight,
                                static_cast<std::uint32_t>(peer->service.size()), peer->service.c_str()});
        return Status::ok;
    });
}

int32_t rp_handoff_session_get_statistics(rp_handoff_session *session, rp_handoff_session_statistics *out_statistics) {
    return guarded_with(session, [&] {
        if (const Status status = check_result_struct(out_statistics); status != Status::ok) {
            return status;
        }
        const session::Statistics s = session->any().statistics();
        write_struct(out_statistics, {0, s.in_flight, s.submitted, s.completed, s.fallbacks, s.offers, s.accepted,
                                      s.refused, s.lost, s.messages_sent, s.messages_received});
        return Status::ok;
    });
}
