#include "handoff/peer_policy.hpp"

#include <algorithm>
#include <unistd.h>

namespace rp::handoff {

PeerRule PeerPolicy::judge(const PeerCredentials &peer, const Demand &demand) const noexcept {
    const bool is_blank = peer.pid == 0 && peer.uid == overflow_.uid && peer.gid == overflow_.gid && !peer.pidfd;
    if (demand.by_message && is_blank && !any_uid_) {
        return PeerRule::no_credentials;
    }
    if (const PeerRule rule = judge_user(peer); rule != PeerRule::none) {
        return rule;
    }
    if (demand.pidfd && !peer.pidfd) {
        return PeerRule::pidfd;
    }
    if (!match_pid_ || demand.pid == 0 || peer.pid == demand.pid) {
        return PeerRule::none;
    }
    return peer.pid == 0 ? PeerRule::pid_unknown : PeerRule::pid;
}

PeerRule PeerPolicy::judge_user(const PeerCredentials &peer) const noexcept {
    if (any_uid_ || std::find(uids_.begin(), uids_.end(), peer.uid) != uids_.end()) {
        return PeerRule::none;
    }
    if (peer.uid == overflow_.uid && !overflow_.is_user) {
        return PeerRule::nobody;
    }
    return uids_.empty() && peer.uid == geteuid() ? PeerRule::none : PeerRule::uid;
}

Text PeerPolicy::explain(PeerRule rule, const PeerCredentials &peer, const Demand &demand) const noexcept {
    Text text;
    switch (rule) {
    case PeerRule::none:
        break;
    case PeerRule::no_credentials:
        text += "the message carries no credentials: it was sent before they were asked for";
        break;
    case PeerRule::nobody:
        ((text += "the peer's user has no name in this user namespace (uid ") += std::int64_t{peer.uid}) +=
            " is the overflow uid), and is not listed";
        break;
    case PeerRule::uid:
        ((text += "uid ") += std::int64_t{peer.uid}) += " is not allowed (allowed:";
        for (const std::uint32_t uid : uids_) {
            (text += " ") += std::int64_t{uid};
        }
        if (uids_.empty()) {
            (text += " ") += std::int64_t{geteuid()};
        }
        text += ")";
        break;
    case PeerRule::pid_unknown:
        ((text += "pid ") += std::int64_t{demand.pid}) +=
            " is required, and the peer's is not visible from this pid namespace";
        break;
    case PeerRule::pid:
        (((text += "pid ") += std::int64_t{peer.pid}) += " is not the required ") += std::int64_t{demand.pid};
        break;
    case PeerRule::pidfd:
        text += "a pidfd is required, and the kernel gave none of the peer";
        break;
    }
    return text;
}

Cause PeerPolicy::check(const PeerCredentials &peer, std::uint32_t expected_pid) const noexcept {
    return judge(peer, {expected_pid}) == PeerRule::none ? Cause::none : Cause::peer_rejected;
}

} // namespace rp::handoff
