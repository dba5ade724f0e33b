// What a peer may be: the rules of one handle for whom it talks to. Who a peer is comes from the kernel, by way of the
// caller.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/peer_credentials.hpp"
#include "handoff/outcome.hpp"

namespace rp::handoff {

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

} // namespace rp::handoff
