// How a session begins: the socket, who is at its other end, and when it is open.
#include "session/session.hpp"

#include <algorithm>
#include <cerrno>

#include "os/connection.hpp"
#include "os/peer.hpp"

namespace rp::handoff::session {

namespace {

constexpr Duration longest_dial_pause = std::chrono::milliseconds(50);

Status status_of_dial(int error) noexcept {
    switch (cause_of_connect(error)) {
    case Cause::backend_unavailable:
        return error == ENOTSUP ? Status::unsupported : Status::unavailable;
    default:
        errno = error;
        return Status::system;
    }
}

} // namespace

Session::Session(Config config, TimeSource &time, os::Poller poller, std::size_t receive_capacity,
                 std::size_t send_capacity)
    : config_(std::move(config)), time_(time), poller_(std::move(poller)), link_(receive_capacity, send_capacity),
      aside_(max_answers_frame, max_answers_frame) {
    peer_.service.reserve(max_service); // so that nothing throws later
}

Status Session::begin() {
    const Instant now = time_.now();
    open_until_ = after(now, config_.open_timeout);
    if (!config_.path.empty()) {
        return dial(now);
    }
    const Status status = take_connection();
    if (status != Status::ok) {
        link_.take_socket().release(); // still the caller's
    }
    return status;
}

Status Session::take_connection() noexcept {
    if (const Status status = os::check_connection(config_.connection_fd); status != Status::ok) {
        return status;
    }
    link_.set_socket(UniqueFd(config_.connection_fd));
    if (const Status status = os::take_connection(link_.socket()); status != Status::ok) {
        return status;
    }
    os::identify_senders(link_.socket(), true);
    return connected();
}

Status Session::dial(Instant now) {
    if (!os::is_valid_path(config_.path.c_str())) {
        return Status::path_invalid;
    }
    os::Dialled dialled = os::dial_now(config_.path.c_str());
    if (!dialled.socket) {
        return status_of_dial(dialled.os_error);
    }
    link_.set_socket(std::move(dialled.socket));
    dial_again_at_ = after(now, dial_pause_);
    return dialled.os_error == 0 ? connected() : Status::ok;
}

Status Session::connected() {
    if (!config_.path.empty()) { // a path names who bound it; nothing is said to anybody else
        const auto peer = os::peer_credentials(link_.socket());
        if (!peer || config_.peers.check(*peer, config_.peer_pid) != Cause::none) {
            return Status::peer_rejected;
        }
    }
    state_ = State::greeting;
    return watch() ? greet() : Status::system;
}

void Session::dial_again(Instant now) {
    const int error = os::connect_again(link_.socket(), config_.path.c_str());
    if (error == EAGAIN) {
        dial_pause_ = std::min(dial_pause_ * 2, longest_dial_pause);
        dial_again_at_ = after(now, dial_pause_);
        return;
    }
    const Status status = error == 0 ? connected() : status_of_dial(error);
    if (status != Status::ok) {
        end(status, now);
    }
}

Status Session::authenticate() {
    os::Ancillary &beside = link_.beside();
    // What was sent before this side asked for it comes with the pid 0 and the overflow user id (unix(7)), which may be
    // an allowed one.
    if (!beside.sender || (beside.sender->pid == 0 && !config_.peers.allows_anyone())) {
        return Status::peer_rejected; // the kernel names nobody
    }
    const PeerCredentials sender{static_cast<std::uint32_t>(beside.sender->pid), beside.sender->uid,
                                 beside.sender->gid};
    if (beside.pidfd) {
        peer_.pidfd_state = PidfdState::held;
    } else if (beside.pidfd_error != 0) {
        peer_.pidfd_state = beside.pidfd_error == ESRCH ? PidfdState::reaped : PidfdState::unavailable;
    } else {
        peer_.pidfd_state =
            os::identify_senders(link_.socket(), true).pidfd ? PidfdState::unavailable : PidfdState::unsupported;
    }
    if (config_.peers.check(sender, config_.peer_pid) != Cause::none ||
        (config_.require_pidfd && peer_.pidfd_state != PidfdState::held)) {
        return Status::peer_rejected;
    }
    peer_.credentials = sender;
    peer_.pidfd = std::move(beside.pidfd);
    os::identify_senders(link_.socket(), false); // it would cost something with every message
    return Status::ok;
}

Status Session::opened() noexcept {
    state_ = State::open;
    opened_event_ = true;
    announce();
    asked_ = fd_given_; // who waited for the hellos may do nothing but blocking handoffs from now on
    return watch() ? Status::ok : Status::system;
}

} // namespace rp::handoff::session
