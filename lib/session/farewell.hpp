// The orderly end of a session: who has said goodbye, and until when the other side may take its time.
//
// Goodbye is said when nothing new comes from this side. When nothing is left to do here either, the rest is the peer's, also
// to read what it was sent, and it has so long for that. The broker half-closes then; the backend may not, since an offer may
// be on its way to it. A goodbye that may not have been heard, since the socket to speak on has changed, is said again.
#pragma once

#include "session/link.hpp"
#include "session/types.hpp"

namespace rp::handoff::session {

class Farewell {
  public:
    Farewell(bool ends_first, Duration patience) noexcept : ends_first_(ends_first), patience_(patience) {}

    void begin() noexcept { ours_ = true; }
    bool has_begun() const noexcept { return ours_; }
    bool is_heard() const noexcept { return theirs_; }
    bool hear() noexcept { return !std::exchange(theirs_, true); } // whether it is the first one
    void repeat() noexcept { sent_ = false; }

    // What there is to do at `now`, while the session is open. done: nothing is left to do for this side. late: the peer did
    // not do its part.
    enum class Step { none, late };
    Step advance(bool done, Link &outgoing, Link &link, Instant now) noexcept;

    bool needs_room() const noexcept { return obstacle_ != 0; }
    int obstacle() const noexcept { return obstacle_; } // why it could not be said yet: 0, EAGAIN or ENOBUFS
    bool is_half_closed() const noexcept { return half_closed_; }
    Instant deadline() const noexcept { return until_; }

  private:
    void send(Link &outgoing) noexcept;

    const bool ends_first_; // of the two sides
    const Duration patience_;
    bool ours_ = false;
    bool theirs_ = false;
    int obstacle_ = 0;
    bool sent_ = false;
    bool half_closed_ = false;
    Instant until_ = end_of_time;
};

} // namespace rp::handoff::session
