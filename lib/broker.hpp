// The broker's side as a whole: issues tokens, drives handoffs, counts how they end.
//
// Safe for several threads; nothing is locked while a handoff waits.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "clock.hpp"
#include "issued_tokens.hpp"
#include "orchestrate.hpp"
#include "peer.hpp"

namespace rp::handoff {

class Broker {
  public:
    struct Config {
        TokenStore::Config tokens;
        Duration ack_deadline = std::chrono::seconds(5);
        std::uint32_t max_frame = 64 * 1024;
        PeerPolicy peers;
    };

    struct Request {
        int fd;
        Token token;
        const char *socket_path; // a valid one, or null
        int connection_fd;       // if that is null
        bool trust_connection;
        std::uint64_t correlation_id; // 0: the next
        Transport *transport;         // null: v1
        AckWaiter *waiter;            // null: v1; not null if there is a transport
    };

    struct Report {
        HandoffReport handoff;
        std::uint64_t correlation_id;
        Duration elapsed;
    };

    struct Statistics {
        std::uint64_t issued;
        std::uint64_t completed;
        std::uint64_t revoked;
        std::uint64_t overdue;
        std::array<std::uint64_t, 4> fallbacks_by_owner;  // index: Ownership
        std::array<std::uint64_t, 9> fallbacks_by_reason; // index: Reason
        IssuedTokens::Counts pending;
    };

    // Both sources outlive the broker.
    Broker(Config config, TimeSource &time, RandomSource &random) noexcept
        : config_(std::move(config)), time_(time), random_(random), tokens_(config_.tokens, config_.ack_deadline) {}

    Result<Token> issue(std::string_view service_name, std::uint32_t backend_pid);

    // Failures are the caller's, and nothing was sent then.
    Result<Report> execute(const Request &request);

    Result<Duration> acknowledge(const Token &token, Instant observed) noexcept;
    bool revoke(const Token &token) noexcept;
    std::optional<AckRegistry::Overdue> expire_next() noexcept;

    // After a sweep: drops at most `max` expired tokens, and tells whether anything is left to sweep at once.
    bool prune(std::size_t max) noexcept { return tokens_.prune(time_.now(), max); }

    Statistics statistics() const noexcept;

  private:
    using Counter = std::atomic<std::uint64_t>;

    void count(const Outcome &outcome) noexcept;

    Config config_;
    TimeSource &time_;
    RandomSource &random_;
    IssuedTokens tokens_;
    Counter next_correlation_id_{1};
    Counter issued_{0};
    Counter completed_{0};
    Counter revoked_{0};
    Counter overdue_{0};
    std::array<Counter, 4> fallbacks_by_owner_{};
    std::array<Counter, 9> fallbacks_by_reason_{};
};

} // namespace rp::handoff
