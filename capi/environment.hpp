// The caller's clock and random source, and the settings that broker and backend have in common.
#pragma once

#include <memory>
#include <optional>
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
                                              std::shared_ptr<Gate> gate, Explanation &why,
                                              ClosedClock closed = ClosedClock::ended);

// Once the gate is closed it fails.
std::unique_ptr<RandomSource> make_random(rp_handoff_random_fn random, void *user_data, std::shared_ptr<Gate> gate);

// Whom the caller wants to talk to, and what its members are called.
struct PeerSettings {
    std::uint32_t flags;
    std::uint32_t allowed_flags;
    const std::uint32_t *uids;
    std::size_t uids_length;
    const char *flags_name = "peer_flags";
    const char *uids_name = "peer_uids";
};
// invalid_argument: unknown flags, too many user ids, or a length without a list.
Result<PeerPolicy> make_peers(const PeerSettings &settings, Explanation &why);

// Why a descriptor of the caller's cannot be one. Zero is what a member is that was forgotten.
enum class Zero { is_forgotten, is_allowed };
Status check_descriptor(int fd, Zero zero, std::string_view name, Explanation &why) noexcept;

bool is_trust(std::int32_t trust) noexcept;
Status check_trust(std::int32_t trust, std::string_view name, Explanation &why) noexcept;

// A time-out in milliseconds of the environment: a positive decimal number, blanks around it, or else the fallback.
Duration environment_timeout(const char *name, Duration fallback) noexcept;

inline Duration duration(std::uint64_t ns) noexcept {
    return Duration(ns);
}

// The longest that a setting may be where nothing shorter is: what is added to an instant has to fit.
constexpr Duration longest_setting = std::chrono::hours(24 * 365);
// A duration of the caller's: zero is the default, and more than the longest is the longest.
inline Duration limited(std::uint64_t ns, Duration fallback, Duration longest = longest_setting) noexcept {
    return std::min(or_default(duration(ns), fallback), longest);
}

// The wire's units, for members in nanoseconds.
constexpr std::uint64_t ns_per_ms = 1'000'000;
constexpr std::uint64_t ns_per_second = 1'000'000'000;
constexpr std::uint64_t whole_seconds(std::uint64_t ns) noexcept {
    return ns / ns_per_second + (ns % ns_per_second == 0 ? 0 : 1);
}
constexpr std::uint64_t nanoseconds_of(std::uint64_t count, std::uint64_t unit) noexcept {
    return count > UINT64_MAX / unit ? UINT64_MAX : count * unit;
}

// How long a call may wait. Nothing: without limit.
inline std::optional<Duration> timeout(std::uint64_t ns) noexcept {
    constexpr Duration longest = 100 * longest_setting; // whatever the clock shows, an instant plus this fits
    return ns == RP_HANDOFF_FOREVER ? std::nullopt : std::optional(std::min(duration(ns), longest));
}
inline std::uint64_t nanoseconds(Instant instant) noexcept {
    return instant.time_since_epoch().count();
}

// A token of the C API that goes on no further than this scope.
class WipedAtEnd {
  public:
    explicit WipedAtEnd(rp_handoff_token &token) noexcept : token_(token) {}
    WipedAtEnd(const WipedAtEnd &) = delete;
    WipedAtEnd &operator=(const WipedAtEnd &) = delete;
    ~WipedAtEnd() { rp_handoff_token_wipe(&token_); }

  private:
    rp_handoff_token &token_;
};

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
