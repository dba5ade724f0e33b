#include "broker.hpp"

#include "v1.hpp"
#include "wire/exchange.hpp"

namespace rp::handoff {

Result<Token> Broker::issue(std::string_view service_name, std::uint32_t backend_pid) {
    Result<Token> token = tokens_.issue(service_name, backend_pid, time_.now(), random_);
    if (token) {
        ++issued_;
    }
    return token;
}

Result<Broker::Report> Broker::execute(const Request &request) {
    const Instant start = time_.now();
    const Result<AckRegistry::Pending> pending = tokens_.claim(request.token, start);
    if (!pending) {
        return Failure(pending.error());
    }
    // From here to the end nothing throws: the claimed token is ended by orchestrate.
    const std::uint64_t id = request.correlation_id != 0 ? request.correlation_id : next_correlation_id_++;
    const wire::OfferMessage message = wire::encode_offer_message(request.token, pending->backend.service_name, id);
    const Attempt attempt{request.fd,
                          request.socket_path,
                          request.socket_path != nullptr ? -1 : request.connection_fd,
                          message.view(),
                          pending->deadline,
                          request.token,
                          pending->backend.service_name.c_str(),
                          pending->backend.pid,
                          id};
    V1Transport v1_transport(config_.peers, request.trust_connection, time_);
    V1AckReader v1_waiter(config_.max_frame, time_);
    Transport &transport = request.transport != nullptr ? *request.transport : v1_transport;
    AckWaiter &waiter = request.waiter != nullptr ? *request.waiter : v1_waiter;

    Report report{orchestrate(tokens_, attempt, transport, waiter, time_), id, {}};
    report.elapsed = elapsed(start, time_.now());
    count(report.handoff.outcome);
    return report;
}

Result<Duration> Broker::acknowledge(const Token &token, Instant observed) noexcept {
    const Result<Duration> waited = tokens_.acknowledge(token, observed);
    if (waited) {
        ++completed_;
    } else if (waited.error() == Status::ack_overdue) {
        ++overdue_;
    }
    return waited;
}

bool Broker::revoke(const Token &token) noexcept {
    const bool was_pending = tokens_.abandon(token);
    revoked_ += was_pending ? 1 : 0;
    return was_pending;
}

std::optional<AckRegistry::Overdue> Broker::expire_next() noexcept {
    auto overdue = tokens_.expire_next(time_.now());
    overdue_ += overdue ? 1 : 0;
    return overdue;
}

void Broker::count(const Outcome &outcome) noexcept {
    if (outcome.completed) {
        ++completed_;
        return;
    }
    ++fallbacks_by_owner_[static_cast<std::size_t>(outcome.ownership)];
    ++fallbacks_by_reason_[static_cast<std::size_t>(outcome.reason)];
}

Broker::Statistics Broker::statistics() const noexcept {
    Statistics s{issued_, completed_, revoked_, overdue_, {}, {}, tokens_.counts()};
    for (std::size_t i = 0; i < s.fallbacks_by_owner.size(); ++i) {
        s.fallbacks_by_owner[i] = fallbacks_by_owner_[i];
    }
    for (std::size_t i = 0; i < s.fallbacks_by_reason.size(); ++i) {
        s.fallbacks_by_reason[i] = fallbacks_by_reason_[i];
    }
    return s;
}

} // namespace rp::handoff
