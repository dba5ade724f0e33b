// What of a session is in its poller's set, so that its one descriptor is ready when there is something to do.
#include "session.hpp"

namespace rp::handoff::session {

namespace {

constexpr transport::Poller::Id input_id = transport::Poller::first_free_id;
constexpr transport::Poller::Id output_id = transport::Poller::first_free_id + 1;

} // namespace

Result<int> Session::fd() noexcept {
    const Lock lock(mutex_);
    asked_ = fd_given_ = true;
    return watch() ? Result<int>(poller_.fd()) : Failure(Status::system);
}

void Session::watch_output(bool wanted) noexcept {
    if (wanted != watching_output_) {
        watching_output_ = wanted;
        watch_or_end();
    }
}

void Session::watch_or_end() noexcept {
    if (!watch()) {
        end(Status::system, now_);
    }
}

// Brings the poller's set to what it should be: the input once somebody asked to be woken, since a descriptor in the set
// costs a fiftieth of a handoff, and not while a frame has to wait; the output while something could not be sent.
bool Session::watch() noexcept {
    if (!has_outlet()) {
        return true;
    }
    const bool one = link_.input() == link_.output();
    return watch(poller_, link_.input(), input_id, input_watch_, {asked_ && !stalled_, one && watching_output_}) &&
           (one || watch(poller_, link_.output(), output_id, output_watch_, {false, watching_output_}));
}

// What is not wanted is not in the set either: epoll(7) reports a hang-up also to who did not ask.
bool Session::watch(transport::Poller &poller, int fd, transport::Poller::Id id, Watch &present,
                    Watch wanted) noexcept {
    if (present == wanted) {
        return true;
    }
    if (wanted == Watch{}) {
        poller.remove(fd);
    } else if (present == Watch{} && !poller.add(fd, id)) {
        return false;
    } else {
        poller.enable(fd, id, wanted.input, wanted.output);
    }
    present = wanted;
    return true;
}

Status Session::read_from(UniqueFd input) noexcept {
    poller_.remove(link_.input());
    input_watch_ = {};
    asked_ = fd_given_; // who waited for the hellos may do nothing but blocking handoffs from now on
    link_.read_from(std::move(input));
    return watch() ? Status::ok : Status::system;
}

} // namespace rp::handoff::session
