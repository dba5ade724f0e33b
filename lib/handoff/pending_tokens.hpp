// The table of the tokens that are pending. Two rooms know a token for reasons of their own: the token store until it is
// consumed or expires, the acknowledgement registry while the backend's answer is awaited. They may share one table, so
// that a token that is in both, as all that a broker issues are, is kept and looked for once.
//
// Entries are for the two rooms to make and to end; each touches its own order only.
#pragma once

#include <cstdint>

#include "base/clock.hpp"
#include "base/deadline_map.hpp"
#include "handoff/service_names.hpp"
#include "handoff/token.hpp"

namespace rp::handoff {

// What the registry notes down.
struct Registration {
    Instant issued_at;
    ServiceNames::Name *service = nullptr;
    std::uint32_t pid = 0;
    bool claimed = false;
};

using PendingTokens = DeadlineMap<Token, Registration, TokenHash, 2>;
constexpr std::size_t by_expiry = 0;
constexpr std::size_t by_ack_deadline = 1;

} // namespace rp::handoff
