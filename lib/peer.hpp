// Who is at the other end of a Unix socket, by the kernel's word (SO_PEERCRED), and whether that is somebody to talk
// to.
//
// What the kernel names is the process that called connect(2), listen(2) or socketpair(2), with the ids that it had
// then; for what somebody else made and handed on, the caller has to say whom it trusts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fallback.hpp"
#include "status.hpp"

namespace rp::handoff {

struct PeerCredentials {
    std::uint32_t pid = 0; // 0: not to be had (the process is in another pid namespace)
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
};

// The rules for one handle. Built once, then only read.
class PeerPolicy {
  public:
    // This process's effective user id, any process.
    PeerPolicy() noexcept = default;
    // No user ids: this process's effective one.
    PeerPolicy(bool any_uid, bool match_pid, std::vector<std::uint32_t> uids) noexcept
        : any_uid_(any_uid), match_pid_(match_pid), uids_(std::move(uids)) {}

    bool allows_anyone() const noexcept { return any_uid_; }

    // none, or peer_rejected. expected_pid 0: not known, so not compared.
    Cause check(const PeerCredentials &peer, std::uint32_t expected_pid) const noexcept;

  private:
    bool any_uid_ = false;
    bool match_pid_ = false;
    std::vector<std::uint32_t> uids_;
};

// peer_unknown where the kernel does not tell.
tl::expected<PeerCredentials, Cause> peer_credentials(int connection) noexcept;

// Whether this process is exempt from the kernel's per-user limit on descriptors in flight (too_many_unix_fds in
// net/core/scm.c: CAP_SYS_RESOURCE or CAP_SYS_ADMIN). The numbers are those of the public header.
enum class Exemption : std::int32_t { unknown = 0, no = 1, yes = 2 };
Exemption in_flight_exemption() noexcept;

} // namespace rp::handoff
