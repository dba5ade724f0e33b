#include "handoff/policy.hpp"

#include <algorithm>

namespace rp::handoff {

namespace {

void append_part(std::string &key, std::string_view part) {
    key += std::to_string(part.size());
    key += ':';
    key += part;
}

} // namespace

BackendKey::BackendKey(Instance instance, std::string_view name, std::string_view service, std::string_view version,
                       std::string_view executable_hash) {
    append_part(parts_, instance_id(instance, name));
    append_part(parts_, service);
    append_part(parts_, version);
    append_part(parts_, executable_hash);
}

std::string BackendKey::instance_id(Instance instance, std::string_view name) {
    switch (instance) {
    case Instance::of_service:
        return "private:" + std::string(name);
    case Instance::named:
        return "explicit:" + std::string(name);
    default:
        return "shared";
    }
}

Text describe(const Decision &objection) noexcept {
    Text text("not attempted: ");
    switch (objection.reason) {
    case Reason::client_unsupported:
        text += "the client does not say that it keeps a connection that is handed over";
        break;
    case Reason::service_policy_disabled:
        text += "handoffs are switched off for this service, or nobody takes them";
        break;
    case Reason::fd_pressure_disabled:
        text += "the broker is short of descriptors";
        break;
    case Reason::adopted_backend:
        text += "the backend comes from an earlier broker";
        break;
    case Reason::failed_attempt_rate_limited:
        text += "this backend failed too often";
        if (objection.retry_after) {
            const auto left =
                std::chrono::ceil<std::chrono::duration<std::int64_t, std::milli>>(*objection.retry_after);
            ((text += "; again in ") += left.count()) += " ms";
        }
        break;
    default:
        text += "the policy says so";
    }
    return text;
}

AttemptPolicy::AttemptPolicy(Config config) noexcept
    : max_failed_(std::max(config.max_failed, 1U)), windows_(config.window, config.max_keys) {}

std::optional<Decision> AttemptPolicy::objection(const BackendKey &key, const AttemptInputs &inputs,
                                                 Instant now) noexcept {
    if (!inputs.client_supports) {
        return Decision{Reason::client_unsupported, {}};
    }
    if (!inputs.service_enabled) {
        return Decision{Reason::service_policy_disabled, {}};
    }
    if (inputs.fd_pressure) {
        return Decision{Reason::fd_pressure_disabled, {}};
    }
    if (inputs.adopted_backend) {
        return Decision{Reason::adopted_backend, {}};
    }
    if (failures(key, now) < max_failed_) {
        return std::nullopt;
    }
    return Decision{Reason::failed_attempt_rate_limited, windows_.remaining(key, now)};
}

Decision AttemptPolicy::record_failure(BackendKey key, FailureClass failure, Instant now) {
    windows_.add(std::move(key), max_failed_, now);
    return {reason_of(failure), {}};
}

} // namespace rp::handoff
