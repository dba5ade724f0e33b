// The smallest size that a caller's struct may say: where it ended in version 0.2. A member that is added later stands behind
// it, and does not change the number here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rp_handoff.h"

namespace rp::handoff::capi {

template <class T>
constexpr std::size_t smallest_size = 0;

// NOLINTBEGIN(bugprone-macro-parentheses): names of types and members take none
#define RP_HANDOFF_ENDS_BEHIND(type, member)                                                                           \
    template <>                                                                                                        \
    inline constexpr std::size_t smallest_size<type> = offsetof(type, member) + sizeof(type::member)
// NOLINTEND(bugprone-macro-parentheses)

RP_HANDOFF_ENDS_BEHIND(rp_handoff_error, text);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_platform, in_flight_exempt);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_broker_options, reserved);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_overdue, service_name);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_broker_statistics, fd_pressure_refusals);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_outcome, retry_after_ns);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_listener_options, reserved);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_offer_info, unwritten_length);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_session_options, time_user_data);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_event, text_length);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_submission, token);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_session_peer, service_name_length);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_session_statistics, messages_received);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_backend_key, executable_hash);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_subject, backend);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_decision, retry_after_ns);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_request, reserved);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_value_request, subject);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_backend_options, time_user_data);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_backend_statistics, answers_undelivered);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_front_door_options, pressure_retry_ns);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_front_door_service, session);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_front_door_visit, detail);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_client_request, time_user_data);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_client_connection, reason);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_wire_frame, tracestate_length);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_wire_offer, correlation_id);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_wire_ack, correlation_id);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_wire_hello, client_keepalive_secs);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_wire_reply, details_capacity);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_queue_options, time_user_data);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_latency_summary, p99_ns);
RP_HANDOFF_ENDS_BEHIND(rp_handoff_latency_comparison, p99_savings_ns);

#undef RP_HANDOFF_ENDS_BEHIND

} // namespace rp::handoff::capi
