// Who is at the other end of a Unix socket, by the kernel's word (SO_PEERCRED), whom the kernel cannot name to this process,
// and what this process may do.
//
// What the kernel names is the process that called connect(2), listen(2) or socketpair(2), with the ids that it had
// then; for what somebody else made and handed on, the caller has to say whom it trusts.
#pragma once

#include <cstdint>
#include <string_view>
#include <tl/expected.hpp>

#include "base/peer_credentials.hpp"
#include "base/unique_fd.hpp"

namespace rp::handoff::os {

// Or errno, where the kernel does not tell.
tl::expected<PeerCredentials, int> peer_credentials(int connection) noexcept;

// By which ids the kernel speaks of users and groups that this process's user namespace does not map (overflowuid and
// overflowgid of /proc/sys/kernel, and /proc/self/uid_map). Without /proc: the usual ones, and not everybody is mapped.
OverflowIds overflow_ids() noexcept;
// Whether a uid_map (user_namespaces(7)) maps every id.
bool maps_every_id(std::string_view uid_map) noexcept;

// A pidfd of the socket's peer (SO_PEERPIDFD, Linux 6.5), or errno. It says who the peer is also where its pid is 0.
tl::expected<UniqueFd, int> peer_pidfd(int connection) noexcept;
// A pidfd of whoever has this pid now (pidfd_open, Linux 5.3), or errno. It tells when that process ends; who it is it
// does not, for a pid may have been used again.
tl::expected<UniqueFd, int> pidfd_of(std::uint32_t pid) noexcept;

// What getpid(2) tells the process of a pidfd, in the pid namespace in which that lives. 0: not to be had.
std::uint32_t pid_in_own_namespace(int pidfd) noexcept;
// A number that no other process has since the system started (the inode of pidfs, Linux 6.9). 0: not to be had.
std::uint64_t number_of_process(int pidfd) noexcept;

// Whether this process is exempt from the kernel's per-user limit on descriptors in flight (too_many_unix_fds in
// net/core/scm.c: CAP_SYS_RESOURCE or CAP_SYS_ADMIN). The numbers are those of the public header.
enum class Exemption : std::int32_t { unknown = 0, no = 1, yes = 2 };
Exemption in_flight_exemption() noexcept;

} // namespace rp::handoff::os
