// The caller's clock and random source, and the settings that broker and backend have in common.
#pragma once

#include <memory>
#include <vector>

#include "base/clock.hpp"
#include "boundary.hpp"
#include "gate.hpp"
#include "handoff/peer_policy.hpp"
#include "handoff/token.hpp"

namespace rp::handoff::capi {

// What a clock of the caller's reads once its gate is closed. ended: the end of time, so that whatever waits by it gives up.
// stopped: what it read last, so that what is left to be settled is not late.
enum class ClosedClock { ended, stopped };

// Both functions or none: invalid_argument. None: the system's clock. No gate: it is never closed.
Result<std::unique_ptr<TimeSource>> make_time(rp_handoff_now_fn now, rp_handoff_wait_fn wait, void *user_data,
                                              std::shared_ptr<Gate> gate = nullptr,
                                              ClosedClock closed = ClosedClock::ended);

// Once the gate is closed it fails.
std::unique_ptr<RandomSource> make_random(rp_handoff_random_fn random, void *user_data, std::shared_ptr<Gate> gate);

// invalid_argument: unknown flags, too many user ids, or a number without a list.
Result<PeerPolicy> make_peers(std::uint32_t flags, std::uint32_t allowed_flags, const std::uint32_t *uids,
                              std::uint32_t count);

// A time-out in milliseconds of the environment: a positive decimal number, blanks around it, or else the fallback.
Duration environment_timeout(const char *name, Duration fallback) noexcept;

inline Duration duration(std::uint64_t ns) noexcept {
    return Duration(ns);
}
inline std::uint64_t nanoseconds(Instant instant) noexcept {
    return instant.time_since_epoch().count();
}

inline Token to_token(const rp_handoff_token &token) noexcept {
    Token::Bytes bytes{};
    std::copy(std::begin(token.bytes), std::end(token.bytes), bytes.begin());
    return Token(bytes);
}

inline rp_handoff_token to_c(const Token &token) noexcept {
    rp_handoff_token out{};
    std::copy(token.bytes().begin(), token.bytes().end(), std::begin(out.bytes));
    return out;
}

} // namespace rp::handoff::capi
