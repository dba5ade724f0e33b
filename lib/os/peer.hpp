// Who is at the other end of a Unix socket, by the kernel's word (SO_PEERCRED), and what this process may do.
//
// What the kernel names is the process that called connect(2), listen(2) or socketpair(2), with the ids that it had
// then; for what somebody else made and handed on, the caller has to say whom it trusts.
#pragma once

#include <cstdint>
#include <tl/expected.hpp>

#include "base/peer_credentials.hpp"

namespace rp::handoff::os {

// Or errno, where the kernel does not tell.
tl::expected<PeerCredentials, int> peer_credentials(int connection) noexcept;

// Whether this process is exempt from the kernel's per-user limit on descriptors in flight (too_many_unix_fds in
// net/core/scm.c: CAP_SYS_RESOURCE or CAP_SYS_ADMIN). The numbers are those of the public header.
enum class Exemption : std::int32_t { unknown = 0, no = 1, yes = 2 };
Exemption in_flight_exemption() noexcept;

} // namespace rp::handoff::os
