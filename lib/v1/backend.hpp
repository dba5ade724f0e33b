// The backend's side as a whole: listens, receives offers from several brokers at once, and answers them.
//
// One engine that never waits inside (advance), driven by next_offer, which does. Several threads may call next_offer:
// they all wait on the poller's one descriptor with nothing locked, and whoever wakes does the work under the lock. A
// thread that leaves nudges the others, and so does an answer that brings the nearest deadline nearer, so that there is
// always one that waits for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/clock.hpp"
#include "base/deadline_map.hpp"
#include "base/lock_probe.hpp"
#include "base/unique_fd.hpp"
#include "handoff/peer_policy.hpp"
#include "handoff/token_store.hpp"
#include "os/endpoint.hpp"
#include "os/poller.hpp"
#include "v1/connections.hpp"

namespace rp::handoff {

class Offer;

class Backend : public std::enable_shared_from_this<Backend> {
  public:
    enum class TokenPolicy { from_broker, expected };

    struct Config {
        TokenPolicy token_policy = TokenPolicy::from_broker;
        TokenStore::Config tokens;
        std::size_t max_connections = 64;
        Duration io_timeout = std::chrono::seconds(5);
        std::uint32_t max_frame = 64 * 1024;
        PeerPolicy peers;
    };

    struct Statistics {
        std::size_t connections;
        std::size_t unanswered;
        std::uint64_t accepted;
        std::uint64_t refused;
        std::uint64_t rejected_peers;
        std::uint64_t rejected_tokens;
        std::uint64_t rejected_offers;
        std::uint64_t answers_undelivered;
    };

    static Result<std::shared_ptr<Backend>> create(Config config, std::unique_ptr<TimeSource> time);
    Backend(Config config, std::unique_ptr<TimeSource> time, os::Poller poller);

    Status listen(const char *path);
    // Both take the descriptor on success. trusted: the caller vouches for the peers.
    Status add_listener(int fd, bool trusted);
    Status add_connection(int fd, bool trusted);

    Status expect(const Token &token);
    bool revoke(const Token &token) noexcept;
    Status consume(const Token &expected, ByteView presented) noexcept;

    // No timeout: waits without limit. timed_out, closed (after stop).
    Result<std::unique_ptr<Offer>> next_offer(std::optional<Duration> timeout);

    // For event loops: next_offer has something to do when this is readable, and at this instant.
    int fd() const noexcept { return poller_.fd(); }
    Instant next_deadline() noexcept;
    Instant now() noexcept { return time_->now(); }

    void stop() noexcept;                                     // async-signal-safe
    void shutdown() noexcept;                                 // refuses what nobody took, closes what no offer needs
    bool can_be_freed() noexcept { return are_free(mutex_); } // in a forked child: no thread was at work

    Statistics statistics() noexcept;

  private:
    friend Offer;
    using Lock = std::unique_lock<std::mutex>;

    struct Nothing {};
    struct Departure {
        Backend &backend;
        ~Departure();
    };
    struct Listener {
        int fd;
        bool trusted;
        UniqueFd owned; // the same, if it came from outside
    };

    // All of these with the lock held.
    Status add(Listener listener);
    void advance(Instant now);
    void accept_from(const Listener &listener, Instant now);
    void receive(Connection &connection, Instant now);
    Status admit(const Token &sideband, ByteView presented, Instant now);
    void remember(const Token &token, Instant now);
    void reject(Connection &connection, Status reason, Instant now) noexcept;
    void rest(Connection &connection, Instant now) noexcept;
    void drop(Connection &connection) noexcept;
    void expire(Instant now) noexcept;
    void enable_listeners(Instant now) noexcept;
    Instant nearest_deadline() noexcept;
    std::unique_ptr<Offer> take_ready();

    // For offers.
    Status consume(const Token &token) noexcept;
    void answered(Connection &connection, bool usable) noexcept;

    const Config config_;
    const std::unique_ptr<TimeSource> time_;
    os::Poller poller_;
    std::atomic<bool> stopped_{false};

    std::mutex mutex_;
    bool shut_ = false;
    TokenStore tokens_;
    DeadlineMap<Token, Nothing, TokenHash> used_; // not to be taken from a broker again
    std::optional<os::Endpoint> endpoint_;
    std::unordered_map<os::Poller::Id, Listener> listeners_;
    Connections connections_;
    os::Poller::Id next_id_ = os::Poller::first_free_id;
    std::size_t waiters_ = 0;
    Instant asleep_until_{}; // for what waiters and event loops sleep, unless they are woken; long past while none does
    bool listening_ = true;
    Instant accept_again_at_{}; // after accept(2) found no descriptors

    std::atomic<std::uint64_t> accepted_{0};
    std::atomic<std::uint64_t> refused_{0};
    std::atomic<std::uint64_t> rejected_peers_{0};
    std::atomic<std::uint64_t> rejected_tokens_{0};
    std::atomic<std::uint64_t> rejected_offers_{0};
    std::atomic<std::uint64_t> answers_undelivered_{0};
};

// A connection that a broker offers, with the duty to answer once. Keeps what it needs of its backend alive.
class Offer {
  public:
    struct Info {
        std::string service_name;
        std::uint64_t correlation_id;
        PeerCredentials peer;
        Instant received_at;
        Token token;
    };

    // connection is one of `backend` that is being offered; `fd` is what came over it.
    Offer(std::shared_ptr<Backend> backend, Connection &connection, Info info) noexcept
        : backend_(std::move(backend)), connection_(connection), info_(std::move(info)) {}
    Offer(const Offer &) = delete;
    Offer &operator=(const Offer &) = delete;
    ~Offer(); // refuses if there was no answer

    const Info &info() const noexcept { return info_; }

    struct Accepted {
        UniqueFd fd;
        bool delivered; // the acknowledgement
    };
    Result<Accepted> accept() noexcept;       // answered, token_expired, token_not_pending
    Status refuse(std::string_view) noexcept; // ok, ack_undelivered, answered

    void abandon() noexcept { answered_ = true; } // in a forked child: no word to anybody
    bool can_be_freed() noexcept { return backend_->can_be_freed(); }

  private:
    bool answer(bool accepted, std::string_view text) noexcept;

    std::shared_ptr<Backend> backend_;
    Connection &connection_;
    Info info_;
    std::atomic<bool> answered_{false};
};

} // namespace rp::handoff
