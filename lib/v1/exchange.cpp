#include "v1/exchange.hpp"

#include <cerrno>

#include "os/connection.hpp"
#include "os/descriptor.hpp"
#include "os/peer.hpp"
#include "os/stream.hpp"
#include "v1/frame_io.hpp"
#include "wire/exchange.hpp"

namespace rp::handoff {

namespace {

using Event = Handoff::Event;

tl::unexpected<AckFailure> failure(Cause cause, int os_error = 0) noexcept {
    return tl::unexpected(AckFailure{cause, os_error});
}

tl::unexpected<AckFailure> read_failure(const FrameRead &read, Text &detail) noexcept {
    switch (read.status) {
    case Status::frame_version:
        detail += read.speaks == wire::Protocol::session ? "the backend speaks the protocol of sessions, not v1"
                                                         : "the acknowledgement has another framing version";
        return failure(Cause::ack_malformed);
    case Status::frame_too_large:
        detail += "the acknowledgement is too long";
        return failure(Cause::ack_malformed);
    case Status::no_memory:
        detail += "no memory for the acknowledgement";
        return failure(Cause::no_memory);
    default:
        break;
    }
    detail += "reading the acknowledgement's ";
    detail += read.part;
    switch (read.status) {
    case Status::timed_out:
        detail += " timed out";
        return failure(Cause::ack_timed_out);
    case Status::closed:
    case Status::unexpected_eof:
        detail += ": the backend closed the connection";
        return failure(Cause::backend_closed);
    default:
        detail += " failed";
        return failure(cause_of_send(read.os_error) == Cause::backend_unavailable ? Cause::backend_closed
                                                                                  : Cause::ack_read_failed,
                       read.os_error);
    }
}

// The rules from a frame's body to an acceptance, in the order in which the first that fails is reported.
tl::expected<Instant, AckFailure> judge(ByteView body, const Attempt &attempt, Instant observed,
                                        Text &detail) noexcept {
    const auto ack = wire::open_ack(body, wire::Kind::response);
    if (!ack) {
        detail += "the acknowledgement is malformed: ";
        detail += ack.error().words;
        return failure(Cause::ack_malformed);
    }
    const Result<Token> echoed = Token::parse(ack->token);
    if (ack->correlation_id != attempt.correlation_id || !echoed || *echoed != attempt.token) {
        detail += ack->correlation_id != attempt.correlation_id ? "the acknowledgement has another correlation id"
                                                                : "the acknowledgement has another token";
        return failure(Cause::ack_unrelated);
    }
    if (!ack->accepted) {
        detail += "backend refused the handoff: ";
        detail += ack->error_detail.empty() ? "no reason given" : ack->error_detail;
        return failure(Cause::backend_refused);
    }
    if (is_due(attempt.deadline, observed)) {
        detail += "the acknowledgement timed out: it came too late";
        return failure(Cause::ack_timed_out);
    }
    return observed;
}

} // namespace

V1Transport::~V1Transport() {
    os::drain_and_close(std::move(dialled_));
}

// Nothing but bytes is to come by this socket, and where the kernel knows how to say that, the backend is told.
tl::expected<void, TransportError> V1Transport::dial(const Attempt &attempt, Text &detail) noexcept {
    dialled_ = os::new_socket();
    if (!dialled_) {
        return tl::unexpected(error_of_dial(errno, false));
    }
    os::refuse_descriptors(dialled_.get());
    const auto connected = os::connect(dialled_.get(), attempt.socket_path, attempt.deadline, time_);
    if (!connected) {
        const auto [os_error, late] = connected.error();
        if (os_error == EAGAIN && !late) {
            detail = Text("the backlog of the backend's socket is full");
        }
        return tl::unexpected(error_of_dial(os_error, late));
    }
    connection_ = dialled_.get();
    return {};
}

tl::expected<void, TransportError> V1Transport::connect(const Attempt &attempt, Text &detail) noexcept {
    if (!os::supported) {
        return tl::unexpected(TransportError{Cause::unsupported_platform});
    }
    if (attempt.socket_path != nullptr) {
        if (const auto dialled = dial(attempt, detail); !dialled) {
            return dialled;
        }
    } else {
        connection_ = attempt.connection_fd;
        if (trusted_) {
            return {};
        }
    }
    const auto peer = os::peer_credentials(connection_);
    const Cause objection = peer ? peers_.check(*peer, attempt.backend_pid) : Cause::peer_unknown;
    if (objection != Cause::none) {
        return tl::unexpected(TransportError{objection});
    }
    return {};
}

Handoff::Action V1Transport::send(const Attempt &attempt, Handoff &handoff, Text &detail) noexcept {
    if (const auto connected = connect(attempt, detail); !connected) {
        if (detail.empty()) {
            detail = connected.error().describe();
        }
        return handoff.on({Event::Kind::send_failed, connected.error()});
    }
    const os::Sent sent = os::send(connection_, attempt.fd, attempt.message);
    if (sent.os_error != 0) {
        const TransportError error{cause_of_send(sent.os_error), sent.os_error};
        detail = error.describe();
        return handoff.on({Event::Kind::send_failed, error});
    }
    if (sent.bytes < attempt.message.size()) {
        handoff.on({Event::Kind::sent_part, {}});
        return finish(attempt, handoff, sent.bytes, detail);
    }
    return handoff.on({Event::Kind::sent_all, {}});
}

Handoff::Action V1Transport::finish(const Attempt &attempt, Handoff &handoff, std::size_t sent, Text &detail) noexcept {
    const ByteView rest = attempt.message.substr(sent);
    const os::StreamResult written = os::write_all(connection_, rest, attempt.deadline, time_);
    if (written.status == Status::ok) {
        return handoff.on({Event::Kind::sent_all, {}});
    }
    const std::size_t total = sent + written.bytes;
    const TransportError error{cause_of_short_send(total), written.os_error, total};
    detail = error.describe();
    return handoff.on({Event::Kind::send_failed, error});
}

tl::expected<Instant, AckFailure> V1AckReader::await(const Attempt &attempt, int connection, Text &detail) noexcept {
    FrameBuffer body;
    const FrameRead read = read_frame(connection, max_frame_, attempt.deadline, time_, body);
    if (read.status != Status::ok) {
        return read_failure(read, detail);
    }
    return judge(body.view(), attempt, time_.now(), detail);
}

Result<Broker::Report> execute_v1(Broker &broker, V1Request request) {
    const auto drive = [&](IssuedTokens &tokens, const AckRegistry::Pending &pending, std::uint64_t id) noexcept {
        const ServiceName &service = pending.backend.service_name;
        const wire::OfferMessage message = wire::encode_offer_message(request.token.view(), service.view(), id);
        const Attempt attempt{
            request.fd,      request.socket_path, request.socket_path != nullptr ? -1 : request.connection_fd,
            message.view(),  pending.deadline,    request.token,
            service.c_str(), pending.backend.pid, id};
        V1Transport transport(broker.config().peers, request.trust_connection, broker.time());
        V1AckReader waiter(broker.config().max_frame, broker.time());
        return orchestrate(tokens, attempt, request.transport != nullptr ? *request.transport : transport,
                           request.waiter != nullptr ? *request.waiter : waiter, broker.time());
    };
    return broker.execute(request.token, request.correlation_id, std::move(request.subject), drive);
}

} // namespace rp::handoff
