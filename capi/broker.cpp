#include "handoff/broker.hpp"

#include "callbacks.hpp"
#include "environment.hpp"
#include "handles.hpp"
#include "os/descriptor.hpp"
#include "os/endpoint.hpp"
#include "policy.hpp"
#include "v1/exchange.hpp"
#include "wire/exchange.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

// The core's numbers are the public ones.
static_assert(static_cast<int>(Ownership::broker) == RP_HANDOFF_OWNER_BROKER);
static_assert(static_cast<int>(Ownership::backend) == RP_HANDOFF_OWNER_BACKEND);
static_assert(static_cast<int>(Ownership::ambiguous) == RP_HANDOFF_OWNER_AMBIGUOUS);
static_assert(static_cast<int>(Stage::send) == RP_HANDOFF_STAGE_SEND);
static_assert(static_cast<int>(Stage::await_ack) == RP_HANDOFF_STAGE_AWAIT_ACK);
static_assert(static_cast<int>(Stage::acknowledge) == RP_HANDOFF_STAGE_ACKNOWLEDGE);
static_assert(static_cast<int>(Stage::deliver) == RP_HANDOFF_STAGE_DELIVER);
static_assert(static_cast<int>(Stage::duplicate) == RP_HANDOFF_STAGE_DUPLICATE);
static_assert(static_cast<int>(Stage::policy) == RP_HANDOFF_STAGE_POLICY);
static_assert(static_cast<int>(Reason::client_unsupported) == RP_HANDOFF_REASON_CLIENT_UNSUPPORTED);
static_assert(static_cast<int>(Reason::service_policy_disabled) == RP_HANDOFF_REASON_SERVICE_POLICY_DISABLED);
static_assert(static_cast<int>(Reason::fd_pressure_disabled) == RP_HANDOFF_REASON_FD_PRESSURE_DISABLED);
static_assert(static_cast<int>(Reason::failed_attempt_rate_limited) == RP_HANDOFF_REASON_FAILED_ATTEMPT_RATE_LIMITED);
static_assert(static_cast<int>(Reason::permission_denied) == RP_HANDOFF_REASON_PERMISSION_DENIED);
static_assert(static_cast<int>(Reason::integrity_mismatch) == RP_HANDOFF_REASON_INTEGRITY_MISMATCH);
static_assert(static_cast<int>(Reason::backend_ack_timeout) == RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT);
static_assert(static_cast<int>(Reason::adopted_backend) == RP_HANDOFF_REASON_ADOPTED_BACKEND);
static_assert(static_cast<int>(Cause::unsupported_platform) == RP_HANDOFF_CAUSE_UNSUPPORTED_PLATFORM);
static_assert(static_cast<int>(Cause::permission_denied) == RP_HANDOFF_CAUSE_PERMISSION_DENIED);
static_assert(static_cast<int>(Cause::peer_rejected) == RP_HANDOFF_CAUSE_PEER_REJECTED);
static_assert(static_cast<int>(Cause::peer_unknown) == RP_HANDOFF_CAUSE_PEER_UNKNOWN);
static_assert(static_cast<int>(Cause::backend_unavailable) == RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE);
static_assert(static_cast<int>(Cause::would_block) == RP_HANDOFF_CAUSE_WOULD_BLOCK);
static_assert(static_cast<int>(Cause::descriptor_pressure) == RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE);
static_assert(static_cast<int>(Cause::send_failed) == RP_HANDOFF_CAUSE_SEND_FAILED);
static_assert(static_cast<int>(Cause::partial_send) == RP_HANDOFF_CAUSE_PARTIAL_SEND);
static_assert(static_cast<int>(Cause::offer_undelivered) == RP_HANDOFF_CAUSE_OFFER_UNDELIVERED);
static_assert(static_cast<int>(Cause::deadline_before_send) == RP_HANDOFF_CAUSE_DEADLINE_BEFORE_SEND);
static_assert(static_cast<int>(Cause::ack_timed_out) == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
static_assert(static_cast<int>(Cause::ack_read_failed) == RP_HANDOFF_CAUSE_ACK_READ_FAILED);
static_assert(static_cast<int>(Cause::backend_closed) == RP_HANDOFF_CAUSE_BACKEND_CLOSED);
static_assert(static_cast<int>(Cause::ack_malformed) == RP_HANDOFF_CAUSE_ACK_MALFORMED);
static_assert(static_cast<int>(Cause::ack_unrelated) == RP_HANDOFF_CAUSE_ACK_UNRELATED);
static_assert(static_cast<int>(Cause::backend_refused) == RP_HANDOFF_CAUSE_BACKEND_REFUSED);
static_assert(static_cast<int>(Cause::ack_overdue) == RP_HANDOFF_CAUSE_ACK_OVERDUE);
static_assert(static_cast<int>(Cause::revoked) == RP_HANDOFF_CAUSE_REVOKED);
static_assert(static_cast<int>(Cause::callback_failed) == RP_HANDOFF_CAUSE_CALLBACK_FAILED);
static_assert(static_cast<int>(Cause::no_memory) == RP_HANDOFF_CAUSE_NO_MEMORY);
static_assert(static_cast<int>(Cause::integrity_mismatch) == RP_HANDOFF_CAUSE_INTEGRITY_MISMATCH);
static_assert(static_cast<int>(Cause::offer_failed) == RP_HANDOFF_CAUSE_OFFER_FAILED);
static_assert(static_cast<int>(Cause::duplicate_failed) == RP_HANDOFF_CAUSE_DUPLICATE_FAILED);
static_assert(static_cast<int>(Cause::policy) == RP_HANDOFF_CAUSE_POLICY);
static_assert(static_cast<int>(Cause::session_lost) == RP_HANDOFF_CAUSE_SESSION_LOST);
static_assert(static_cast<int>(Cause::cancelled) == RP_HANDOFF_CAUSE_CANCELLED);
static_assert(static_cast<int>(Cause::backend_descriptors) == RP_HANDOFF_CAUSE_BACKEND_DESCRIPTORS);
static_assert(static_cast<int>(Cause::descriptor_denied) == RP_HANDOFF_CAUSE_DESCRIPTOR_DENIED);

namespace {

constexpr std::uint32_t max_pending_bound = 16777216;
constexpr std::uint32_t max_frame_bound = RP_HANDOFF_FRAME_BODY_MAX;
constexpr std::uint32_t max_backends_bound = 1048576;
constexpr std::uint32_t request_flags = RP_HANDOFF_REQUEST_ANY_DESCRIPTOR;

// The token's time to live has to outlast the deadline.
Status set_deadlines(Broker::Config &config, const rp_handoff_broker_options &o, Explanation &why) noexcept {
    config.tokens.ttl = limited(o.token_ttl_ns, config.tokens.ttl);
    const Duration longest = config.tokens.ttl - Duration(1);
    config.ack_deadline =
        o.ack_deadline_ns == RP_HANDOFF_FOREVER ? longest : limited(o.ack_deadline_ns, std::chrono::seconds(5));
    return config.ack_deadline <= longest ? Status::ok
                                          : why.about(Status::invalid_argument, "ack_deadline_ns",
                                                      "must be less than token_ttl_ns, which is 30 s by default");
}

std::uint64_t share_of_descriptors(std::uint64_t percent) noexcept {
    const std::uint64_t descriptors = os::descriptor_limit();
    return std::max<std::uint64_t>(descriptors / 100 * percent + descriptors % 100 * percent / 100, 1);
}

Result<Broker::Config> to_config(const rp_handoff_broker_options &o, Explanation &why) {
    auto peers = make_peers(
        {o.peer_flags, RP_HANDOFF_PEER_ANY_UID | RP_HANDOFF_PEER_MATCH_PID, o.peer_uids, o.peer_uids_length}, why);
    if (!peers) {
        return Failure(peers.error());
    }
    Broker::Config config{{}, {}, 0, std::move(*peers), {}};
    config.tokens.max_pending = or_default<std::size_t>(o.max_pending, config.tokens.max_pending);
    config.tokens.collision_attempts = or_default(o.collision_attempts, config.tokens.collision_attempts);
    config.max_frame = or_default(o.max_frame_bytes, 65536U);
    config.policy.max_failed = or_default(o.max_failed_attempts, config.policy.max_failed);
    config.policy.max_keys = or_default<std::size_t>(o.max_backends, config.policy.max_keys);
    config.policy.window = limited(o.failed_attempts_window_ns, config.policy.window);
    config.recovery_accepts = or_default(o.recovery_accepts, config.recovery_accepts);
    const std::uint32_t percent = or_default(o.in_flight_percent, 50U);
    config.in_flight = share_of_descriptors(percent);
    const Status valid =
        first_failure({check_at_most(config.tokens.max_pending, max_pending_bound, "max_pending", why),
                       check_at_most(config.policy.max_keys, max_backends_bound, "max_backends", why),
                       check_at_most(config.max_frame, max_frame_bound, "max_frame_bytes", why),
                       check_at_most(percent, 100, "in_flight_percent", why), set_deadlines(config, o, why)});
    return valid == Status::ok ? Result<Broker::Config>(std::move(config)) : Failure(valid);
}

// The connection that a request names: its path, or a socket to the backend that there is already.
Status check_connection(const rp_handoff_request &r, Explanation &why) noexcept {
    if (r.socket_path != nullptr) {
        return os::is_valid_path(r.socket_path)
                   ? Status::ok
                   : why.because(Status::path_invalid, "socket_path", rp_handoff_strerror(RP_HANDOFF_ERR_PATH_INVALID));
    }
    if (r.transport != nullptr) {
        return Status::ok;
    }
    if (r.connection_fd <= 0) {
        return why.about(Status::invalid_argument, "socket_path",
                         "is NULL, and connection_fd is no descriptor: give one of the two");
    }
    if (const Status status = check_trust(r.connection_trust, "connection_trust", why); status != Status::ok) {
        return status;
    }
    // On a socket of another kind the bytes would leave without the descriptor.
    return os::check_connection(r.connection_fd) != Status::invalid_argument
               ? Status::ok
               : why.about(Status::invalid_argument, "connection_fd", "is no connected Unix stream socket");
}

Result<V1Request> to_request(const rp_handoff_request &r, Transport *transport, AckWaiter *waiter, Explanation &why) {
    if ((r.flags & ~request_flags) != 0) {
        return Failure(why.about(Status::invalid_argument, "flags", "has a flag that means nothing here"));
    }
    const Zero zero = (r.flags & RP_HANDOFF_REQUEST_ANY_DESCRIPTOR) != 0 ? Zero::is_allowed : Zero::is_forgotten;
    if (const Status status = check_descriptor(r.fd, zero, "fd", why); status != Status::ok) {
        return Failure(status);
    }
    if (transport != nullptr && waiter == nullptr) {
        return Failure(why.about(Status::invalid_argument, "await_ack", "is needed with a transport of your own"));
    }
    if (const Status status = check_connection(r, why); status != Status::ok) {
        return Failure(status);
    }
    auto subject = to_subject(r.subject, why);
    if (!subject) {
        return Failure(subject.error());
    }
    return V1Request{r.fd,
                     to_token(r.token),
                     r.socket_path,
                     r.socket_path != nullptr || !is_trust(r.connection_trust) ? -1 : r.connection_fd,
                     r.connection_trust == RP_HANDOFF_TRUST_CALLER,
                     r.correlation_id,
                     transport,
                     waiter,
                     std::move(*subject)};
}

rp_handoff_overdue to_overdue(const AckRegistry::Overdue &overdue) noexcept {
    rp_handoff_overdue out{};
    out.backend_pid = overdue.backend.pid;
    out.token = to_c(overdue.token);
    overdue.backend.service_name.view().copy(out.service_name, sizeof out.service_name - 1);
    return out;
}

} // namespace

rp_handoff_outcome capi::to_outcome(const Broker::Report &report) noexcept {
    const Outcome &outcome = report.handoff.outcome;
    rp_handoff_outcome out{};
    out.result = outcome.completed ? RP_HANDOFF_COMPLETED : RP_HANDOFF_FALLBACK;
    out.ownership = static_cast<std::int32_t>(outcome.ownership);
    out.stage = static_cast<std::int32_t>(outcome.stage);
    out.reason = static_cast<std::int32_t>(outcome.reason);
    out.cause = static_cast<std::int32_t>(outcome.cause);
    out.os_error = outcome.os_error;
    out.may_have_reached_backend = outcome.may_have_reached_backend ? 1 : 0;
    out.correlation_id = report.correlation_id;
    out.waited_ns = report.handoff.waited.count();
    out.elapsed_ns = report.elapsed.count();
    out.retry_after_ns = report.handoff.retry_after ? report.handoff.retry_after->count() : 0;
    put_text(out.detail, report.handoff.detail.view());
    static_assert(sizeof out.detail == Text::capacity + 1);
    return out;
}

int32_t rp_handoff_broker_create(const rp_handoff_broker_options *options, rp_handoff_broker **out_broker,
                                 rp_handoff_error *out_error) {
    return explained(out_error, [&](Explanation &why) {
        rp_handoff_broker_options o{};
        const Status given = first_failure({check_given(out_broker, "out_broker", why), read_options(options, o, why)});
        if (given != Status::ok) {
            return given;
        }
        Result<Broker::Config> config = to_config(o, why);
        const auto gate = make_gate(o.now, o.random);
        auto time = make_time(o.now, o.wait, o.time_user_data, gate, why);
        if (!config || !time) {
            return config ? time.error() : config.error();
        }
        *out_broker = new rp_handoff_broker(std::make_shared<BrokerCore>(
            std::move(*config), gate, std::move(*time), make_random(o.random, o.random_user_data, gate)));
        return Status::ok;
    });
}

void rp_handoff_broker_destroy(rp_handoff_broker *broker) {
    destroy(broker);
}

int32_t rp_handoff_broker_issue(rp_handoff_broker *broker, const char *service_name, uint32_t backend_pid,
                                rp_handoff_token *out_token) {
    return guarded_with(broker, [&] {
        const Result<std::string_view> name = to_text(service_name, wire::max_service_name);
        if (service_name == nullptr || out_token == nullptr || !name) {
            return Status::invalid_argument;
        }
        const Result<Token> token = broker->broker.issue(*name, backend_pid);
        if (token) {
            *out_token = to_c(*token);
        }
        return token ? Status::ok : token.error();
    });
}

int32_t rp_handoff_broker_execute(rp_handoff_broker *broker, const rp_handoff_request *request,
                                  rp_handoff_outcome *out_outcome, rp_handoff_error *out_error) {
    return explained_with(broker, "broker", out_error, [&](Explanation &why) {
        rp_handoff_request r{};
        const WipedAtEnd wiped(r.token);
        const Status given = first_failure(
            {read_struct(request, r, "request", why), check_result_struct(out_outcome, "out_outcome", why)});
        if (given != Status::ok) {
            return given;
        }
        CallbackTransport transport(r.transport, r.transport_user_data);
        CallbackWaiter waiter(r.await_ack, r.await_ack_user_data);
        Result<V1Request> core = to_request(r, r.transport != nullptr ? &transport : nullptr,
                                            r.await_ack != nullptr ? &waiter : nullptr, why);
        rp_handoff_token_wipe(&r.token);
        if (!core) {
            return core.error();
        }
        const Result<Broker::Report> report = execute_v1(broker->broker, std::move(*core));
        if (report) {
            write_struct(out_outcome, to_outcome(*report));
        }
        return report ? Status::ok : report.error();
    });
}

int32_t rp_handoff_broker_acknowledge(rp_handoff_broker *broker, const rp_handoff_token *token, uint64_t observed_ns,
                                      uint64_t *out_waited_ns) {
    return guarded_with(broker, [&] {
        if (token == nullptr) {
            return Status::invalid_argument;
        }
        const Result<Duration> waited = broker->broker.acknowledge(to_token(*token), Instant(duration(observed_ns)));
        if (waited && out_waited_ns != nullptr) {
            *out_waited_ns = waited->count();
        }
        return waited ? Status::ok : waited.error();
    });
}

int32_t rp_handoff_broker_revoke(rp_handoff_broker *broker, const rp_handoff_token *token) {
    return guarded_with(broker, [&]() -> std::int32_t {
        if (token == nullptr) {
            return RP_HANDOFF_ERR_INVALID_ARGUMENT;
        }
        return broker->broker.revoke(to_token(*token)) ? 1 : 0;
    });
}

int32_t rp_handoff_broker_next_overdue(rp_handoff_broker *broker, rp_handoff_overdue *out) {
    return guarded_with(broker, [&]() -> std::int32_t {
        if (const Status status = check_optional_struct(out); status != Status::ok) {
            return code(status);
        }
        const Broker::Swept swept = broker->broker.sweep(1, [&](const AckRegistry::Overdue &overdue) {
            if (out != nullptr) {
                write_struct(out, to_overdue(overdue));
            }
        });
        return swept.count == 0 ? 0 : 1;
    });
}

int32_t rp_handoff_broker_get_statistics(rp_handoff_broker *broker, rp_handoff_broker_statistics *out_statistics) {
    return guarded_with(broker, [&] {
        if (const Status status = check_result_struct(out_statistics); status != Status::ok) {
            return status;
        }
        const Broker::Statistics s = broker->broker.statistics();
        rp_handoff_broker_statistics out{};
        out.pending_tokens = static_cast<std::uint32_t>(s.pending.tokens);
        out.pending_acks = static_cast<std::uint32_t>(s.pending.acks);
        out.issued = s.issued;
        out.completed = s.completed;
        out.revoked = s.revoked;
        out.overdue = s.overdue;
        out.fallbacks_owner_broker = s.fallbacks_by_owner[RP_HANDOFF_OWNER_BROKER];
        out.fallbacks_owner_backend = s.fallbacks_by_owner[RP_HANDOFF_OWNER_BACKEND];
        out.fallbacks_owner_ambiguous = s.fallbacks_by_owner[RP_HANDOFF_OWNER_AMBIGUOUS];
        out.fallbacks = out.fallbacks_owner_broker + out.fallbacks_owner_backend + out.fallbacks_owner_ambiguous;
        std::copy(s.fallbacks_by_reason.begin(), s.fallbacks_by_reason.end(), std::begin(out.fallbacks_by_reason));
        out.backends_with_failures = static_cast<std::uint32_t>(s.backends_with_failures);
        out.fd_pressure = s.pressure.demoted ? 1 : 0;
        out.fd_pressure_episodes = s.pressure.episodes;
        out.fd_pressure_refusals = s.pressure.refusals;
        write_struct(out_statistics, out);
        return Status::ok;
    });
}
