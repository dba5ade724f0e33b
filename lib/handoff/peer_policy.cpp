#include "handoff/peer_policy.hpp"

#include <algorithm>
#include <unistd.h>

namespace rp::handoff {

Cause PeerPolicy::check(const PeerCredentials &peer, std::uint32_t expected_pid) const noexcept {
    const bool uid_allowed =
        any_uid_ ||
        (uids_.empty() ? peer.uid == geteuid() : std::find(uids_.begin(), uids_.end(), peer.uid) != uids_.end());
    const bool pid_allowed = !match_pid_ || expected_pid == 0 || peer.pid == expected_pid;
    return uid_allowed && pid_allowed ? Cause::none : Cause::peer_rejected;
}

} // namespace rp::handoff
