#include "token_store.hpp"

#include <algorithm>

namespace rp::handoff {

TokenStore::TokenStore(Config config) noexcept
    : config_{std::max<std::size_t>(config.max_pending, 1),
              config.ttl.count() == 0 ? std::chrono::milliseconds(1) : config.ttl,
              std::max(config.collision_attempts, 1U)} {}

Result<Token> TokenStore::issue(Instant now, RandomSource &random) {
    prune_expired(now);
    if (pending_.size() >= config_.max_pending) {
        return Failure(Status::limit);
    }
    for (unsigned attempt = 0; attempt < config_.collision_attempts; ++attempt) {
        Result<Token> token = generate_token(random);
        if (!token) {
            return token;
        }
        if (pending_.size() >= config_.max_pending) {
            return Failure(Status::limit); // the source may have let other threads in
        }
        if (!pending_.find(*token)) {
            pending_.insert(*token, after(now, config_.ttl), {});
            return token;
        }
    }
    return Failure(Status::token_collision);
}

Status TokenStore::expect(const Token &token, Instant now) {
    prune_expired(now);
    if (const Map::Entry old = pending_.find(token)) {
        pending_.erase(old);
    }
    if (pending_.size() >= config_.max_pending) {
        return Status::limit;
    }
    pending_.insert(token, after(now, config_.ttl), {});
    return Status::ok;
}

Status TokenStore::consume_matching(const Token &expected, const Token &presented, Instant now) noexcept {
    for (Map::Entry entry = pending_.first(); entry && is_due(entry.deadline(), now);) {
        const Map::Entry next = entry.next();
        if (entry.key() != expected) {
            pending_.erase(entry);
        }
        entry = next;
    }
    const Map::Entry entry = pending_.find(expected);
    if (!entry) {
        return Status::token_not_pending;
    }
    if (is_due(entry.deadline(), now)) {
        pending_.erase(entry);
        return Status::token_expired;
    }
    if (presented != expected) {
        return Status::token_mismatch;
    }
    pending_.erase(entry);
    return Status::ok;
}

bool TokenStore::revoke(const Token &token) noexcept {
    const Map::Entry entry = pending_.find(token);
    if (!entry) {
        return false;
    }
    pending_.erase(entry);
    return true;
}

std::size_t TokenStore::prune_expired(Instant now, std::size_t max) noexcept {
    std::size_t pruned = 0;
    for (; pruned < max && has_expired(now); ++pruned) {
        pending_.erase(pending_.first());
    }
    return pruned;
}

bool TokenStore::has_expired(Instant now) noexcept {
    const Map::Entry first = pending_.first();
    return first && is_due(first.deadline(), now);
}

} // namespace rp::handoff
