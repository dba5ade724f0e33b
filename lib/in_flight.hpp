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

#include "unique_fd.hpp"

namespace rp::handoff {

class InFlight {
  public:
    struct Remains {
        UniqueFd socket;
        std::uint32_t count = 0;
    };
    using Place = std::list<Remains>; // of one element: made beforehand, so that leaving cannot fail

    // percent: the share of RLIMIT_NOFILE that is the limit, at least 1.
    explicit InFlight(std::uint32_t percent) noexcept;

    bool acquire() noexcept; // one more; false at the limit
    void release(std::uint32_t count) noexcept;

    // Whether the peer has read all that was sent to it, or is gone.
    static bool queue_is_empty(int socket) noexcept;

    // `count` unanswered ones are left behind in the queue of this socket.
    void leave(Place &place, UniqueFd socket, std::uint32_t count) noexcept;

  private:
    void collect() noexcept;

    std::mutex mutex_;
    std::uint64_t limit_;
    std::uint64_t count_ = 0;
    std::list<Remains> remains_;
};

} // namespace rp::handoff
