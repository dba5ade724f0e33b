// The broker's tokens, from issue to their one end: token store and acknowledgement registry over one table, under one
// lock.
//
// Safe for several threads. The lock is held for the look-up only.
#pragma once

#include <cstdint>
#include <mutex>
#include <string_view>

#include "base/adaptive_mutex.hpp"
#include "base/clock.hpp"
#include "base/lock_probe.hpp"
#include "handoff/ack_registry.hpp"
#include "handoff/outcome.hpp"
#include "handoff/token_store.hpp"

namespace rp::handoff {

class IssuedTokens {
  public:
    IssuedTokens(TokenStore::Config config, Duration ack_deadline)
        : IssuedTokens(config, ack_deadline, std::make_shared<PendingTokens>()) {}

    // A fresh token, registered: its deadline starts at now. On failure nothing is left behind. claimed: at once, which
    // takes one look-up for all.
    Result<Token> issue(std::string_view service_name, std::uint32_t backend_pid, Instant now, RandomSource &random,
                        bool claimed = false);
    Duration ack_deadline() const noexcept { return acks_.ack_deadline(); }

    // The right to drive this token's handoff to its end. token_not_pending, token_expired (it is gone then),
    // token_in_use.
    Result<AckRegistry::Pending> claim(const Token &token, Instant now);
    void unclaim(const Token &token) noexcept;

    // The end of a claimed token: how long it waited, or why the acknowledgement counts for nothing (ack_overdue,
    // revoked).
    tl::expected<Duration, Cause> confirm(const Token &token, Instant observed) noexcept;

    // The end of a token that nobody has claimed. token_not_pending, token_in_use, ack_overdue.
    Result<Duration> acknowledge(const Token &token, Instant observed) noexcept;

    bool abandon(const Token &token) noexcept;

    // As AckRegistry::expire; `take` is called with the lock held.
    template <class Take>
    std::size_t expire(Instant now, std::size_t max, Take take) noexcept {
        const std::lock_guard<AdaptiveMutex> lock(mutex_);
        return acks_.expire(store_, now, max, take);
    }

    // Drops at most `max` expired tokens; whether anything overdue or expired is left.
    bool prune(Instant now, std::size_t max) noexcept;

    struct Counts {
        std::size_t tokens;
        std::size_t acks;
    };
    Counts counts() const noexcept;

    bool can_be_freed() noexcept { return are_free(mutex_); } // in a forked child

  private:
    IssuedTokens(TokenStore::Config config, Duration ack_deadline, const std::shared_ptr<PendingTokens> &table) noexcept
        : store_(config, table), acks_(ack_deadline, config.max_pending, table) {}

    mutable AdaptiveMutex mutex_;
    TokenStore store_;
    AckRegistry acks_;
};

} // namespace rp::handoff
