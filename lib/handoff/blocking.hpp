// One handoff from claimed token to outcome, blocking: drives the state machine with a transport and a waiter.
//
// Policy-free and without a socket of its own: the transport and the waiter are those of v1.hpp, or the caller's.
// Whatever they do, afterwards the token is gone from store and registry, and the caller's descriptor is as it was.
#pragma once

#include <optional>
#include <string_view>

#include "base/clock.hpp"
#include "base/text.hpp"
#include "handoff/issued_tokens.hpp"
#include "handoff/machine.hpp"
#include "handoff/outcome.hpp"
#include "handoff/token.hpp"

namespace rp::handoff {

// What a transport is asked to send. Everything is borrowed.
struct Attempt {
    int fd = -1;
    const char *socket_path = nullptr; // one of these two
    int connection_fd = -1;
    ByteView message; // token and framed offer
    Instant deadline;
    const Token &token;
    const char *service_name;
    std::uint32_t backend_pid;
    std::uint64_t correlation_id;
};

class Transport {
  public:
    Transport() = default;
    Transport(const Transport &) = delete;
    Transport &operator=(const Transport &) = delete;
    virtual ~Transport() = default;

    // Called once. Feeds the machine with what happened until that is no longer queued or sending, and answers the last
    // action. Describes a failure in `detail`.
    virtual Handoff::Action send(const Attempt &attempt, Handoff &handoff, Text &detail) noexcept = 0;

    // Borrowed: the connection on which the backend answers, or -1 where only the waiter knows.
    virtual int connection() const noexcept = 0;

    virtual Handoff::Model model() const noexcept { return Handoff::Model::descriptor; }
};

struct AckFailure {
    Cause cause;
    int os_error = 0;
};

class AckWaiter {
  public:
    AckWaiter() = default;
    AckWaiter(const AckWaiter &) = delete;
    AckWaiter &operator=(const AckWaiter &) = delete;
    virtual ~AckWaiter() = default;

    // Called at most once, after everything was sent: the instant at which an acceptance was observed, or the failure,
    // where backend_refused is only for an explicit, well-formed, related refusal.
    virtual tl::expected<Instant, AckFailure> await(const Attempt &attempt, int connection, Text &detail) noexcept = 0;
};

struct HandoffReport {
    Outcome outcome;
    Duration waited{};                   // completed: from issue to the acknowledgement
    std::optional<Duration> retry_after; // of a rate limit
    Text detail;                         // of a fallback
};

HandoffReport orchestrate(IssuedTokens &tokens, const Attempt &attempt, Transport &transport, AckWaiter &waiter,
                          TimeSource &time) noexcept;

} // namespace rp::handoff
