#include "environment.hpp"
#include "handles.hpp"
#include "listener.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

struct rp_handoff_backend {
    static constexpr Kind own_kind = Kind::backend;
    Handle base{own_kind};
    std::shared_ptr<Gate> gate; // null: the clock is the library's own
    std::shared_ptr<Backend> backend;

    rp_handoff_backend(std::shared_ptr<Gate> g, std::shared_ptr<Backend> b) noexcept
        : gate(std::move(g)), backend(std::move(b)) {}

    bool can_be_freed() noexcept { return backend->can_be_freed() && capi::can_be_freed(gate); }
    void end(Ending ending) noexcept {
        if (ending == Ending::of_copy) {
            return;
        }
        backend->shutdown();
        if (gate != nullptr) {
            gate->close(); // offers may live on
        }
    }
};

namespace {

constexpr std::uint32_t max_connections_bound = 65536;
constexpr std::uint32_t max_pending_bound = 16777216;

Result<Backend::Config> to_config(const rp_handoff_backend_options &o, Explanation &why) {
    auto peers = make_peers({o.peer_flags, RP_HANDOFF_PEER_ANY_UID, o.peer_uids, o.peer_uids_length}, why);
    if (!peers) {
        return Failure(peers.error());
    }
    Backend::Config config{Backend::TokenPolicy::from_broker, {},    64,
                           std::chrono::seconds(5),           65536, std::move(*peers)};
    if (o.token_policy == RP_HANDOFF_TOKENS_EXPECTED) {
        config.token_policy = Backend::TokenPolicy::expected;
    } else if (o.token_policy != RP_HANDOFF_TOKENS_FROM_BROKER) {
        return Failure(why.about(Status::invalid_argument, "token_policy", "is none of RP_HANDOFF_TOKENS_"));
    }
    config.tokens.max_pending = or_default<std::size_t>(o.max_pending, config.tokens.max_pending);
    config.tokens.ttl = limited(o.token_ttl_ns, config.tokens.ttl);
    config.max_connections = or_default<std::size_t>(o.max_connections, config.max_connections);
    config.io_timeout = limited(o.io_timeout_ns, config.io_timeout);
    config.max_frame = or_default(o.max_frame_bytes, config.max_frame);
    const Status valid =
        first_failure({check_at_most(config.tokens.max_pending, max_pending_bound, "max_pending", why),
                       check_at_most(config.max_connections, max_connections_bound, "max_connections", why),
                       check_at_most(config.max_frame, RP_HANDOFF_FRAME_BODY_MAX, "max_frame_bytes", why)});
    return valid == Status::ok ? Result<Backend::Config>(std::move(config)) : Failure(valid);
}

} // namespace

int32_t rp_handoff_backend_create(const rp_handoff_backend_options *options, rp_handoff_backend **out_backend,
                                  rp_handoff_error *out_error) {
    return explained(out_error, [&](Explanation &why) {
        rp_handoff_backend_options o{};
        const Status given =
            first_failure({check_given(out_backend, "out_backend", why), read_options(options, o, why)});
        if (given != Status::ok) {
            return given;
        }
        Result<Backend::Config> config = to_config(o, why);
        const auto gate = make_gate(o.now);
        auto time = make_time(o.now, o.wait, o.time_user_data, gate, why, ClosedClock::stopped);
        if (!config || !time) {
            return config ? time.error() : config.error();
        }
        auto backend = Backend::create(std::move(*config), std::move(*time));
        if (!backend) {
            return backend.error();
        }
        *out_backend = new rp_handoff_backend(gate, std::move(*backend));
        return Status::ok;
    });
}

void rp_handoff_backend_destroy(rp_handoff_backend *backend) {
    destroy(backend);
}

int32_t rp_handoff_backend_add_listener(rp_handoff_backend *backend, rp_handoff_listener *listener) {
    return guarded_with(backend, [&] {
        if (const Status status = check_handle(listener); status != Status::ok) {
            return status;
        }
        if (listener->stopped) {
            return Status::closed;
        }
        const Status status = backend->backend->add_listener(listener->endpoint, listener->trusted);
        if (status == Status::ok) { // v1 goes by who connected, and needs nothing with each message
            os::identify_senders(listener->endpoint->fd(), false);
        }
        return status;
    });
}

int32_t rp_handoff_backend_add_connection(rp_handoff_backend *backend, int32_t fd, int32_t trust) {
    return guarded_with(backend, [&] {
        return is_trust(trust) ? backend->backend->add_connection(fd, trust == RP_HANDOFF_TRUST_CALLER)
                               : Status::invalid_argument;
    });
}

int32_t rp_handoff_backend_expect(rp_handoff_backend *backend, const rp_handoff_token *token) {
    return guarded_with(backend, [&] {
        return token == nullptr ? Status::invalid_argument : backend->backend->expect(to_token(*token));
    });
}

int32_t rp_handoff_backend_revoke(rp_handoff_backend *backend, const rp_handoff_token *token) {
    return guarded_with(backend, [&]() -> std::int32_t {
        if (token == nullptr) {
            return RP_HANDOFF_ERR_INVALID_ARGUMENT;
        }
        return backend->backend->revoke(to_token(*token)) ? 1 : 0;
    });
}

int32_t rp_handoff_backend_consume(rp_handoff_backend *backend, const rp_handoff_token *expected,
                                   const uint8_t *presented, size_t presented_length) {
    return guarded_with(backend, [&] {
        if (expected == nullptr || (presented == nullptr && presented_length > 0)) {
            return Status::invalid_argument;
        }
        return backend->backend->consume(to_token(*expected), {presented, presented_length});
    });
}

int32_t rp_handoff_backend_next_offer(rp_handoff_backend *backend, uint64_t timeout_ns, rp_handoff_offer **out_offer) {
    return guarded_with(backend, [&] {
        if (out_offer == nullptr) {
            return Status::invalid_argument;
        }
        auto handle = std::make_unique<rp_handoff_offer>();
        auto offer = backend->backend->next_offer(timeout(timeout_ns));
        if (!offer) {
            return offer.error();
        }
        handle->v1 = std::move(*offer);
        *out_offer = handle.release();
        return Status::ok;
    });
}

int32_t rp_handoff_backend_get_fd(rp_handoff_backend *backend) {
    const Status status = check_handle(backend);
    return status == Status::ok ? backend->backend->fd() : code(status);
}

int32_t rp_handoff_backend_get_timeout(rp_handoff_backend *backend, uint64_t *out_timeout_ns) {
    return guarded_with(backend, [&] {
        if (out_timeout_ns == nullptr) {
            return Status::invalid_argument;
        }
        const Instant deadline = backend->backend->next_deadline();
        *out_timeout_ns =
            deadline == end_of_time ? RP_HANDOFF_FOREVER : elapsed(backend->backend->now(), deadline).count();
        return Status::ok;
    });
}

int32_t rp_handoff_backend_stop(rp_handoff_backend *backend) {
    const CancellationOff off; // write(2) is a cancellation point
    const Status status = check_handle(backend);
    if (status == Status::ok) {
        backend->backend->stop();
    }
    return code(status);
}

int32_t rp_handoff_backend_get_statistics(rp_handoff_backend *backend, rp_handoff_backend_statistics *out_statistics) {
    return guarded_with(backend, [&] {
        if (const Status status = check_result_struct(out_statistics); status != Status::ok) {
            return status;
        }
        const Backend::Statistics s = backend->backend->statistics();
        write_struct(out_statistics, {0, static_cast<std::uint32_t>(s.connections),
                                      static_cast<std::uint32_t>(s.unanswered), 0, s.accepted, s.refused,
                                      s.rejected_peers, s.rejected_tokens, s.rejected_offers, s.answers_undelivered});
        return Status::ok;
    });
}
