#include "handoff/outcome.hpp"

#include <array>
#include <cerrno>
#include <cstring>

#include "handoff/token.hpp"

namespace rp::handoff {

FailureClass failure_class(Cause cause) noexcept {
    switch (cause) {
    case Cause::none:
    case Cause::unsupported_platform:
    case Cause::descriptor_pressure:
    case Cause::no_memory:
    case Cause::policy:
    case Cause::cancelled:
    case Cause::backend_descriptors:
        return FailureClass::none;
    case Cause::permission_denied:
    case Cause::peer_rejected:
    case Cause::peer_unknown:
    case Cause::duplicate_failed:
        return FailureClass::permission_denied;
    case Cause::integrity_mismatch:
        return FailureClass::integrity_mismatch;
    default:
        return FailureClass::backend_ack_timeout;
    }
}

Reason reason_of(Cause cause) noexcept {
    switch (cause) {
    case Cause::unsupported_platform:
        return Reason::service_policy_disabled;
    case Cause::descriptor_pressure:
    case Cause::backend_descriptors:
        return Reason::fd_pressure_disabled;
    case Cause::no_memory:
    case Cause::cancelled:
        return Reason::backend_ack_timeout;
    default:
        return reason_of(failure_class(cause));
    }
}

namespace {

std::string_view words(Cause cause) noexcept {
    switch (cause) {
    case Cause::unsupported_platform:
        return "descriptor passing is not supported on this platform";
    case Cause::permission_denied:
        return "permission to reach the backend socket was denied";
    case Cause::peer_rejected:
        return "the process at the backend socket is not an allowed peer";
    case Cause::peer_unknown:
        return "the kernel does not tell who is at the backend socket";
    case Cause::backend_unavailable:
        return "nobody serves the backend socket";
    case Cause::would_block:
        return "the backend socket is full";
    case Cause::descriptor_pressure:
        return "out of descriptors, or too many in flight";
    case Cause::partial_send:
        return "the token was sent in part";
    case Cause::offer_undelivered:
        return "descriptor and token were sent, but the offer was not";
    case Cause::deadline_before_send:
        return "the deadline passed before anything was sent";
    case Cause::callback_failed:
        return "the transport callback failed";
    case Cause::duplicate_failed:
        return "the handle could not be duplicated into the backend";
    case Cause::offer_failed:
        return "the duplicated handle could not be offered to the backend";
    case Cause::integrity_mismatch:
        return "the backend is not the process that it should be";
    default:
        return "sending to the backend socket failed";
    }
}

} // namespace

Text TransportError::describe() const noexcept {
    Text text(words(cause));
    if (bytes_sent > 0) {
        text += " after ";
        text += static_cast<std::int64_t>(bytes_sent);
        text += " bytes";
    }
    if (os_error != 0) {
        text += ": ";
        const char *name = strerrordesc_np(os_error);
        text += name != nullptr ? name : "unknown error";
    }
    return text;
}

Cause cause_of_connect(int os_error) noexcept {
    switch (os_error) {
    case EACCES:
    case EPERM:
        return Cause::permission_denied;
    case EAGAIN:
        return Cause::would_block;
    case EMFILE:
    case ENFILE:
        return Cause::descriptor_pressure;
    default:
        return Cause::backend_unavailable;
    }
}

Cause cause_of_send(int os_error) noexcept {
    switch (os_error) {
    case EACCES:
    case EPERM:
        return Cause::permission_denied;
    case EAGAIN:
    case ENOBUFS:
        return Cause::would_block;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN:
        return Cause::backend_unavailable;
    case ETOOMANYREFS:
    case EMFILE:
    case ENFILE:
        return Cause::descriptor_pressure;
    default:
        return Cause::send_failed;
    }
}

TransportError error_of_dial(int os_error, bool late) noexcept {
    return {late ? Cause::deadline_before_send : cause_of_connect(os_error), os_error};
}

Cause cause_of_short_send(std::size_t bytes_sent) noexcept {
    return bytes_sent < Token::size ? Cause::partial_send : Cause::offer_undelivered;
}

} // namespace rp::handoff
