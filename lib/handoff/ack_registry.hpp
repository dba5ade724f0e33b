// The registry of issued tokens that wait for the backend's acknowledgement. An entry leaves it exactly once:
// acknowledged, abandoned or expired.
//
// Pure: the caller gives the instant, and locks if there are threads (where both are shared, this registry before the
// token store). The deadline is fixed at registration and is the one deadline of the whole handoff.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "base/clock.hpp"
#include "handoff/pending_tokens.hpp"
#include "handoff/service_names.hpp"
#include "handoff/token_store.hpp"

namespace rp::handoff {

struct BackendIdentity {
    ServiceName service_name;
    std::uint32_t pid = 0; // 0: unknown
};

class AckRegistry {
  public:
    struct Acknowledged {
        std::string_view service_name; // until the registry is used again
        std::uint32_t pid;
        Duration waited;
    };
    struct Overdue {
        Token token;
        BackendIdentity backend;
    };
    struct Pending {
        BackendIdentity backend;
        Instant issued_at;
        Instant deadline;
    };

    // Zeros are clamped: the deadline to 1 ms, the bound to 1.
    explicit AckRegistry(Duration ack_deadline = std::chrono::seconds(5), std::size_t max_pending = 1024,
                         std::shared_ptr<PendingTokens> table = std::make_shared<PendingTokens>()) noexcept;

    Duration ack_deadline() const noexcept { return ack_deadline_; }
    std::size_t pending_len() const noexcept { return table_->size(by_ack_deadline); }
    std::optional<BackendIdentity> pending_backend(const Token &token) noexcept;

    // Inserts, or replaces the entry of that token. limit where there is no room for a new one.
    // claimed: by the caller, who drives this handoff from the start.
    Status register_token(const Token &token, std::string_view service_name, std::uint32_t pid, Instant now,
                          bool claimed = false);

    // One caller drives a handoff: token_not_pending, or token_in_use where somebody has claimed it already.
    Result<Pending> claim(const Token &token) noexcept;
    void unclaim(const Token &token) noexcept; // nothing was attempted
    bool is_claimed(const Token &token) noexcept;

    // token_not_pending leaves the store alone. Otherwise the entry and the token end, and the answer is ack_overdue at
    // or after the deadline.
    Result<Acknowledged> acknowledge(TokenStore &store, const Token &token, Instant observed) noexcept;

    // Ends the token in both places, whether or not it was here; tells whether it was.
    bool abandon(TokenStore &store, const Token &token) noexcept;

    // At most `max` entries that are due and claimed by nobody leave, with their tokens, oldest first; how many. Each is
    // told to `take`.
    template <class Take>
    std::size_t expire(TokenStore &store, Instant now, std::size_t max, Take take) noexcept {
        std::size_t count = 0;
        for (PendingTokens::Entry entry = first_overdue(now); entry && count < max; ++count) {
            const PendingTokens::Entry next = next_overdue(entry.next(by_ack_deadline), now);
            take(end_overdue(entry, store));
            entry = next;
        }
        return count;
    }
    bool has_overdue(Instant now) noexcept { return static_cast<bool>(first_overdue(now)); }

  private:
    PendingTokens::Entry find(const Token &token) noexcept { return table_->find(token, by_ack_deadline); }
    PendingTokens::Entry first_overdue(Instant now) noexcept {
        return next_overdue(table_->first(by_ack_deadline), now);
    }
    static PendingTokens::Entry next_overdue(PendingTokens::Entry from, Instant now) noexcept;
    void end(PendingTokens::Entry entry) noexcept;
    Overdue end_overdue(PendingTokens::Entry entry, TokenStore &store) noexcept;

    Duration ack_deadline_;
    std::size_t max_pending_;
    ServiceNames services_;
    std::shared_ptr<PendingTokens> table_;
};

} // namespace rp::handoff
