// The v1 exchange on the broker's side: dial, look who is there, send descriptor, token and offer as one message, read
// the answer from the same connection.
#pragma once

#include "orchestrate.hpp"
#include "peer.hpp"
#include "unique_fd.hpp"

namespace rp::handoff {

class V1Transport final : public Transport {
  public:
    // trusted: the caller vouches for the connection that the attempt brings along, and its peer is not checked.
    V1Transport(const PeerPolicy &peers, bool trusted, TimeSource &time) noexcept
        : peers_(peers), trusted_(trusted), time_(time) {}

    Handoff::Action send(const Attempt &attempt, Handoff &handoff, Text &detail) noexcept override;
    int connection() const noexcept override { return connection_; }

  private:
    tl::expected<void, TransportError> connect(const Attempt &attempt) noexcept;
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

} // namespace rp::handoff
