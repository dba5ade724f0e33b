#include "callbacks.hpp"

#include "environment.hpp"

namespace rp::handoff::capi {

namespace {

TransportError to_error(const rp_handoff_transport_result &result) noexcept {
    switch (result.status) {
    case RP_HANDOFF_TRANSPORT_UNSUPPORTED:
        return {Cause::unsupported_platform, result.os_error};
    case RP_HANDOFF_TRANSPORT_PERMISSION_DENIED:
        return {Cause::permission_denied, result.os_error};
    case RP_HANDOFF_TRANSPORT_UNAVAILABLE:
        return {Cause::backend_unavailable, result.os_error};
    case RP_HANDOFF_TRANSPORT_WOULD_BLOCK:
        return {Cause::would_block, result.os_error};
    case RP_HANDOFF_TRANSPORT_FAILED:
        return {cause_of_send(result.os_error) == Cause::descriptor_pressure ? Cause::descriptor_pressure
                                                                             : Cause::send_failed,
                result.os_error};
    case RP_HANDOFF_TRANSPORT_PARTIAL:
        return {Cause::partial_send, result.os_error, result.bytes_sent};
    case RP_HANDOFF_TRANSPORT_OFFER_UNDELIVERED:
        return {Cause::offer_undelivered, result.os_error};
    default:
        return {Cause::callback_failed};
    }
}

} // namespace

Handoff::Action CallbackTransport::send(const Attempt &attempt, Handoff &handoff, Text &detail) noexcept {
    rp_handoff_token token = to_c(attempt.token);
    const WipedAtEnd wiped(token);
    const rp_handoff_attempt asked{sizeof asked,
                                   attempt.fd,
                                   attempt.socket_path,
                                   attempt.connection_fd,
                                   0,
                                   attempt.message.data(),
                                   attempt.message.size(),
                                   nanoseconds(attempt.deadline),
                                   &token,
                                   attempt.service_name,
                                   attempt.correlation_id};
    rp_handoff_transport_result result{sizeof result, 0, 0, 0};
    if (!callback_succeeded([&] { return call_(user_data_, &asked, &result); })) {
        result.status = 0;
    }
    if (result.status == RP_HANDOFF_TRANSPORT_SENT) {
        return handoff.on({Handoff::Event::Kind::sent_all, {}});
    }
    const TransportError error = to_error(result);
    detail = error.describe();
    return handoff.on({Handoff::Event::Kind::send_failed, error});
}

tl::expected<Instant, AckFailure> CallbackWaiter::await(const Attempt &attempt, int connection, Text &detail) noexcept {
    rp_handoff_token token = to_c(attempt.token);
    const WipedAtEnd wiped(token);
    const rp_handoff_ack_wait asked{sizeof asked, connection, &token, attempt.correlation_id,
                                    nanoseconds(attempt.deadline)};
    rp_handoff_ack_wait_result result{sizeof result, 0, UINT64_MAX};
    if (!callback_succeeded([&] { return call_(user_data_, &asked, &result); })) {
        result.status = 0;
    }
    switch (result.status) {
    case RP_HANDOFF_ACK_WAIT_ACCEPTED:
        return Instant(Duration(result.observed_ns));
    case RP_HANDOFF_ACK_WAIT_REFUSED:
        detail += "backend refused the handoff";
        return tl::unexpected(AckFailure{Cause::backend_refused});
    case RP_HANDOFF_ACK_WAIT_FAILED:
        detail += "the acknowledgement was not observed";
        return tl::unexpected(AckFailure{Cause::ack_timed_out});
    default:
        detail += "the acknowledgement callback failed";
        return tl::unexpected(AckFailure{Cause::callback_failed});
    }
}

} // namespace rp::handoff::capi
