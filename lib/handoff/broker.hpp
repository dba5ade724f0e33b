// The broker's side as a whole: issues tokens, says whether to attempt, drives handoffs, counts how they end and
// learns from it for the next attempt.
//
// Safe for several threads; nothing is locked while a handoff waits.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string_view>

#include "base/clock.hpp"
#include "base/lock_probe.hpp"
#include "handoff/blocking.hpp"
#include "handoff/in_flight.hpp"
#include "handoff/issued_tokens.hpp"
#include "handoff/peer_policy.hpp"
#include "handoff/policy.hpp"
#include "handoff/pressure.hpp"

namespace rp::handoff {

class Broker {
  public:
    struct Config {
        TokenStore::Config tokens;
        Duration ack_deadline = std::chrono::seconds(5);
        std::uint32_t max_frame = 64 * 1024;
        PeerPolicy peers;
        AttemptPolicy::Config policy;
        std::uint32_t recovery_accepts = 3;
        std::uint64_t in_flight = 512; // unanswered, over all sessions together
    };

    // What the policy is asked about, and what the attempt counts for.
    struct Subject {
        BackendKey backend;
        AttemptInputs inputs; // fd_pressure: beside the broker's own guard
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
        std::size_t backends_with_failures;
        PressureGuard::Statistics pressure;
    };

    // Both sources outlive the broker.
    Broker(Config config, TimeSource &time, RandomSource &random, InFlight::Unread unread, const MessageMemory &memory)
        : config_(std::move(config)), time_(time), random_(random), tokens_(config_.tokens, config_.ack_deadline),
          policy_(config_.policy), pressure_(config_.recovery_accepts), in_flight_(config_.in_flight, unread, memory) {}

    Result<Token> issue(std::string_view service_name, std::uint32_t backend_pid);

    // Of an attempt that was not execute's: memory for its record, taken before anything is sent, and then the record.
    class RecordRoom {
      public:
        RecordRoom(Broker &broker, bool wanted);
        RecordRoom(const RecordRoom &) = delete;
        RecordRoom &operator=(const RecordRoom &) = delete;
        ~RecordRoom();

      private:
        Broker &broker_;
        bool wanted_;
    };

    // Drives a token's handoff to its end: drive(tokens, pending, correlation id) answers its HandoffReport and throws
    // nothing. It is not called where the policy objects. Failures are the caller's, and nothing was sent then.
    // correlation_id 0: the next.
    template <class Drive>
    Result<Report> execute(const Token &token, std::uint64_t correlation_id, std::optional<Subject> subject,
                           Drive drive) {
        const Instant start = time_.now();
        const RecordRoom room(*this, subject.has_value());
        const Result<AckRegistry::Pending> pending = tokens_.claim(token, start);
        if (!pending) {
            return Failure(pending.error());
        }
        // From here on nothing throws: a claimed token is ended here, and there must be an outcome.
        const std::uint64_t id = correlation_id != 0 ? correlation_id : next_correlation_id();
        const std::optional<Decision> decision = subject ? objection(*subject) : std::nullopt;
        Report report{decision ? refuse_to_attempt(token, *decision) : drive(tokens_, *pending, id), id, {}};
        report.elapsed = elapsed(start, time_.now());
        count(report.handoff.outcome);
        record(subject, report.handoff.outcome);
        return report;
    }

    // For sessions: a token that the caller drives from here on, issued now unless it is given; until conclude, or until
    // give_back where nothing was attempted, after which everything is as it was before.
    struct Lease {
        Token token;
        Instant begun;
        Instant deadline;
        bool is_own; // issued for this
    };
    Result<Lease> lease(std::string_view service_name, std::uint32_t backend_pid, const Token *token, Instant now);
    void give_back(const Lease &lease) noexcept;
    void conclude(const Token &token, const Outcome &outcome, Instant observed) noexcept;
    InFlight &in_flight() noexcept { return in_flight_; }

    // Nothing: attempt.
    std::optional<Decision> objection(const Subject &subject) noexcept;
    Decision record_failure(BackendKey backend, FailureClass failure);
    void record_success(const BackendKey &backend) noexcept;
    std::uint32_t failures(const BackendKey &backend) noexcept;
    PressureGuard &pressure() noexcept { return pressure_; }

    std::uint64_t next_correlation_id() noexcept { return next_correlation_id_++; }
    TimeSource &time() noexcept { return time_; }
    const Config &config() const noexcept { return config_; }

    Result<Duration> acknowledge(const Token &token, Instant observed) noexcept;
    bool revoke(const Token &token) noexcept;

    struct Swept {
        std::size_t count;
        bool more; // is left to sweep at once
    };
    // Ends at most `max` handoffs that are overdue and driven by nobody, oldest first, and tells each to `take`; then
    // drops at most as many expired tokens. Others have the lock in between.
    template <class Take>
    Swept sweep(std::size_t max, Take take) noexcept {
        constexpr std::size_t at_once = 64;
        const Instant now = time_.now();
        std::size_t count = 0;
        for (std::size_t ended = at_once; ended == at_once && count < max; count += ended) {
            ended = tokens_.expire(now, std::min(at_once, max - count), take);
        }
        overdue_ += count;
        return {count, tokens_.prune(now, max)};
    }

    Statistics statistics() const noexcept;

    // From now on time and random source may be dead: nothing new begins, which is told as closed.
    void lose_sources() noexcept { has_sources_ = false; }
    bool has_sources() const noexcept { return has_sources_; }

    // In a forked child: whether no thread of the parent held a lock of this at the fork.
    bool can_be_freed() noexcept {
        return are_free(policy_mutex_) && tokens_.can_be_freed() && pressure_.can_be_freed() &&
               in_flight_.can_be_freed();
    }

    void record(std::optional<Subject> &subject, const Outcome &outcome) noexcept;

  private:
    using Counter = std::atomic<std::uint64_t>;

    HandoffReport refuse_to_attempt(const Token &token, const Decision &decision) noexcept;
    void count(const Outcome &outcome) noexcept;

    Config config_;
    TimeSource &time_;
    RandomSource &random_;
    IssuedTokens tokens_;
    mutable std::mutex policy_mutex_;
    AttemptPolicy policy_;
    std::size_t recorders_ = 0; // executes under way that will record
    PressureGuard pressure_;
    InFlight in_flight_;
    std::atomic<bool> has_sources_{true};
    Counter next_correlation_id_{1};
    Counter issued_{0};
    Counter completed_{0};
    Counter revoked_{0};
    Counter overdue_{0};
    std::array<Counter, 4> fallbacks_by_owner_{};
    std::array<Counter, 9> fallbacks_by_reason_{};
};

} // namespace rp::handoff
