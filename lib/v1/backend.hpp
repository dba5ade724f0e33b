// The backend's side as a whole: listens, receives offers from several brokers at once, and answers them.
//
// One engine that never waits inside (advance), driven by next_offer, which does. Nothing that a peer gave, and no socket
// that it may have sent something by, is closed under the lock: what a turn leaves is closed after it (leavings.hpp), and a
// refusal is told after its duplicate was closed, both unlocked. Several threads may call next_offer:
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
#include "v1/leavings.hpp"

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
        std::uint64_t silent_connections; // of the rejected offers: connected, and said nothing in time
        std::uint64_t session_brokers;    // of the rejected offers: spoke the protocol of sessions
    };

    static Result<std::shared_ptr<Backend>> create(Config config, std::unique_ptr<TimeSource> time);
    Backend(Config config, std::unique_ptr<TimeSource> time, os::Poller poller);

    // Once. What os::Endpoint::listen answers, and limit.
    Status listen(const char *path, Explanation &why);
    // trusted: the caller vouches for the peers. Others may go on accepting from the endpoint too.
    Status add_listener(std::shared_ptr<os::Endpoint> endpoint, bool trusted);
    // Both take the descriptor on success.
    Status add_listener(int fd, bool trusted, Explanation &why);
    Status add_connection(int fd, bool trusted);

    Status expect(const Token &token);
    bool revoke(const Token &token) noexcept;
    Status consume(const Token &expected, ByteView presented) noexcept;

    // No timeout: waits without limit. timed_out, closed (after stop), system (the kernel does not say what is ready).
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
        std::shared_ptr<os::Endpoint> endpoint;
        bool trusted;
    };

    // All of these with the lock held; settle lets go of it in between.
    Status add(const Listener &listener);
    Status advance(Instant now, Leavings &leavings);
    void look_at(os::Poller::Id id, Instant now, Leavings &leavings);
    void accept_from(const Listener &listener, Instant now, Leavings &leavings);
    void receive(Connection &connection, Instant now, Leavings &leavings);
    void receive_nothing(Connection &connection, Status reason, Leavings &leavings) noexcept;
    void decide(Connection &connection, Instant now, Leavings &leavings);
    Status admit(const Token &sideband, ByteView presented, Instant now);
    void remember(const Token &token, Instant now);
    void reject(Connection &connection, Status reason) noexcept;
    void settle(Lock &lock, Leavings &leavings) noexcept;
    Connection *take_rejected() noexcept;
    void rest(Connection &connection, Instant now, Leavings &leavings) noexcept;
    void drop(Connection &connection, Leavings &leavings) noexcept;
    void expire(Instant now, Leavings &leavings) noexcept;
    void enable_listeners(Instant now) noexcept;
    Instant nearest_deadline() noexcept;
    std::unique_ptr<Offer> take_ready();

    // Without it.
    Status take_connection(int fd, bool trusted);
    void tell_rejection(Connection &connection) noexcept;

    // For offers, without it.
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
    bool has_path_ = false;
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
    std::atomic<std::uint64_t> silent_connections_{0};
    std::atomic<std::uint64_t> session_brokers_{0};
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
