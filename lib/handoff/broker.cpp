#include "handoff/broker.hpp"

namespace rp::handoff {

Result<Token> Broker::issue(std::string_view service_name, std::uint32_t backend_pid) {
    if (!has_sources_) {
        return Failure(Status::closed);
    }
    Result<Token> token = tokens_.issue(service_name, backend_pid, time_.now(), random_);
    if (token) {
        ++issued_;
    }
    return token;
}

Broker::RecordRoom::RecordRoom(Broker &broker, bool wanted) : broker_(broker), wanted_(wanted) {
    if (wanted_) {
        const std::lock_guard<std::mutex> lock(broker_.policy_mutex_);
        broker_.policy_.reserve(broker_.recorders_ + 1);
        ++broker_.recorders_;
    }
}

Broker::RecordRoom::~RecordRoom() {
    if (wanted_) {
        const std::lock_guard<std::mutex> lock(broker_.policy_mutex_);
        --broker_.recorders_;
    }
}

// ---- for sessions ---------------------------------------------------------------------------------------------------

Result<Broker::Lease> Broker::lease(std::string_view service_name, std::uint32_t backend_pid, const Token *token,
                                    Instant now) {
    if (!has_sources_) {
        return Failure(Status::closed);
    }
    if (token == nullptr) {
        const Result<Token> issued = tokens_.issue(service_name, backend_pid, now, random_, true);
        if (!issued) {
            return Failure(issued.error());
        }
        ++issued_;
        return Lease{*issued, now, after(now, tokens_.ack_deadline()), true};
    }
    const Result<AckRegistry::Pending> pending = tokens_.claim(*token, now);
    if (!pending) {
        return Failure(pending.error());
    }
    return Lease{*token, now, pending->deadline, false};
}

void Broker::give_back(const Lease &lease) noexcept {
    if (lease.is_own) {
        tokens_.abandon(lease.token);
        --issued_;
    } else {
        tokens_.unclaim(lease.token);
    }
}

// The verdict is the ledger's, and the registry follows it: also an acknowledgement past the deadline is one, if the
// backend has adopted the connection.
void Broker::conclude(const Token &token, const Outcome &outcome, Instant observed) noexcept {
    if (outcome.completed) {
        static_cast<void>(tokens_.confirm(token, observed));
    } else {
        tokens_.abandon(token);
    }
    count(outcome);
    if (outcome.cause == Cause::descriptor_pressure) {
        pressure_.demote();
    }
}

// ---- policy ---------------------------------------------------------------------------------------------------------

HandoffReport Broker::refuse_to_attempt(const Token &token, const Decision &decision) noexcept {
    tokens_.abandon(token);
    HandoffReport report;
    report.outcome.stage = Stage::policy;
    report.outcome.reason = decision.reason;
    report.outcome.cause = Cause::policy;
    report.retry_after = decision.retry_after;
    report.detail = describe(decision);
    return report;
}

std::optional<Decision> Broker::objection(const Subject &subject) noexcept {
    AttemptInputs inputs = subject.inputs;
    inputs.fd_pressure = inputs.fd_pressure || pressure_.is_demoted();
    const Instant now = time_.now(); // never with the lock held: it may be a callback
    const std::lock_guard<std::mutex> lock(policy_mutex_);
    return policy_.objection(subject.backend, inputs, now);
}

Decision Broker::record_failure(BackendKey backend, FailureClass failure) {
    const Instant now = time_.now();
    const std::lock_guard<std::mutex> lock(policy_mutex_);
    policy_.reserve(recorders_ + 1);
    return policy_.record_failure(std::move(backend), failure, now);
}

void Broker::record_success(const BackendKey &backend) noexcept {
    const std::lock_guard<std::mutex> lock(policy_mutex_);
    policy_.record_success(backend);
}

std::uint32_t Broker::failures(const BackendKey &backend) noexcept {
    const Instant now = time_.now();
    const std::lock_guard<std::mutex> lock(policy_mutex_);
    return policy_.failures(backend, now);
}

void Broker::record(std::optional<Subject> &subject, const Outcome &outcome) noexcept {
    if (outcome.cause == Cause::descriptor_pressure) {
        pressure_.demote();
    }
    if (!subject) {
        return;
    }
    const Instant now = time_.now();
    const std::lock_guard<std::mutex> lock(policy_mutex_);
    if (outcome.completed) {
        policy_.record_success(subject->backend);
    } else if (const FailureClass failure = failure_class(outcome.cause); failure != FailureClass::none) {
        policy_.record_failure(std::move(subject->backend), failure, now);
    }
}

// ---- the rest -------------------------------------------------------------------------------------------------------

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

void Broker::count(const Outcome &outcome) noexcept {
    if (outcome.completed) {
        ++completed_;
        return;
    }
    ++fallbacks_by_owner_[static_cast<std::size_t>(outcome.ownership)];
    ++fallbacks_by_reason_[static_cast<std::size_t>(outcome.reason)];
}

Broker::Statistics Broker::statistics() const noexcept {
    Statistics s{issued_, completed_, revoked_, overdue_, {}, {}, tokens_.counts(), 0, pressure_.statistics()};
    {
        const std::lock_guard<std::mutex> lock(policy_mutex_);
        s.backends_with_failures = policy_.keys();
    }
    for (std::size_t i = 0; i < s.fallbacks_by_owner.size(); ++i) {
        s.fallbacks_by_owner[i] = fallbacks_by_owner_[i];
    }
    for (std::size_t i = 0; i < s.fallbacks_by_reason.size(); ++i) {
        s.fallbacks_by_reason[i] = fallbacks_by_reason_[i];
    }
    return s;
}

} // namespace rp::handoff
