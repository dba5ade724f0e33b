// The broker's first contact with a client of the v1 protocol: reads its Hello, answers it, and hands the connection
// over where client, service and policy allow.
//
// Blocking, one visit per call, safe for several threads. It writes to the client what the protocol wants it to, each
// frame in one write: the reply, and, once the backend has adopted the connection and never otherwise, the ready
// frame. Where the backend is reached through a session the reply is held back until the verdict: the backend writes
// reply and ready frame as the first bytes of a connection that it adopted, and on any other only the broker does, with a
// reply that promises nothing.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

#include "base/counts_per_window.hpp"
#include "base/wiped_string.hpp"
#include "handoff/broker.hpp"
#include "session/broker_session.hpp"
#include "wire/hello.hpp"

namespace rp::handoff {

struct Service {
    std::string name;
    std::string version;                             // of the daemon, told to the client
    std::string backend_endpoint;                    // where a client reconnects to; always told
    std::string handoff_endpoint;                    // where the backend takes offers; empty: none, and no handoff
    std::shared_ptr<session::BrokerSession> session; // instead of that, if not null
    std::vector<std::string> allowed_versions;       // that a client may want; empty: any
    bool handoff_enabled = true;
    bool adopted_backend = false; // inherited from an earlier broker
    std::uint64_t capabilities = 0;
    std::uint64_t keepalive_secs = 0;
    PeerPolicy clients;
    BackendKey backend;
};

class FrontDoor {
  public:
    struct Config {
        Duration hello_timeout = std::chrono::seconds(30);
        std::uint32_t max_hello = 64 * 1024;
        std::uint32_t hellos_per_window = 1000; // of one client process; see ClientKey
        Duration window = std::chrono::seconds(1);
        Duration pressure_retry = std::chrono::milliseconds(1000);
    };

    struct Visit {
        enum class Result : std::int32_t { dropped = 1, refused = 2, reconnect = 3, handed_off = 4 };
        Result result = Result::dropped;
        Status status = Status::ok; // of a dropped one
        wire::RefusalCode code = wire::RefusalCode::unspecified;
        std::uint64_t connection_id = 0;
        std::optional<Broker::Report> handoff; // if one was attempted
        Reason unattempted = Reason::none;     // of a reconnect: the policy's objection
        std::optional<Duration> retry_after;   // likewise, if it says so
        bool ready_delivered = false;
        Text detail; // why it was dropped, refused or not attempted
    };

    // Each handoff that was attempted is in the broker's. Of those that were not, each is in one of the last three.
    struct Statistics {
        std::array<std::uint64_t, 5> visits;      // index: Visit::Result
        std::array<std::uint64_t, 9> unattempted; // index: Reason, of the policy's objection
        std::uint64_t failed_tokens;              // none could be issued
        std::uint64_t failed_offers;              // session or broker did not take the handoff on
    };

    FrontDoor(std::shared_ptr<Broker> broker, Config config) noexcept
        : kept_broker_(std::move(broker)), broker_(*kept_broker_), config_(config), hellos_(config.window, max_peers) {}

    void put_service(Service service); // adds, or replaces the one of that name
    bool remove_service(const std::string &name);

    const Broker &broker() const noexcept { return broker_; }

    // Borrows the client's connection, with which nothing else may deal meanwhile.
    Visit serve(int client);

    Statistics statistics() const noexcept;

    // In a forked child: whether no thread of the parent held a lock of this, or of what this keeps, at the fork.
    bool can_be_freed() noexcept;

  private:
    static constexpr std::size_t max_peers = 4096;
    using ServicePtr = std::shared_ptr<const Service>;

    // Whose Hellos are counted together: a process of a user. The process is known by its pid; where that is 0, in another
    // pid namespace, by its number in pidfs. A kernel before 6.9 has none: then all such processes of a user are one, which
    // is no less than fair to other users.
    struct ClientKey {
        std::uint32_t uid = 0;
        bool is_pid = true;
        std::uint64_t process = 0;
        friend bool operator==(const ClientKey &a, const ClientKey &b) noexcept {
            return a.uid == b.uid && a.is_pid == b.is_pid && a.process == b.process;
        }
    };
    struct ClientHash {
        std::size_t operator()(const ClientKey &key) const noexcept;
    };

    struct Refusal {
        wire::RefusalCode code;
        Text reason;
        Duration retry_after{};
    };
    struct Guest {
        int fd;
        Instant deadline;
        PeerCredentials peer;
        std::uint64_t request_id;

        ClientKey key() const noexcept;
        bool contradicts(std::uint32_t claimed_pid) const noexcept;
    };

    ServicePtr find_service(std::string_view name) const;
    std::optional<Refusal> object(const Guest &guest, const wire::Hello &hello, const Service *service);
    std::optional<Refusal> over_limit(const Guest &guest);
    Visit receive(int client);
    Visit refuse(const Guest &guest, const Refusal &refusal);
    Result<Token> token_for(const Service &service, const Broker::Subject &subject, Visit &visit);
    Visit negotiate(const Guest &guest, const wire::Hello &hello, const Service &service);
    void hand_off_by_session(Visit &visit, const Guest &guest, const Service &service,
                             std::optional<Broker::Subject> &subject, const wire::HelloReply &answer,
                             const Token &token);
    void offer_failed(Visit &visit, Status status) noexcept;
    static WipedString frame_of(const Guest &guest, const wire::HelloReply &reply);
    Status reply(const Guest &guest, const wire::HelloReply &reply);
    void hand_off(Visit &visit, const Guest &guest, const Service &service, const Token &token,
                  Broker::Subject subject);

    const std::shared_ptr<Broker> kept_broker_;
    Broker &broker_;
    const Config config_;
    mutable std::shared_mutex services_mutex_;
    std::map<std::string, ServicePtr, std::less<>> services_;
    std::mutex hellos_mutex_;
    Windows<ClientKey, ClientHash> hellos_;

    using Counter = std::atomic<std::uint64_t>;
    std::array<Counter, 5> visits_{};
    std::array<Counter, 9> unattempted_{};
    Counter failed_tokens_{0};
    Counter failed_offers_{0};
};

} // namespace rp::handoff
