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

Result<BackendKey> capi::to_backend_key(const rp_handoff_backend_key *key, Explanation &why) {
    rp_handoff_backend_key k{};
    if (const Status status = read_struct(key, k, "backend", why); status != Status::ok) {
        return Failure(status);
    }
    if (k.instance < RP_HANDOFF_INSTANCE_SHARED || k.instance > RP_HANDOFF_INSTANCE_EXPLICIT) {
        return Failure(why.about(Status::invalid_argument, "instance", "is none of RP_HANDOFF_INSTANCE_"));
    }
    const bool shared = k.instance == RP_HANDOFF_INSTANCE_SHARED;
    const auto text = [&why](const char *from, const char *member) {
        return to_text(from, max_key_text, Presence::optional, member, why);
    };
    const auto name = text(shared ? nullptr : k.instance_name, "instance_name");
    const auto service = text(k.service_name, "service_name");
    const auto version = text(k.service_version, "service_version");
    const auto hash = text(k.executable_hash, "executable_hash");
    if (!name || !service || !version || !hash) {
        return Failure(Status::invalid_argument);
    }
    return BackendKey(static_cast<BackendKey::Instance>(k.instance), *name, *service, *version, *hash);
}

Result<std::optional<Broker::Subject>> capi::to_subject(const rp_handoff_subject *subject, Explanation &why) {
    if (subject == nullptr) {
        return std::optional<Broker::Subject>();
    }
    rp_handoff_subject s{};
    if (const Status status = read_struct(subject, s, "subject", why); status != Status::ok) {
        return Failure(status);
    }
    Result<BackendKey> key = to_backend_key(s.backend, why);
    if (!key) {
        return Failure(key.error());
    }
    return std::optional(Broker::Subject{
        std::move(*key), {s.client_supports != 0, s.service_enabled != 0, s.fd_pressure != 0, s.adopted_backend != 0}});
}

rp_handoff_decision capi::to_decision(const std::optional<Decision> &objection) noexcept {
    rp_handoff_decision out{};
    out.attempt = objection ? 0 : 1;
    out.reason = objection ? static_cast<std::int32_t>(objection->reason) : RP_HANDOFF_REASON_NONE;
    out.retry_after_ns = objection && objection->retry_after ? objection->retry_after->count() : 0;
    return out;
}

int32_t rp_handoff_broker_should_attempt(rp_handoff_broker *broker, const rp_handoff_subject *subject,
                                         rp_handoff_decision *out_decision, rp_handoff_error *out_error) {
    return explained_with(broker, "broker", out_error, [&](Explanation &why) {
        const Status given = first_failure(
            {check_given(subject, "subject", why), check_result_struct(out_decision, "out_decision", why)});
        if (given != Status::ok) {
            return given;
        }
        const auto core = to_subject(subject, why);
        if (!core) {
            return core.error();
        }
        write_struct(out_decision, to_decision(broker->broker.objection(**core)));
        return Status::ok;
    });
}

int32_t rp_handoff_broker_record(rp_handoff_broker *broker, const rp_handoff_backend_key *backend, int32_t reason,
                                 rp_handoff_decision *out_decision, rp_handoff_error *out_error) {
    return explained_with(broker, "broker", out_error, [&](Explanation &why) {
        const std::optional<FailureClass> failure = to_failure(reason);
        if (!failure && reason != RP_HANDOFF_REASON_NONE) {
            return why.about(Status::invalid_argument, "reason",
                             "is neither success (RP_HANDOFF_REASON_NONE) nor a failure that is counted");
        }
        if (out_decision != nullptr) {
            if (const Status status = check_result_struct(out_decision, "out_decision", why); status != Status::ok) {
                return status;
            }
        }
        Result<BackendKey> key = to_backend_key(backend, why);
        if (!key) {
            return key.error();
        }
        std::optional<Decision> decision; // nothing: attempt
        if (failure) {
            decision = broker->broker.record_failure(std::move(*key), *failure);
        } else {
            broker->broker.record_success(*key);
        }
        if (out_decision != nullptr) {
            write_struct(out_decision, to_decision(decision));
        }
        return Status::ok;
    });
}

int32_t rp_handoff_broker_get_failure_count(rp_handoff_broker *broker, const rp_handoff_backend_key *backend,
                                            uint32_t *out_count, rp_handoff_error *out_error) {
    return explained_with(broker, "broker", out_error, [&](Explanation &why) {
        const Result<BackendKey> key = to_backend_key(backend, why);
        if (!key) {
            return key.error();
        }
        if (const Status status = check_given(out_count, "out_count", why); status != Status::ok) {
            return status;
        }
        *out_count = broker->broker.failures(*key);
        return Status::ok;
    });
}

int32_t rp_handoff_broker_note_accept(rp_handoff_broker *broker, int32_t os_error) {
    return guarded_with(broker, [&]() -> std::int32_t {
        if (os_error < 0) {
            return RP_HANDOFF_ERR_INVALID_ARGUMENT;
        }
        PressureGuard &pressure = broker->broker.pressure();
        if (os_error == 0) {
            pressure.succeeded();
        } else {
            pressure.failed(os_error);
        }
        return pressure.is_demoted() ? 1 : 0;
    });
}
