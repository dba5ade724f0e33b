#include "handoff/token_store.hpp"

#include <algorithm>

namespace rp::handoff {

TokenStore::TokenStore(Config config, std::shared_ptr<PendingTokens> table) noexcept
    : config_{std::max<std::size_t>(config.max_pending, 1),
              config.ttl.count() == 0 ? std::chrono::milliseconds(1) : config.ttl,
              std::max(config.collision_attempts, 1U)},
      table_(std::move(table)) {}

Result<Token> TokenStore::issue(Instant now, RandomSource &random) {
    expire(now);
    if (pending_len() >= config_.max_pending) {
        return Failure(Status::limit);
    }
    for (unsigned attempt = 0; attempt < config_.collision_attempts; ++attempt) {
        Result<Token> token = generate_token(random);
        if (!token) {
            return token;
        }
        if (pending_len() >= config_.max_pending) {
            return Failure(Status::limit); // the source may have let other threads in
        }
        if (add(*token, now)) {
            return token;
        }
    }
    return Failure(Status::token_collision);
}

Status TokenStore::expect(const Token &token, Instant now) {
    expire(now);
    if (const Entry old = find(token)) {
        end(old);
    }
    if (pending_len() >= config_.max_pending) {
        return Status::limit;
    }
    add(token, now);
    return Status::ok;
}

Status TokenStore::consume_matching(const Token &expected, const Token &presented, Instant now) noexcept {
    const Status status = consume(expected, presented, now);
    expire(now); // not `expected`, which is alive or gone
    return status;
}

Status TokenStore::consume(const Token &expected, const Token &presented, Instant now) noexcept {
    const Entry entry = find(expected);
    if (!entry) {
        return Status::token_not_pending;
    }
    const bool expired = is_due(entry.deadline(by_expiry), now);
    if (!expired && presented != expected) {
        return Status::token_mismatch;
    }
    end(entry);
    return expired ? Status::token_expired : Status::ok;
}

bool TokenStore::revoke(const Token &token) noexcept {
    const Entry entry = find(token);
    if (!entry) {
        return false;
    }
    end(entry);
    return true;
}

} // namespace rp::handoff
