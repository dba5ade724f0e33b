// The one-time tokens that are pending: each is consumed, revoked or expires, once.
//
// Pure: the caller gives the instant, and locks if there are threads. A token is dead at its expiry, not after it.
#pragma once

#include <cstddef>

#include "clock.hpp"
#include "deadline_map.hpp"
#include "token.hpp"

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
    explicit TokenStore(Config config) noexcept;

    const Config &config() const noexcept { return config_; }

    // Entries held, expired ones that were not pruned yet included.
    std::size_t pending_len() const noexcept { return pending_.size(); }
    bool contains(const Token &token) noexcept { return static_cast<bool>(pending_.find(token)); }

    // Prunes, then: limit (the source is not asked), random, token_collision.
    Result<Token> issue(Instant now, RandomSource &random);

    // Makes a token pending that was born elsewhere; one that is pending already starts anew. Prunes, then: limit.
    Status expect(const Token &token, Instant now);

    // Prunes everything expired but `expected`, then in this order: token_not_pending, token_expired (it is gone then,
    // whatever was presented), token_mismatch (nothing is consumed), ok.
    Status consume_matching(const Token &expected, const Token &presented, Instant now) noexcept;

    // Whether it was pending.
    bool revoke(const Token &token) noexcept;

    // Removes at most `max` expired entries, oldest first; how many.
    std::size_t prune_expired(Instant now, std::size_t max = SIZE_MAX) noexcept;
    bool has_expired(Instant now) noexcept;

  private:
    struct Nothing {};
    using Map = DeadlineMap<Token, Nothing, TokenHash>;

    Config config_;
    Map pending_;
};

} // namespace rp::handoff
