// How many descriptors lie unanswered in the queues of a broker's backends, over all its sessions.
//
// The kernel counts descriptors in flight per user, against the sender's RLIMIT_NOFILE, and goes on counting what lies in
// a stopped receiver's queue also after the sender closed the connection (unix(7); net/core/scm.c). So does this: what a
// session leaves behind stays counted until its socket's queue is empty.
//
// Safe for several threads.
#pragma once

#include <cstdint>
#include <list>
#include <mutex>

#include "base/lock_probe.hpp"
#include "base/unique_fd.hpp"

namespace rp::handoff {

class InFlight {
  public:
    struct Remains {
        UniqueFd socket;
        std::uint32_t count = 0;
    };
    using Place = std::list<Remains>; // of one element: made beforehand, so that leaving cannot fail

    // Evidence of the kernel's: whether the peer has read all that was sent to it by this socket, or is gone.
    using QueueIsEmpty = bool (*)(int socket) noexcept;

    InFlight(std::uint64_t limit, QueueIsEmpty evidence) noexcept : queue_is_empty_(evidence), limit_(limit) {}

    bool acquire() noexcept; // one more; false at the limit
    void release(std::uint32_t count) noexcept;

    bool queue_is_empty(int socket) const noexcept { return queue_is_empty_(socket); }

    // `count` unanswered ones are left behind in the queue of this socket.
    void leave(Place &place, UniqueFd socket, std::uint32_t count) noexcept;

    bool can_be_freed() noexcept { return are_free(mutex_); } // in a forked child

  private:
    void collect() noexcept;

    QueueIsEmpty queue_is_empty_;
    std::mutex mutex_;
    std::uint64_t limit_;
    std::uint64_t count_ = 0;
    std::list<Remains> remains_;
};

} // namespace rp::handoff
