#include "handoff/ack_registry.hpp"

#include <algorithm>

namespace rp::handoff {

namespace {

BackendIdentity backend_of(PendingTokens::Entry entry) noexcept {
    return {ServiceName(entry.value().service->first), entry.value().pid};
}

} // namespace

AckRegistry::AckRegistry(Duration ack_deadline, std::size_t max_pending, std::shared_ptr<PendingTokens> table) noexcept
    : ack_deadline_(ack_deadline.count() == 0 ? std::chrono::milliseconds(1) : ack_deadline),
      max_pending_(std::max<std::size_t>(max_pending, 1)), table_(std::move(table)) {}

std::optional<BackendIdentity> AckRegistry::pending_backend(const Token &token) noexcept {
    const PendingTokens::Entry entry = find(token);
    return entry ? std::optional(backend_of(entry)) : std::nullopt;
}

Status AckRegistry::register_token(const Token &token, std::string_view service_name, std::uint32_t pid, Instant now,
                                   bool claimed) {
    const PendingTokens::Entry old = find(token);
    if (!old && pending_len() >= max_pending_) {
        return Status::limit;
    }
    table_->reserve(1); // from here on only the name needs memory
    ServiceNames::Name *const service = services_.use(service_name);
    if (old) {
        end(old);
    }
    table_->put(token, by_ack_deadline, after(now, ack_deadline_)).value() = {now, service, pid, claimed};
    return Status::ok;
}

Result<AckRegistry::Pending> AckRegistry::claim(const Token &token) noexcept {
    const PendingTokens::Entry entry = find(token);
    if (!entry) {
        return Failure(Status::token_not_pending);
    }
    if (entry.value().claimed) {
        return Failure(Status::token_in_use);
    }
    Pending pending{backend_of(entry), entry.value().issued_at, entry.deadline(by_ack_deadline)};
    entry.value().claimed = true;
    return pending;
}

void AckRegistry::unclaim(const Token &token) noexcept {
    if (const PendingTokens::Entry entry = find(token)) {
        entry.value().claimed = false;
    }
}

bool AckRegistry::is_claimed(const Token &token) noexcept {
    const PendingTokens::Entry entry = find(token);
    return entry && entry.value().claimed;
}

Result<AckRegistry::Acknowledged> AckRegistry::acknowledge(TokenStore &store, const Token &token,
                                                           Instant observed) noexcept {
    const PendingTokens::Entry entry = find(token);
    if (!entry) {
        return Failure(Status::token_not_pending);
    }
    const Registration &registration = entry.value();
    const Acknowledged acknowledged{registration.service->first, registration.pid,
                                    elapsed(registration.issued_at, observed)};
    const bool late = is_due(entry.deadline(by_ack_deadline), observed);
    end(entry);
    store.revoke(token);
    if (late) {
        return Failure(Status::ack_overdue);
    }
    return acknowledged;
}

bool AckRegistry::abandon(TokenStore &store, const Token &token) noexcept {
    const PendingTokens::Entry entry = find(token);
    if (entry) {
        end(entry);
    }
    store.revoke(token);
    return static_cast<bool>(entry);
}

AckRegistry::Overdue AckRegistry::end_overdue(PendingTokens::Entry entry, TokenStore &store) noexcept {
    Overdue overdue{entry.key(), backend_of(entry)};
    end(entry);
    store.revoke(overdue.token);
    return overdue;
}

void AckRegistry::end(PendingTokens::Entry entry) noexcept {
    services_.release(entry.value().service);
    table_->erase(entry, by_ack_deadline);
}

PendingTokens::Entry AckRegistry::next_overdue(PendingTokens::Entry from, Instant now) noexcept {
    for (; from && is_due(from.deadline(by_ack_deadline), now); from = from.next(by_ack_deadline)) {
        if (!from.value().claimed) {
            return from;
        }
    }
    return {};
}

} // namespace rp::handoff
