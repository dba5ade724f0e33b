// What of a session is in its poller's set, so that its one descriptor is ready when there is something to do.
#include "session/session.hpp"

namespace rp::handoff::session {

namespace {

constexpr os::Poller::Id link_id = os::Poller::first_free_id;
constexpr os::Poller::Id aside_id = os::Poller::first_free_id + 1;

} // namespace

Result<int> Session::fd() noexcept {
    const Lock lock(mutex_);
    asked_ = fd_given_ = true;
    return watch() ? Result<int>(poller_.fd()) : Failure(Status::system);
}

bool Session::needs_room(const Link &link) const noexcept {
    return link.has_unsent() || (&link == outgoing_ && (wants_output() || goodbye_due_));
}

void Session::watch_or_end() noexcept {
    if (!watch()) {
        end(Status::system, now_);
    }
}

bool Session::watch() noexcept {
    return !has_outlet() || (watch(link_, link_id, link_watch_) && watch(aside_, aside_id, aside_watch_));
}

// Brings the poller's set to what it should be: input once somebody asked to be woken, since a descriptor in the set costs
// a fiftieth of a handoff, and not while a frame has to wait; output while something could not be sent. What is not wanted
// is not in the set either: epoll(7) reports a hang-up also to who did not ask.
bool Session::watch(const Link &link, os::Poller::Id id, Watch &watched) noexcept {
    const Watch wanted{&link == incoming_ && asked_ && !stalled_, needs_room(link)};
    if (wanted == watched) {
        return true;
    }
    if (wanted == Watch{}) {
        poller_.remove(link.socket());
    } else if (watched == Watch{} && !poller_.add(link.socket(), id)) {
        return false;
    } else {
        poller_.enable(link.socket(), id, wanted.input, wanted.output);
    }
    watched = wanted;
    return true;
}

} // namespace rp::handoff::session
