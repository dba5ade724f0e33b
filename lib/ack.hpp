// The registry of issued tokens that wait for the backend's acknowledgement. An entry leaves it exactly once:
// acknowledged, abandoned or expired.
//
// Pure: the caller gives the instant, and locks if there are threads (where both are shared, this registry before the
// token store). The deadline is fixed at registration and is the one deadline of the whole handoff.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "clock.hpp"
#include "deadline_map.hpp"
#include "token_store.hpp"

namespace rp::handoff {

struct BackendIdentity {
    std::string service_name;
    std::uint32_t pid = 0; // 0: unknown
};

class AckRegistry {
  public:
    struct Acknowledged {
        BackendIdentity backend;
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
    explicit AckRegistry(Duration ack_deadline = std::chrono::seconds(5), std::size_t max_pending = 1024) noexcept;

    Duration ack_deadline() const noexcept { return ack_deadline_; }
    std::size_t pending_len() const noexcept { return pending_.size(); }
    std::optional<BackendIdentity> pending_backend(const Token &token);

    // Inserts, or replaces the entry of that token. limit where there is no room for a new one.
    Status register_token(const Token &token, BackendIdentity backend, Instant now);

    // One caller drives a handoff: token_not_pending, or token_in_use where somebody has claimed it already.
    Result<Pending> claim(const Token &token);
    void unclaim(const Token &token) noexcept; // nothing was attempted
    bool is_claimed(const Token &token) noexcept;

    // token_not_pending leaves the store alone. Otherwise the entry and the token end, and the answer is ack_overdue at
    // or after the deadline.
    Result<Acknowledged> acknowledge(TokenStore &store, const Token &token, Instant observed) noexcept;

    // Ends the token in both places, whether or not it was here; tells whether it was.
    bool abandon(TokenStore &store, const Token &token) noexcept;

    // The first entry that is due and claimed by nobody leaves, with its token.
    std::optional<Overdue> expire_next(TokenStore &store, Instant now) noexcept;
    bool has_overdue(Instant now) noexcept { return static_cast<bool>(first_overdue(now)); }

  private:
    struct Waiting {
        BackendIdentity backend;
        Instant issued_at;
        bool claimed = false;
    };
    using Map = DeadlineMap<Token, Waiting, TokenHash>;

    Map::Entry first_overdue(Instant now) noexcept;

    Duration ack_deadline_;
    std::size_t max_pending_;
    Map pending_;
};

} // namespace rp::handoff
