// The vocabulary of abandoned handoffs: what went wrong in a transfer, and what follows from it for the client.
//
// Whatever the reason, the client silently reconnects: there is no decision that sends it an error. The numbers are
// those of the public header, which capi/broker.cpp asserts.
#pragma once

#include <cstdint>
#include <optional>

#include "base/clock.hpp"
#include "base/text.hpp"

namespace rp::handoff {

enum class Reason : std::int32_t {
    none = 0,
    client_unsupported = 1,
    service_policy_disabled = 2,
    fd_pressure_disabled = 3,
    failed_attempt_rate_limited = 4,
    permission_denied = 5,
    integrity_mismatch = 6,
    backend_ack_timeout = 7,
    adopted_backend = 8,
};

// What a failed attempt counts as. none: it was no real attempt, or pressure that is nobody's fault.
enum class FailureClass { none, permission_denied, integrity_mismatch, backend_ack_timeout };

enum class Cause : std::int32_t {
    none = 0,
    unsupported_platform = 1,
    permission_denied = 2,
    peer_rejected = 3,
    peer_unknown = 4,
    backend_unavailable = 5,
    would_block = 6,
    descriptor_pressure = 7,
    send_failed = 8,
    partial_send = 9,
    offer_undelivered = 10,
    deadline_before_send = 11,
    ack_timed_out = 12,
    ack_read_failed = 13,
    backend_closed = 14,
    ack_malformed = 15,
    ack_unrelated = 16,
    backend_refused = 17,
    ack_overdue = 18,
    revoked = 19,
    callback_failed = 20,
    no_memory = 21,
    policy = 22,
    duplicate_failed = 23,
    offer_failed = 24,
    integrity_mismatch = 25,
    session_lost = 26,
    cancelled = 27,
    backend_descriptors = 28,
    descriptor_denied = 29,
};

struct Decision {
    Reason reason;
    std::optional<Duration> retry_after; // only ever set by a rate limit
    static constexpr bool uses_backend_reconnect() noexcept { return true; }
    static constexpr bool sends_client_error() noexcept { return false; }
};

constexpr Reason reason_of(FailureClass failure) noexcept {
    switch (failure) {
    case FailureClass::permission_denied:
        return Reason::permission_denied;
    case FailureClass::integrity_mismatch:
        return Reason::integrity_mismatch;
    case FailureClass::backend_ack_timeout:
        return Reason::backend_ack_timeout;
    case FailureClass::none:
        break;
    }
    return Reason::none;
}

// Causes map to classes and reasons for a handoff as a whole, whichever step met them.
FailureClass failure_class(Cause cause) noexcept;
Reason reason_of(Cause cause) noexcept;

// Why the descriptor, the token and the offer did not all leave.
struct TransportError {
    Cause cause = Cause::send_failed;
    int os_error = 0;
    std::size_t bytes_sent = 0; // of the whole message

    // The descriptor rides on the first byte. A part was sent, however many bytes it is said to have been;
    // callback_failed: nobody knows, so it may.
    bool may_have_reached_backend() const noexcept {
        return bytes_sent > 0 || cause == Cause::partial_send || cause == Cause::offer_undelivered ||
               cause == Cause::callback_failed;
    }
    Text describe() const noexcept;
};

// What an errno of connect(2) means, and one of sendmsg(2).
Cause cause_of_connect(int os_error) noexcept;
Cause cause_of_send(int os_error) noexcept;

// Why a connect(2) that may wait for its deadline failed.
TransportError error_of_dial(int os_error, bool late) noexcept;

// After a short send of n > 0 bytes: within the token it is partial_send, beyond it the offer that is missing.
Cause cause_of_short_send(std::size_t bytes_sent) noexcept;

} // namespace rp::handoff
