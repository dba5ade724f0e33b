// What a peer may be: the rules of one handle for whom it talks to. Who a peer is comes from the kernel, by way of the
// caller.
//
// The uid decides. A pid is no identity: other namespaces count their own, and it is used again. A pid of 0 is not known,
// and meets no demand for one. The overflow uid is nobody: whoever cannot be named has it, so it is allowed only where it
// is listed, or where every user has a name.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/peer_credentials.hpp"
#include "base/text.hpp"
#include "handoff/outcome.hpp"

namespace rp::handoff {

// By which rule a peer was rejected.
enum class PeerRule : std::int32_t {
    none = 0,       // by none
    no_credentials, // the kernel names nobody at all
    nobody,         // the user has no name here
    uid,
    pid_unknown, // one is required
    pid,
    pidfd, // one is required
};

// The rules for one handle. Built once, then only read.
class PeerPolicy {
  public:
    // This process's effective user id, any process.
    PeerPolicy() noexcept = default;
    // No user ids: this process's effective one.
    PeerPolicy(bool any_uid, bool match_pid, std::vector<std::uint32_t> uids, OverflowIds overflow = {}) noexcept
        : any_uid_(any_uid), match_pid_(match_pid), uids_(std::move(uids)), overflow_(overflow) {}

    bool allows_anyone() const noexcept { return any_uid_; }

    // What is demanded beside the user.
    struct Demand {
        std::uint32_t pid = 0; // if pids are matched at all; 0: not known, so not compared
        bool pidfd = false;
        // The credentials came beside a message (SCM_CREDENTIALS). What was sent before the receiver asked for them carries
        // pid 0 and the overflow ids, and no pidfd (unix_get_secdata and scm_set_cred, net/unix/af_unix.c): that is
        // nobody's word, also where the overflow uid is listed. It passes only where anybody may.
        bool by_message = false;
    };
    PeerRule judge(const PeerCredentials &peer, const Demand &demand) const noexcept;

    // A sentence for either side: "uid 1000 is not allowed (allowed: 0)".
    Text explain(PeerRule rule, const PeerCredentials &peer, const Demand &demand) const noexcept;

    // Of a socket's peer (SO_PEERCRED): none, or peer_rejected.
    Cause check(const PeerCredentials &peer, std::uint32_t expected_pid) const noexcept;

  private:
    PeerRule judge_user(const PeerCredentials &peer) const noexcept;

    bool any_uid_ = false;
    bool match_pid_ = false;
    std::vector<std::uint32_t> uids_;
    OverflowIds overflow_;
};

} // namespace rp::handoff
