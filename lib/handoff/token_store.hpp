// The one-time tokens that are pending: each is consumed, revoked or expires, once.
//
// Pure: the caller gives the instant, and locks if there are threads. A token is dead at its expiry, not after it.
#pragma once

#include <cstddef>
#include <memory>

#include "base/clock.hpp"
#include "handoff/pending_tokens.hpp"
#include "handoff/token.hpp"

namespace rp::handoff {

class TokenStore {
  public:
    // Zeros are clamped: a count to 1, a duration to 1 ms.
    struct Config {
        std::size_t max_pending = 1024;
        Duration ttl = std::chrono::seconds(30);
        unsigned collision_attempts = 16;
    };

    TokenStore() : TokenStore(Config{}) {}
    explicit TokenStore(Config config,
                        std::shared_ptr<PendingTokens> table = std::make_shared<PendingTokens>()) noexcept;
    TokenStore(TokenStore &&) noexcept = default; // and no copies, which would share a table

    const Config &config() const noexcept { return config_; }

    // Tokens held, expired ones that were not dropped yet included.
    std::size_t pending_len() const noexcept { return table_->size(by_expiry); }
    bool contains(const Token &token) noexcept { return static_cast<bool>(find(token)); }

    // Expires, then: limit (the source is not asked), random, token_collision.
    Result<Token> issue(Instant now, RandomSource &random);

    // Makes a token pending that was born elsewhere; one that is pending already starts anew. Expires, then: limit.
    Status expect(const Token &token, Instant now);

    // Expires all but `expected`. In this order: token_not_pending, token_expired (it is gone then, whatever was
    // presented), token_mismatch (nothing is consumed), ok.
    Status consume_matching(const Token &expected, const Token &presented, Instant now) noexcept;

    // Whether it was pending.
    bool revoke(const Token &token) noexcept;

    // What has expired by `now` is pending no more, and stands in nobody's way. It is dropped a bounded number at a time,
    // some of it at once, so that no call takes long.
    void expire(Instant now) noexcept { table_->expire(now); }

    // Drops at most `max` expired tokens, oldest first; how many.
    std::size_t prune_expired(Instant now, std::size_t max = SIZE_MAX) noexcept { return table_->drop_due(now, max); }
    bool has_expired(Instant now) noexcept { return table_->has_due(now); }

  private:
    using Entry = PendingTokens::Entry;

    Entry find(const Token &token) noexcept { return table_->find(token, by_expiry); }
    Entry add(const Token &token, Instant now) { return table_->put(token, by_expiry, after(now, config_.ttl)); }
    void end(Entry entry) noexcept { table_->erase(entry, by_expiry); }
    Status consume(const Token &expected, const Token &presented, Instant now) noexcept;

    Config config_;
    std::shared_ptr<PendingTokens> table_;
};

} // namespace rp::handoff
