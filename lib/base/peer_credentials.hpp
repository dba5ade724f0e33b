// Who a process is, as the kernel says it to this one; and what the kernel says when it cannot.
#pragma once

#include <cstdint>

namespace rp::handoff {

struct PeerCredentials {
    std::uint32_t pid = 0; // 0: unknown, since the process is in a pid namespace that this one does not see
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    bool pidfd = false; // that very process is held, whatever becomes of its pid
};

// What stands for users and groups that have no name in this user namespace: everybody whom it does not map.
struct OverflowIds {
    std::uint32_t uid = 65534;
    std::uint32_t gid = 65534;
    bool is_user = false; // everybody is mapped here, so that the uid is that of one user like others
};

} // namespace rp::handoff
