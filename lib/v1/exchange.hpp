// The v1 exchange on the broker's side: dial, look who is there, send descriptor, token and offer as one message, read
// the answer from the same connection.
#pragma once

#include "base/unique_fd.hpp"
#include "handoff/blocking.hpp"
#include "handoff/broker.hpp"
#include "handoff/peer_policy.hpp"

namespace rp::handoff {

class V1Transport final : public Transport {
  public:
    // trusted: the caller vouches for the connection that the attempt brings along, and its peer is not checked.
    V1Transport(const PeerPolicy &peers, bool trusted, TimeSource &time) noexcept
        : peers_(peers), trusted_(trusted), time_(time) {}

    V1Transport(const V1Transport &) = delete;
    V1Transport &operator=(const V1Transport &) = delete;
    ~V1Transport() override; // ends the connection, if it dialled one

    Handoff::Action send(const Attempt &attempt, Handoff &handoff, Text &detail) noexcept override;
    int connection() const noexcept override { return connection_; }

  private:
    tl::expected<void, TransportError> connect(const Attempt &attempt, Text &detail) noexcept;
    tl::expected<void, TransportError> dial(const Attempt &attempt, Text &detail) noexcept;
    Handoff::Action finish(const Attempt &attempt, Handoff &handoff, std::size_t sent, Text &detail) noexcept;

    const PeerPolicy &peers_;
    bool trusted_;
    TimeSource &time_;
    UniqueFd dialled_;
    int connection_ = -1;
};

class V1AckReader final : public AckWaiter {
  public:
    V1AckReader(std::uint32_t max_frame, TimeSource &time) noexcept : max_frame_(max_frame), time_(time) {}

    tl::expected<Instant, AckFailure> await(const Attempt &attempt, int connection, Text &detail) noexcept override;

  private:
    std::uint32_t max_frame_;
    TimeSource &time_;
};

struct V1Request {
    int fd;
    Token token;
    const char *socket_path; // a valid one, or null
    int connection_fd;       // if that is null
    bool trust_connection;
    std::uint64_t correlation_id;           // 0: the broker's next
    Transport *transport;                   // null: the one above
    AckWaiter *waiter;                      // null: the one above; not null if there is a transport
    std::optional<Broker::Subject> subject; // none: the policy is neither asked nor told
};

// A whole handoff by the broker, blocking. Failures are the caller's, and nothing was sent then.
Result<Broker::Report> execute_v1(Broker &broker, V1Request request);

} // namespace rp::handoff
