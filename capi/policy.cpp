#include "policy.hpp"

#include "base/text.hpp"
#include "handles.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

static_assert(static_cast<int>(BackendKey::Instance::shared) == RP_HANDOFF_INSTANCE_SHARED);
static_assert(static_cast<int>(BackendKey::Instance::of_service) == RP_HANDOFF_INSTANCE_PRIVATE);
static_assert(static_cast<int>(BackendKey::Instance::named) == RP_HANDOFF_INSTANCE_EXPLICIT);

namespace {

constexpr std::size_t max_key_text = 1023;

std::optional<FailureClass> to_failure(std::int32_t reason) noexcept {
    switch (reason) {
    case RP_HANDOFF_REASON_PERMISSION_DENIED:
        return FailureClass::permission_denied;
    case RP_HANDOFF_REASON_INTEGRITY_MISMATCH:
        return FailureClass::integrity_mismatch;
    case RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT:
        return FailureClass::backend_ack_timeout;
    default:
        return std::nullopt;
    }
}

} // namespace

Result<BackendKey> capi::to_backend_key(const rp_handoff_backend_key *key) {
    rp_handoff_backend_key k{};
    if (const Status status = read_struct(key, k); status != Status::ok) {
        return Failure(status);
    }
    if (k.instance < RP_HANDOFF_INSTANCE_SHARED || k.instance > RP_HANDOFF_INSTANCE_EXPLICIT) {
        return Failure(Status::invalid_argument);
    }
    const bool shared = k.instance == RP_HANDOFF_INSTANCE_SHARED;
    const auto name = to_text(shared ? nullptr : k.instance_name, max_key_text);
    const auto service = to_text(k.service_name, max_key_text);
    const auto version = to_text(k.service_version, max_key_text);
    const auto hash = to_text(k.executable_hash, max_key_text);
    if (!name || !service || !version || !hash) {
        return Failure(Status::invalid_argument);
    }
    return BackendKey(static_cast<BackendKey::Instance>(k.instance), *name, *service, *version, *hash);
}

Result<std::optional<Broker::Subject>> capi::to_subject(const rp_handoff_subject *subject) {
    if (subject == nullptr) {
        return std::optional<Broker::Subject>();
    }
    rp_handoff_subject s{};
    if (const Status status = read_struct(subject, s); status != Status::ok) {
        return Failure(status);
    }
    Result<BackendKey> key = to_backend_key(s.backend);
    if (!key) {
        return Failure(key.error());
    }
    return std::optional(Broker::Subject{
        std::move(*key), {s.client_supports == 1, s.service_enabled == 1, s.fd_pressure != 0, s.adopted_backend != 0}});
}

rp_handoff_decision capi::to_decision(const std::optional<Decision> &objection) noexcept {
    rp_handoff_decision out{};
    out.attempt = objection ? 0 : 1;
    out.reason = objection ? static_cast<std::int32_t>(objection->reason) : RP_HANDOFF_REASON_NONE;
    out.retry_after_ns = objection && objection->retry_after ? objection->retry_after->count() : 0;
    return out;
}

int32_t rp_handoff_broker_should_attempt(rp_handoff_broker *broker, const rp_handoff_subject *subject,
                                         rp_handoff_decision *out_decision) {
    return guarded_with(broker, [&] {
        if (subject == nullptr || check_result_struct(out_decision) != Status::ok) {
            return Status::invalid_argument;
        }
        const auto core = to_subject(subject);
        if (!core) {
            return core.error();
        }
        write_struct(out_decision, to_decision(broker->broker.objection(**core)));
        return Status::ok;
    });
}

int32_t rp_handoff_broker_record_failure(rp_handoff_broker *broker, const rp_handoff_backend_key *backend,
                                         int32_t failure, rp_handoff_decision *out_decision) {
    return guarded_with(broker, [&] {
        const std::optional<FailureClass> core = to_failure(failure);
        if (!core || (out_decision != nullptr && check_result_struct(out_decision) != Status::ok)) {
            return Status::invalid_argument;
        }
        Result<BackendKey> key = to_backend_key(backend);
        if (!key) {
            return key.error();
        }
        const Decision decision = broker->broker.record_failure(std::move(*key), *core);
        if (out_decision != nullptr) {
            write_struct(out_decision, to_decision(decision));
        }
        return Status::ok;
    });
}

int32_t rp_handoff_broker_record_success(rp_handoff_broker *broker, const rp_handoff_backend_key *backend) {
    return guarded_with(broker, [&] {
        const Result<BackendKey> key = to_backend_key(backend);
        if (key) {
            broker->broker.record_success(*key);
        }
        return key ? Status::ok : key.error();
    });
}

int32_t rp_handoff_broker_get_failure_count(rp_handoff_broker *broker, const rp_handoff_backend_key *backend,
                                            uint32_t *out_count) {
    return guarded_with(broker, [&] {
        const Result<BackendKey> key = to_backend_key(backend);
        if (!key || out_count == nullptr) {
            return key ? Status::invalid_argument : key.error();
        }
        *out_count = broker->broker.failures(*key);
        return Status::ok;
    });
}

int32_t rp_handoff_broker_accept_failed(rp_handoff_broker *broker, int32_t os_error) {
    return guarded_with(broker, [&] { return broker->broker.pressure().failed(os_error) ? 1 : 0; });
}

int32_t rp_handoff_broker_accept_succeeded(rp_handoff_broker *broker) {
    return guarded_with(broker, [&] { return broker->broker.pressure().succeeded() ? 1 : 0; });
}

int32_t rp_handoff_broker_demote(rp_handoff_broker *broker) {
    return guarded_with(broker, [&] {
        broker->broker.pressure().demote();
        return Status::ok;
    });
}
