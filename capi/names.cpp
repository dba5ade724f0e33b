// Names of the outcome's numbers, for metrics and logs.
#include "boundary.hpp"

#include <array>

using namespace rp::handoff::capi;

namespace {

constexpr const char *unknown = "unknown";

constexpr std::array causes{"none",
                            "unsupported_platform",
                            "permission_denied",
                            "peer_rejected",
                            "peer_unknown",
                            "backend_unavailable",
                            "would_block",
                            "descriptor_pressure",
                            "send_failed",
                            "partial_send",
                            "offer_undelivered",
                            "deadline_before_send",
                            "ack_timed_out",
                            "ack_read_failed",
                            "backend_closed",
                            "ack_malformed",
                            "ack_unrelated",
                            "backend_refused",
                            "ack_overdue",
                            "revoked",
                            "callback_failed",
                            "no_memory",
                            "policy",
                            "duplicate_failed",
                            "offer_failed",
                            "integrity_mismatch",
                            "session_lost",
                            "cancelled",
                            "backend_descriptors",
                            "descriptor_denied"};
static_assert(causes.size() == RP_HANDOFF_CAUSE_DESCRIPTOR_DENIED + 1);

constexpr std::array reasons{"none",
                             "client_unsupported",
                             "service_policy_disabled",
                             "fd_pressure_disabled",
                             "failed_attempt_rate_limited",
                             "permission_denied",
                             "integrity_mismatch",
                             "backend_ack_timeout",
                             "adopted_backend"};
static_assert(reasons.size() == RP_HANDOFF_REASON_ADOPTED_BACKEND + 1);

constexpr std::array stages{"none", "send", "await_ack", "acknowledge", "policy", "duplicate", "deliver"};
static_assert(stages.size() == RP_HANDOFF_STAGE_DELIVER + 1);

constexpr std::array owners{unknown, "broker", "backend", "ambiguous"};
static_assert(owners.size() == RP_HANDOFF_OWNER_AMBIGUOUS + 1);

constexpr std::array events{unknown, "opened", "outcome", "offer", "closing", "closed"};
static_assert(events.size() == RP_HANDOFF_EVENT_CLOSED + 1);

// The index is the number. What begins at 1 has no name for 0.
template <class Names>
const char *name_of(const Names &names, std::int32_t number) noexcept {
    return number >= 0 && static_cast<std::size_t>(number) < names.size() ? names[static_cast<std::size_t>(number)]
                                                                          : unknown;
}

} // namespace

const char *rp_handoff_cause_name(int32_t cause) {
    return name_of(causes, cause);
}

const char *rp_handoff_reason_name(int32_t reason) {
    return name_of(reasons, reason);
}

const char *rp_handoff_stage_name(int32_t stage) {
    return name_of(stages, stage);
}

const char *rp_handoff_owner_name(int32_t ownership) {
    return name_of(owners, ownership);
}

const char *rp_handoff_event_name(int32_t kind) {
    return name_of(events, kind);
}
