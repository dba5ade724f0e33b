#include "door/front_door.hpp"

#include <algorithm>
#include <optional>

#include "os/peer.hpp"
#include "os/stream.hpp"
#include "v1/exchange.hpp"
#include "v1/frame_io.hpp"
#include "wire/exchange.hpp"

namespace rp::handoff {

namespace {

using wire::RefusalCode;
constexpr Duration longest_verdict = std::chrono::milliseconds(500); // so long may a client wait for its reply

using Milliseconds = std::chrono::duration<std::uint64_t, std::milli>;

FrontDoor::Visit dropped(Status status, std::string_view detail) noexcept {
    FrontDoor::Visit visit;
    visit.status = status;
    visit.detail = Text(detail);
    return visit;
}

std::string_view failure_text(Status status) noexcept {
    switch (status) {
    case Status::closed:
        return "the session with the backend has ended";
    case Status::limit_session:
        return "the session has as many handoffs in flight as it may";
    case Status::limit_descriptors:
        return "the broker has as many descriptors in flight as it may";
    case Status::limit_bytes:
        return "the session has as many bytes queued as it may";
    case Status::unavailable:
        return "the session with the backend is not open yet";
    case Status::token_expired:
    case Status::token_not_pending:
        return "the token ended before it was used";
    default:
        return "the backend's session does not take it";
    }
}

// A token that was issued and whose handoff did not come about is revoked.
class Revocable {
  public:
    Revocable(Broker &broker, Result<Token> token) noexcept : broker_(broker), token_(std::move(token)) {}
    Revocable(const Revocable &) = delete;
    Revocable &operator=(const Revocable &) = delete;
    ~Revocable() {
        if (token_) {
            broker_.revoke(*token_);
        }
    }

    explicit operator bool() const noexcept { return static_cast<bool>(token_); }
    const Token &get() const noexcept { return *token_; }

  private:
    Broker &broker_;
    Result<Token> token_;
};

} // namespace

std::size_t FrontDoor::ClientHash::operator()(const ClientKey &key) const noexcept {
    return ((std::uint64_t{key.uid} << 32U) ^ key.process ^ (key.is_pid ? 0U : 1U)) * 0x9E3779B97F4A7C15U >> 16U;
}

FrontDoor::ClientKey FrontDoor::Guest::key() const noexcept {
    if (peer.pid != 0) {
        return {peer.uid, true, peer.pid};
    }
    const auto pidfd = os::peer_pidfd(fd);
    return {peer.uid, false, pidfd ? os::number_of_process(pidfd->get()) : 0};
}

// What a client says of itself is never authority, but it must not contradict the kernel. It says what getpid(2) tells it,
// which in a pid namespace of its own is not what the kernel says here. 0: either does not know.
bool FrontDoor::Guest::contradicts(std::uint32_t claimed_pid) const noexcept {
    if (claimed_pid == 0 || peer.pid == 0 || claimed_pid == peer.pid) {
        return false;
    }
    auto pidfd = os::peer_pidfd(fd);
    if (!pidfd) {
        pidfd = os::pidfd_of(peer.pid);
    }
    const std::uint32_t own = pidfd ? os::pid_in_own_namespace(pidfd->get()) : 0;
    return own != 0 && claimed_pid != own;
}

// What a service keeps may end with it, and that may take its time: never under the lock.
void FrontDoor::put_service(Service service) {
    auto shared = std::make_shared<const Service>(std::move(service));
    const std::unique_lock<std::shared_mutex> lock(services_mutex_);
    services_[shared->name].swap(shared);
}

bool FrontDoor::remove_service(const std::string &name) {
    decltype(services_)::node_type removed;
    const std::unique_lock<std::shared_mutex> lock(services_mutex_);
    removed = services_.extract(name);
    return !removed.empty();
}

bool FrontDoor::can_be_freed() noexcept {
    return are_free(services_mutex_, hellos_mutex_) && broker_.can_be_freed() &&
           std::all_of(services_.begin(), services_.end(), [](const auto &entry) {
               return entry.second->session == nullptr || entry.second->session->can_be_freed();
           });
}

FrontDoor::ServicePtr FrontDoor::find_service(std::string_view name) const {
    const std::shared_lock<std::shared_mutex> lock(services_mutex_);
    const auto found = services_.find(name);
    return found == services_.end() ? nullptr : found->second;
}

FrontDoor::Visit FrontDoor::serve(int client) {
    Visit visit = receive(client);
    ++visits_[static_cast<std::size_t>(visit.result)];
    return visit;
}

FrontDoor::Statistics FrontDoor::statistics() const noexcept {
    Statistics s{{}, {}, failed_tokens_, failed_offers_};
    std::copy(visits_.begin(), visits_.end(), s.visits.begin());
    std::copy(unattempted_.begin(), unattempted_.end(), s.unattempted.begin());
    return s;
}

FrontDoor::Visit FrontDoor::receive(int client) {
    if (!broker_.has_sources()) {
        return dropped(Status::closed, "the broker that gave this front door its clock was destroyed");
    }
    TimeSource &time = broker_.time();
    const auto peer = os::peer_credentials(client);
    if (!peer) {
        return dropped(Status::peer_rejected, "the kernel does not tell who the client is");
    }
    Guest guest{client, after(time.now(), config_.hello_timeout), *peer, 0};
    FrameBuffer body;
    const FrameRead read = read_frame(client, config_.max_hello, guest.deadline, time, body);
    if (read.status != Status::ok) {
        return dropped(read.status, "no Hello came");
    }
    const Result<wire::Frame> frame = wire::decode_frame(body.view());
    if (!frame) {
        return dropped(frame.error(), "the Hello's frame is malformed");
    }
    guest.request_id = frame->request_id;
    const auto error = wire::validate_envelope(*frame, wire::Kind::request, wire::protocol_control);
    if (error != wire::EnvelopeError::none) {
        const bool protocol = error == wire::EnvelopeError::payload_protocol;
        return refuse(
            guest, {RefusalCode::unspecified, Text(protocol ? "payload_protocol is not control"
                                                            : wire::envelope_error_text(error, wire::Kind::request))});
    }
    const Result<wire::Hello> hello = wire::decode_hello(frame->payload);
    if (!hello) {
        return dropped(hello.error(), "the Hello is malformed");
    }
    const ServicePtr service = find_service(hello->service_name);
    if (const std::optional<Refusal> refusal = object(guest, *hello, service.get())) {
        return refuse(guest, *refusal);
    }
    return negotiate(guest, *hello, *service);
}

// The order is that of what a client may learn: who it is, what it speaks, whether there is room, and only then which
// services there are.
std::optional<FrontDoor::Refusal> FrontDoor::object(const Guest &guest, const wire::Hello &hello,
                                                    const Service *service) {
    if (guest.contradicts(hello.peer_pid)) {
        return Refusal{RefusalCode::peer_rejected, Text("the claimed pid is not the client's")};
    }
    if (hello.client_min_protocol > wire::negotiated_protocol ||
        hello.client_max_protocol < wire::negotiated_protocol) {
        return Refusal{RefusalCode::version_unsupported, Text("no common protocol version")};
    }
    if (auto limit = over_limit(guest)) {
        return limit;
    }
    if (broker_.pressure().is_demoted()) {
        broker_.pressure().count_refusal();
        return Refusal{RefusalCode::fd_pressure, Text("the broker is short of descriptors"), config_.pressure_retry};
    }
    if (service == nullptr) {
        return Refusal{RefusalCode::service_unknown, Text("unknown service")};
    }
    if (const PeerRule rule = service->clients.judge(guest.peer, {}); rule != PeerRule::none) {
        Text reason("the client is not an allowed peer: ");
        reason += service->clients.explain(rule, guest.peer, {}).view();
        return Refusal{RefusalCode::peer_rejected, reason};
    }
    const auto &allowed = service->allowed_versions;
    if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), hello.wanted_version) == allowed.end()) {
        return Refusal{RefusalCode::version_blocked, Text("the wanted version is not allowed")};
    }
    return std::nullopt;
}

std::optional<FrontDoor::Refusal> FrontDoor::over_limit(const Guest &guest) {
    const ClientKey client = guest.key();
    const Instant now = broker_.time().now();
    const std::lock_guard<std::mutex> lock(hellos_mutex_);
    if (hellos_.count(client, now) >= config_.hellos_per_window) {
        return Refusal{RefusalCode::rate_limited, Text("too many Hellos"), hellos_.remaining(client, now)};
    }
    hellos_.add(client, config_.hellos_per_window, now);
    return std::nullopt;
}

FrontDoor::Visit FrontDoor::refuse(const Guest &guest, const Refusal &refusal) {
    wire::HelloReply answer;
    answer.refused.emplace();
    answer.refused->reason = refusal.reason.view();
    answer.refused->code = refusal.code;
    answer.refused->daemon_min_protocol = wire::negotiated_protocol;
    answer.refused->daemon_max_protocol = wire::negotiated_protocol;
    answer.refused->retry_after_ms = std::chrono::ceil<Milliseconds>(refusal.retry_after).count();
    if (const Status status = reply(guest, answer); status != Status::ok) {
        return dropped(status, "the refusal could not be delivered");
    }
    Visit visit;
    visit.result = Visit::Result::refused;
    visit.code = refusal.code;
    visit.detail = refusal.reason;
    return visit;
}

// For a handoff that is to be attempted. Otherwise the visit tells why not.
Result<Token> FrontDoor::token_for(const Service &service, const Broker::Subject &subject, Visit &visit) {
    if (const std::optional<Decision> objection = broker_.objection(subject)) {
        visit.unattempted = objection->reason;
        visit.retry_after = objection->retry_after;
        visit.detail = describe(*objection);
        ++unattempted_[static_cast<std::size_t>(objection->reason)];
        return Failure(Status::unsupported);
    }
    Result<Token> token = broker_.issue(service.name, 0);
    if (!token) {
        visit.status = token.error();
        visit.detail = Text("not attempted: no token could be issued");
        ++failed_tokens_;
    }
    return token;
}

FrontDoor::Visit FrontDoor::negotiate(const Guest &guest, const wire::Hello &hello, const Service &service) {
    Visit visit;
    visit.connection_id = broker_.next_correlation_id();
    std::optional<Broker::Subject> subject = Broker::Subject{service.backend, {}};
    subject->inputs.client_supports = (hello.client_capabilities & wire::capability_handle_passing) != 0;
    subject->inputs.service_enabled =
        service.handoff_enabled && (service.session != nullptr || !service.handoff_endpoint.empty());
    subject->inputs.adopted_backend = service.adopted_backend;
    const Revocable token(broker_, token_for(service, *subject, visit));

    wire::HelloReply answer;
    answer.negotiated.emplace();
    wire::Negotiated &negotiated = *answer.negotiated;
    negotiated.negotiated_protocol = wire::negotiated_protocol;
    negotiated.daemon_version = service.version;
    negotiated.backend_pipe = service.backend_endpoint;
    negotiated.server_capabilities = service.capabilities & ~wire::capability_handle_passing;
    negotiated.keepalive_interval_secs = service.keepalive_secs;
    negotiated.connection_id = visit.connection_id;
    if (token) {
        negotiated.server_capabilities |= wire::capability_handle_passing;
        negotiated.handle_passed_token = token.get().view();
    }
    visit.result = Visit::Result::reconnect;
    if (token && service.session != nullptr) {
        hand_off_by_session(visit, guest, service, subject, answer, token.get());
        if (visit.result == Visit::Result::handed_off) {
            return visit;
        }
        negotiated.server_capabilities &= ~wire::capability_handle_passing;
        negotiated.handle_passed_token = {};
    }
    if (const Status status = reply(guest, answer); status != Status::ok) {
        Visit gone = dropped(status, "the reply could not be delivered");
        gone.connection_id = visit.connection_id;
        gone.handoff = visit.handoff;
        return gone;
    }
    if (token && service.session == nullptr) {
        hand_off(visit, guest, service, token.get(), std::move(*subject));
    }
    return visit;
}

// Nothing was sent.
void FrontDoor::offer_failed(Visit &visit, Status status) noexcept {
    visit.status = status;
    visit.detail = Text("not attempted: ");
    visit.detail += failure_text(status);
    ++failed_offers_;
}

// The backend writes reply and ready frame, or nobody has written anything yet.
void FrontDoor::hand_off_by_session(Visit &visit, const Guest &guest, const Service &service,
                                    std::optional<Broker::Subject> &subject, const wire::HelloReply &answer,
                                    const Token &token) {
    const Broker::RecordRoom room(broker_, true);
    const wire::AckMessage ready =
        wire::encode_ack_frame({token.view(), true, {}, visit.connection_id}, wire::Kind::event);
    const WipedString promise = frame_of(guest, answer);
    WipedString prologue(promise.text().size() + ready.size);
    prologue.text().append(promise.text()).append(reinterpret_cast<const char *>(ready.data.data()), ready.size);
    session::Submission submission;
    submission.fd = guest.fd;
    submission.descriptor = session::Submission::Descriptor::borrowed;
    submission.prologue = wire::as_bytes(prologue.text());
    submission.token = &token;
    submission.timeout = longest_verdict;
    submission.correlation_id = visit.connection_id;
    Explanation why;
    const Result<Broker::Report> report = service.session->execute(submission, why);
    if (!report) {
        offer_failed(visit, report.error());
        return;
    }
    visit.handoff = *report;
    broker_.record(subject, report->handoff.outcome);
    if (report->handoff.outcome.completed) {
        visit.result = Visit::Result::handed_off;
        visit.ready_delivered = true; // by the backend
    }
}

void FrontDoor::hand_off(Visit &visit, const Guest &guest, const Service &service, const Token &token,
                         Broker::Subject subject) {
    Result<Broker::Report> report = execute_v1(broker_, {guest.fd, token, service.handoff_endpoint.c_str(), -1, false,
                                                         visit.connection_id, nullptr, nullptr, std::move(subject)});
    if (!report) {
        offer_failed(visit, report.error()); // the token ended in between
        return;
    }
    visit.handoff = *report;
    if (!report->handoff.outcome.completed) {
        return;
    }
    visit.result = Visit::Result::handed_off;
    const wire::AckMessage ready =
        wire::encode_ack_frame({token.view(), true, {}, visit.connection_id}, wire::Kind::event);
    TimeSource &time = broker_.time();
    const Instant deadline = after(time.now(), config_.hello_timeout);
    visit.ready_delivered = os::write_all(guest.fd, ready.view(), deadline, time).status == Status::ok;
}

WipedString FrontDoor::frame_of(const Guest &guest, const wire::HelloReply &reply) {
    WipedString payload(wire::room_for(reply));
    wire::append(payload.text(), reply);
    wire::Frame frame;
    frame.envelope_version = wire::envelope_v1;
    frame.kind = wire::Kind::response;
    frame.payload_protocol = wire::protocol_control;
    frame.payload = wire::as_bytes(payload.text());
    frame.request_id = guest.request_id;
    return WipedString(wire::framed(frame));
}

Status FrontDoor::reply(const Guest &guest, const wire::HelloReply &reply) {
    const WipedString bytes = frame_of(guest, reply);
    return os::write_all(guest.fd, wire::as_bytes(bytes.text()), guest.deadline, broker_.time()).status;
}

} // namespace rp::handoff
