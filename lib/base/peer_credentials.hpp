// Who a process is, as the kernel says it to this one.
#pragma once

#include <cstdint>

namespace rp::handoff {

struct PeerCredentials {
    std::uint32_t pid = 0; // 0: not to be had (the process is in another pid namespace)
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
};

} // namespace rp::handoff
