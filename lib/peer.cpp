#include "peer.hpp"

#include <algorithm>
#include <sys/socket.h>
#include <unistd.h>

#ifdef RP_HANDOFF_HAVE_LIBCAP
#include <memory>
#include <sys/capability.h>
#endif

namespace rp::handoff {

Cause PeerPolicy::check(const PeerCredentials &peer, std::uint32_t expected_pid) const noexcept {
    const bool uid_allowed =
        any_uid_ ||
        (uids_.empty() ? peer.uid == geteuid() : std::find(uids_.begin(), uids_.end(), peer.uid) != uids_.end());
    const bool pid_allowed = !match_pid_ || expected_pid == 0 || peer.pid == expected_pid;
    return uid_allowed && pid_allowed ? Cause::none : Cause::peer_rejected;
}

tl::expected<PeerCredentials, Cause> peer_credentials(int connection) noexcept {
    ucred credentials{};
    socklen_t length = sizeof credentials;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0 || length != sizeof credentials ||
        credentials.uid == static_cast<uid_t>(-1)) {
        return tl::unexpected(Cause::peer_unknown);
    }
    return PeerCredentials{static_cast<std::uint32_t>(credentials.pid), credentials.uid, credentials.gid};
}

#ifdef RP_HANDOFF_HAVE_LIBCAP

Exemption in_flight_exemption() noexcept {
    const std::unique_ptr<void, int (*)(void *)> held(cap_get_proc(), cap_free);
    if (held == nullptr) {
        return Exemption::unknown;
    }
    for (const cap_value_t capability : {CAP_SYS_RESOURCE, CAP_SYS_ADMIN}) {
        cap_flag_value_t set = CAP_CLEAR;
        if (cap_get_flag(static_cast<cap_t>(held.get()), capability, CAP_EFFECTIVE, &set) == 0 && set == CAP_SET) {
            return Exemption::yes;
        }
    }
    return Exemption::no;
}

#else

Exemption in_flight_exemption() noexcept {
    return Exemption::unknown;
}

#endif

} // namespace rp::handoff
