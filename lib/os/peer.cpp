#include "os/peer.hpp"

#include <cerrno>
#include <sys/socket.h>

#ifdef RP_HANDOFF_HAVE_LIBCAP
#include <memory>
#include <sys/capability.h>
#endif

namespace rp::handoff::os {

tl::expected<PeerCredentials, int> peer_credentials(int connection) noexcept {
    ucred credentials{};
    socklen_t length = sizeof credentials;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0 || length != sizeof credentials ||
        credentials.uid == static_cast<uid_t>(-1)) {
        return tl::unexpected(errno);
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

} // namespace rp::handoff::os
