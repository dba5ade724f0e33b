#include "ack.hpp"

#include <algorithm>

namespace rp::handoff {

AckRegistry::AckRegistry(Duration ack_deadline, std::size_t max_pending) noexcept
    : ack_deadline_(ack_deadline.count() == 0 ? std::chrono::milliseconds(1) : ack_deadline),
      max_pending_(std::max<std::size_t>(max_pending, 1)) {}

std::optional<BackendIdentity> AckRegistry::pending_backend(const Token &token) {
    const Map::Entry entry = pending_.find(token);
    return entry ? std::optional(entry.value().backend) : std::nullopt;
}

Status AckRegistry::register_token(const Token &token, BackendIdentity backend, Instant now) {
    if (const Map::Entry old = pending_.find(token)) {
        pending_.erase(old);
    }
    if (pending_.size() >= max_pending_) {
        return Status::limit;
    }
    pending_.insert(token, after(now, ack_deadline_), {std::move(backend), now, false});
    return Status::ok;
}

Result<AckRegistry::Pending> AckRegistry::claim(const Token &token) {
    const Map::Entry entry = pending_.find(token);
    if (!entry) {
        return Failure(Status::token_not_pending);
    }
    if (entry.value().claimed) {
        return Failure(Status::token_in_use);
    }
    Pending pending{entry.value().backend, entry.value().issued_at, entry.deadline()};
    entry.value().claimed = true;
    return pending;
}

void AckRegistry::unclaim(const Token &token) noexcept {
    if (const Map::Entry entry = pending_.find(token)) {
        entry.value().claimed = false;
    }
}

bool AckRegistry::is_claimed(const Token &token) noexcept {
    const Map::Entry entry = pending_.find(token);
    return entry && entry.value().claimed;
}

Result<AckRegistry::Acknowledged> AckRegistry::acknowledge(TokenStore &store, const Token &token,
                                                           Instant observed) noexcept {
    const Map::Entry entry = pending_.find(token);
    if (!entry) {
        return Failure(Status::token_not_pending);
    }
    Acknowledged acknowledged{std::move(entry.value().backend), elapsed(entry.value().issued_at, observed)};
    const bool late = is_due(entry.deadline(), observed);
    pending_.erase(entry);
    store.revoke(token);
    if (late) {
        return Failure(Status::ack_overdue);
    }
    return acknowledged;
}

bool AckRegistry::abandon(TokenStore &store, const Token &token) noexcept {
    const Map::Entry entry = pending_.find(token);
    if (entry) {
        pending_.erase(entry);
    }
    store.revoke(token);
    return static_cast<bool>(entry);
}

std::optional<AckRegistry::Overdue> AckRegistry::expire_next(TokenStore &store, Instant now) noexcept {
    const Map::Entry entry = first_overdue(now);
    if (!entry) {
        return std::nullopt;
    }
    Overdue overdue{entry.key(), std::move(entry.value().backend)};
    pending_.erase(entry);
    store.revoke(overdue.token);
    return overdue;
}

AckRegistry::Map::Entry AckRegistry::first_overdue(Instant now) noexcept {
    for (Map::Entry entry = pending_.first(); entry && is_due(entry.deadline(), now); entry = entry.next()) {
        if (!entry.value().claimed) {
            return entry;
        }
    }
    return {};
}

} // namespace rp::handoff
