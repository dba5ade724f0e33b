#include "door/client.hpp"

#include <algorithm>
#include <cerrno>
#include <unistd.h>

#include "os/closing.hpp"
#include "os/endpoint.hpp"
#include "os/peer.hpp"
#include "os/stream.hpp"
#include "v1/frame_io.hpp"
#include "wire/exchange.hpp"

namespace rp::handoff {

namespace {

constexpr std::uint32_t max_reply = 64 * 1024;
constexpr std::uint64_t hello_request_id = 1;

Status status_of(const TransportError &error) noexcept {
    switch (error.cause) {
    case Cause::unsupported_platform:
        return Status::unsupported;
    case Cause::deadline_before_send:
        return Status::timed_out;
    case Cause::backend_unavailable:
    case Cause::would_block:
        return Status::unavailable;
    default:
        errno = error.os_error;
        return Status::system;
    }
}

class Connector {
  public:
    Connector(const ClientRequest &request, const PeerPolicy &peers, TimeSource &time) noexcept
        : request_(request), peers_(peers), time_(time), deadline_(after(time.now(), request.timeout)) {}

    Result<ClientConnection> connect() {
        if (request_.cached_endpoint != nullptr && request_.wanted_version == request_.own_version) {
            if (Result<os::DrainedFd> fd = dial(request_.cached_endpoint)) {
                ClientConnection connection;
                connection.fd = fd->release();
                connection.route = Route::hello_skip;
                connection.endpoint = request_.cached_endpoint;
                return connection;
            }
        }
        Result<ClientConnection> connection = ask_broker();
        if (!connection && connection.error() == Status::closed) {
            // The end of the connection instead of a reply: whoever had it went away. Once is bad luck.
            connection = ask_broker();
        }
        return connection;
    }

  private:
    // Whoever listens may send what makes a close wait, before he is known.
    Result<os::DrainedFd> dial(const char *path) noexcept {
        if (!os::is_valid_path(path)) {
            return Failure(Status::path_invalid);
        }
        auto dialled = os::dial(path, deadline_, time_);
        if (!dialled) {
            const bool late = dialled.error().late || is_due(deadline_, time_.now());
            return Failure(status_of(error_of_dial(dialled.error().os_error, late)));
        }
        os::DrainedFd fd(std::move(*dialled));
        const auto peer = os::peer_credentials(fd.get());
        if (!peer || peers_.check(*peer, 0) != Cause::none) {
            return Failure(Status::peer_rejected);
        }
        return fd;
    }

    Result<ClientConnection> ask_broker() {
        Result<os::DrainedFd> fd = dial(request_.broker_path);
        if (!fd) {
            return Failure(fd.error());
        }
        if (const Status status = send_hello(fd->get()); status != Status::ok) {
            return Failure(status);
        }
        FrameBuffer body;
        const FrameRead read = read_frame(fd->get(), max_reply, deadline_, time_, body);
        if (read.status != Status::ok) {
            errno = read.os_error;
            return Failure(read.os_error == ECONNRESET ? Status::closed : read.status);
        }
        const Result<wire::HelloReply> reply = decode_reply(body.view());
        if (!reply) {
            return Failure(reply.error());
        }
        return reply->negotiated ? follow(*fd, *reply->negotiated) : refused(*reply->refused);
    }

    Status send_hello(int fd) {
        wire::Hello hello;
        hello.client_min_protocol = wire::negotiated_protocol;
        hello.client_max_protocol = wire::negotiated_protocol;
        hello.service_name = request_.service_name;
        hello.wanted_version = request_.wanted_version;
        hello.client_version = request_.own_version;
        // A client that would not keep the connection does not say that it could: it is not handed over then.
        hello.client_capabilities = request_.adopt ? wire::capability_handle_passing : 0;
        hello.peer_pid = static_cast<std::uint32_t>(getpid());
        hello.client_lib_name = "rp_handoff";
        hello.client_keepalive_secs = request_.keepalive_secs;
        std::string payload;
        wire::append(payload, hello);
        wire::Frame frame;
        frame.envelope_version = wire::envelope_v1;
        frame.payload = wire::as_bytes(payload);
        frame.request_id = hello_request_id;
        const std::string bytes = wire::framed(frame);
        const auto written = os::write_all(fd, wire::as_bytes(bytes), deadline_, time_);
        errno = written.os_error;
        return written.os_error == EPIPE || written.os_error == ECONNRESET ? Status::closed : written.status;
    }

    static Result<wire::HelloReply> decode_reply(ByteView body) {
        const Result<wire::Frame> frame = wire::decode_frame(body);
        if (!frame) {
            return Failure(frame.error());
        }
        if (wire::validate_envelope(*frame, wire::Kind::response, wire::protocol_control) !=
            wire::EnvelopeError::none) {
            return Failure(Status::frame_unexpected);
        }
        Result<wire::HelloReply> reply = wire::decode_hello_reply(frame->payload);
        if (reply && !reply->negotiated && !reply->refused) {
            return Failure(Status::frame_unexpected);
        }
        return reply;
    }

    static ClientConnection refused(const wire::Refused &refused) {
        ClientConnection connection;
        connection.code = refused.code;
        connection.retry_after_ms = refused.retry_after_ms;
        connection.reason = Text(refused.reason);
        return connection;
    }

    Result<ClientConnection> follow(os::DrainedFd &hello_fd, const wire::Negotiated &negotiated) {
        ClientConnection connection;
        connection.route = Route::broker_negotiated;
        connection.endpoint = negotiated.backend_pipe;
        connection.connection_id = negotiated.connection_id;
        connection.capabilities = negotiated.server_capabilities;
        connection.keepalive_secs = negotiated.keepalive_interval_secs;
        connection.daemon_version = negotiated.daemon_version;
        if (const Result<Token> token = Token::parse(negotiated.handle_passed_token)) {
            connection.token = *token;
        }
        const bool offered =
            (negotiated.server_capabilities & wire::capability_handle_passing) != 0 && connection.token;
        if (request_.adopt && offered && is_ready(hello_fd.get(), *connection.token)) {
            connection.fd = hello_fd.release();
            connection.route = Route::handle_passed;
            return connection;
        }
        os::drain_and_close(hello_fd.release()); // so that whoever has it sees the end
        Result<os::DrainedFd> fd = dial(connection.endpoint.c_str());
        if (!fd) {
            return Failure(fd.error());
        }
        connection.fd = fd->release();
        return connection;
    }

    // Whether the ready frame comes in time. Its ids are not looked at: the token says enough.
    bool is_ready(int fd, const Token &token) noexcept {
        const Instant until = std::min(deadline_, after(time_.now(), request_.ready_timeout));
        FrameBuffer body;
        if (read_frame(fd, max_reply, until, time_, body).status != Status::ok) {
            return false;
        }
        const Result<wire::Frame> frame = wire::decode_frame(body.view());
        if (!frame ||
            wire::validate_envelope(*frame, wire::Kind::event, wire::protocol_handoff) != wire::EnvelopeError::none) {
            return false;
        }
        const Result<wire::HandoffAck> ack = wire::decode_ack(frame->payload);
        const Result<Token> echoed = ack ? Token::parse(ack->token) : Failure(ack.error());
        return echoed && *echoed == token && ack->accepted;
    }

    const ClientRequest &request_;
    const PeerPolicy &peers_;
    TimeSource &time_;
    const Instant deadline_;
};

} // namespace

Result<ClientConnection> connect_to_service(const ClientRequest &request, const PeerPolicy &peers, TimeSource &time) {
    return Connector(request, peers, time).connect();
}

} // namespace rp::handoff
