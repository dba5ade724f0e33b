#include "session/channel.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "os/closing.hpp"
#include "os/connection.hpp"
#include "os/wait.hpp"

namespace rp::handoff::session {

namespace {

constexpr Duration longest_dial_pause = std::chrono::milliseconds(50);
constexpr Duration first_retry_pause = std::chrono::milliseconds(1);
constexpr Duration longest_retry_pause = std::chrono::milliseconds(50);

Status explain_dial(int error, Explanation &why) noexcept {
    if (error == ENOTSUP) {
        return why.because(Status::unsupported, "socket_path", "this platform cannot pass descriptors", error);
    }
    return cause_of_connect(error) == Cause::backend_unavailable
               ? why.because(Status::unavailable, "socket_path", "nobody listens at the path", error)
               : why.because(Status::system, "socket_path", "the path could not be dialled", error);
}

} // namespace

Channel::Channel(Config config, Role role, Discards &discards)
    : config_(std::move(config)), role_(role), link_(role == Role::broker ? max_answers_frame : max_frame,
                                                     role == Role::broker ? max_frame : max_answers_frame, discards),
      answer_link_(max_answers_frame, max_answers_frame, discards),
      handshake_(config_, config_.max_in_flight, link_, answer_link_),
      farewell_(role == Role::broker, config_.open_timeout) {
    peer_.service.reserve(max_service); // so that nothing throws later
}

// ---- dialling -------------------------------------------------------------------------------------------------------

Status Channel::begin(Instant now, Explanation &why) {
    open_until_ = after(now, config_.open_timeout);
    if (!config_.path.empty()) {
        const Status status = dial(now, why);
        if (status != Status::ok) {
            os::drain_and_close(link_.take_socket()); // whoever listens may have sent something already
        }
        return status;
    }
    const Status status = take_connection(why);
    if (link_.socket() == config_.connection_fd) {
        if (status != Status::ok) {
            link_.take_socket().release(); // still the caller's
        }
    } else if (status == Status::ok) {
        UniqueFd(config_.connection_fd).reset(); // a duplicate is used instead
    }
    return status;
}

Status Channel::take_connection(Explanation &why) noexcept {
    if (const Status status = os::check_connection(config_.connection_fd); status != Status::ok) {
        return why.because(status, "connection_fd", "the descriptor is no connected Unix stream socket", errno);
    }
    if (config_.connection_fd > STDERR_FILENO) {
        link_.set_socket(UniqueFd(config_.connection_fd));
    } else {
        link_.set_socket(UniqueFd(fcntl(config_.connection_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)));
        if (link_.socket() < 0) {
            return why.because(Status::system, "connection_fd", "there is no descriptor above 2 to be had", errno);
        }
    }
    if (const Status status = os::take_connection(link_.socket()); status != Status::ok) {
        return why.because(status, "connection_fd", "the socket's flags could not be set", errno);
    }
    handshake_.expect_identified_senders();
    return connected(why);
}

Status Channel::dial(Instant now, Explanation &why) {
    if (!os::is_valid_path(config_.path.c_str())) {
        return why.because(Status::path_invalid, "socket_path",
                           "a path is not empty, not abstract, and at most 107 bytes long");
    }
    os::Dialled dialled = os::dial_now(config_.path.c_str());
    if (!dialled.socket) {
        return explain_dial(dialled.os_error, why);
    }
    link_.set_socket(above_stdio(std::move(dialled.socket)));
    dial_again_at_ = after(now, dial_pause_);
    return dialled.os_error == 0 ? connected(why) : Status::ok;
}

void Channel::dial_again(Instant now) {
    const int error = os::connect_again(link_.socket(), config_.path.c_str());
    if (error == EAGAIN) {
        dial_pause_ = std::min(dial_pause_ * 2, longest_dial_pause);
        dial_again_at_ = after(now, dial_pause_);
        return;
    }
    Explanation why;
    const Status status = error == 0 ? connected(why) : explain_dial(error, why);
    if (status != Status::ok) {
        end(why);
    }
}

Status Channel::connected(Explanation &why) noexcept {
    if (!config_.path.empty()) { // nothing is said to anybody else
        if (const Status status = handshake_.check_listener(why); status != Status::ok) {
            return status;
        }
    }
    if (role_ == Role::broker) {
        link_.refuse_descriptors();
    }
    state_ = State::greeting;
    return role_ == Role::broker ? handshake_.send_hello(why) : Status::ok;
}

// ---- receiving ------------------------------------------------------------------------------------------------------

bool Channel::read(Instant now) noexcept {
    if (!has_outlet() || stalled_) {
        return false;
    }
    const bool came = take(incoming_->read(false), now);
    if (!came && has_outlet()) {
        look_at_peer();
    }
    return came;
}

bool Channel::take(const Link::Read &read, Instant) noexcept {
    if (!has_outlet()) {
        return false; // ended by another thread in the meantime
    }
    switch (read.got) {
    case Link::Got::nothing:
        break;
    case Link::Got::end:
        end_by_peer();
        break;
    case Link::Got::failed:
        read.status == Status::system ? end(read.status, "receiving from the peer failed", read.os_error)
                                      : end(read.status, "the peer sent descriptors or bytes that nobody asked for");
        break;
    case Link::Got::bytes:
        ++messages_received_;
        return true;
    }
    return false;
}

void Channel::end_by_peer() noexcept {
    if (farewell_.is_heard() || farewell_.is_half_closed()) {
        end(Status::ok, {});
    } else if (state_ == State::open) {
        end_without_peer();
    } else {
        Explanation why;
        handshake_.explain_silence(why);
        end(why);
    }
}

void Channel::end_without_peer(int os_error) noexcept {
    Explanation why;
    if (role_ != Role::broker || !handshake_.was_rejected_late(why)) {
        why.because(Status::closed, {}, "the peer closed the connection", os_error);
    }
    end(why);
}

// A peer that ended may have left its socket to a child that knows nothing of it, so that no end of file comes. It is
// looked at when all that it has sent was read.
void Channel::look_at_peer() noexcept {
    pollfd target{peer_.watched(), POLLIN, 0};
    if (target.fd >= 0 && os::wait_for_any(&target, 1, Instant()) == Wait::ready) {
        end(Status::closed, "the peer process has ended");
    }
}

std::optional<Link::Frame> Channel::next_frame(Instant) {
    while (has_outlet() && !stalled_) {
        const Result<Link::Frame> frame = incoming_->frame();
        if (!frame) {
            if (frame.error() != Status::frame_incomplete) {
                end_by_noise();
            }
            break;
        }
        if (state_ == State::greeting) {
            if (!greet(*frame)) {
                break;
            }
        } else if (frame->header.kind == FrameKind::goodbye) {
            hear_goodbye();
        } else {
            return *frame;
        }
        drop_frame();
    }
    return std::nullopt;
}

void Channel::end_by_noise() noexcept {
    Explanation why;
    if (state_ == State::greeting) {
        handshake_.explain_noise(why);
        handshake_.reject(why.status(), "this is a socket for sessions, and what came is no frame of one");
    } else {
        why.because(Status::protocol, {}, "the peer sent what is no frame of a session");
    }
    end(why);
}

bool Channel::greet(const Link::Frame &frame) noexcept {
    Explanation why;
    const Handshake::Step step = role_ == Role::broker ? handshake_.broker_takes(frame, peer_, ledger_, why)
                                                       : handshake_.backend_takes(frame, peer_, ledger_, why);
    if (step == Handshake::Step::failed) {
        end(why);
        return false;
    }
    if (step == Handshake::Step::open) {
        drop_frame(); // of the link where it came
        opened();
        return false;
    }
    return true;
}

void Channel::opened() noexcept {
    state_ = State::open;
    opened_ = true;
    if (role_ == Role::broker) {
        link_.expect_bytes_only();
        answer_link_.expect_bytes_only();
        hear_on(answer_link_);
    } else {
        speak_on(answer_link_);
    }
}

// Only the broker is told; the backend sees it by what comes, or by the end.
void Channel::hear_goodbye() noexcept {
    if (farewell_.hear() && role_ == Role::broker) {
        closing_ = true;
    }
}

// ---- sending --------------------------------------------------------------------------------------------------------

void Channel::speak_on(Link &link) noexcept {
    if (outgoing_ != &link) {
        outgoing_ = &link;
        farewell_.repeat();
    }
}

bool Channel::flush(Instant now) noexcept {
    if (!has_outlet()) {
        return true;
    }
    retry_at_ = end_of_time;
    for (Link *const link : {&link_, &answer_link_}) {
        const int error = link->flush();
        if (error != 0 && !has_to_wait(error, now)) {
            return false;
        }
    }
    return true;
}

bool Channel::has_to_wait(int os_error, Instant now) noexcept {
    if (os_error == ENOBUFS) { // the kernel's memory, not the socket's: poll(2) would say at once that there is room
        retry_pause_ = std::clamp(retry_pause_ * 2, first_retry_pause, longest_retry_pause);
        retry_at_ = after(now, retry_pause_);
        blocked_ = true;
        return true;
    }
    blocked_ = blocked_ || os_error == EAGAIN;
    return os_error == EAGAIN;
}

// ---- time, and the end ----------------------------------------------------------------------------------------------

void Channel::begin_turn(Instant now) {
    if (state_ == State::dialling && is_due(dial_again_at_, now)) {
        dial_again(now);
    }
    if (is_opening() && is_due(open_until_, now)) {
        end(Status::timed_out, state_ == State::dialling
                                   ? "the backlog of the peer's socket stayed full"
                                   : "the peer did not greet in time, or nobody called process on this side");
    }
}

void Channel::end_turn(bool done, Instant now) {
    if (is_opening() && farewell_.has_begun() && done) {
        end(Status::ok, {});
    }
    if (state_ == State::open) {
        const Farewell::Step step = farewell_.advance(done, *outgoing_, link_, now);
        if (farewell_.obstacle() == ENOBUFS) {
            has_to_wait(ENOBUFS, now);
        }
        if (step == Farewell::Step::late) {
            end(Status::timed_out, "the peer did not end its side of the session in time");
        }
    }
    if (retry_at_ == end_of_time) { // nothing met that in this turn
        retry_pause_ = {};
    }
}

Instant Channel::wake_at() const noexcept {
    switch (state_) {
    case State::dialling:
        return std::min(dial_again_at_, open_until_);
    case State::greeting:
        return std::min(open_until_, retry_at_);
    case State::open:
        return std::min(farewell_.deadline(), retry_at_);
    default:
        return end_of_time;
    }
}

void Channel::end(const Explanation &why) noexcept {
    end(why.status(), why.text(), why.os_error());
}

void Channel::end(Status status, std::string_view text, int os_error) noexcept {
    if (state_ == State::ended) {
        return;
    }
    state_ = State::ended;
    end_ = {status, os_error, Text(text), {}};
    end_.text.view().copy(end_.c_text.data(), Text::capacity);
    closed_ = true;
    ::shutdown(link_.socket(), SHUT_RDWR);
    if (answer_link_.socket() >= 0) {
        ::shutdown(answer_link_.socket(), SHUT_RDWR);
    }
}

// ---- events ---------------------------------------------------------------------------------------------------------

bool Channel::take_opened(Event &event) noexcept {
    event.kind = Event::Kind::opened;
    return std::exchange(opened_, false);
}

bool Channel::take_end(Event &event) noexcept {
    if (std::exchange(closing_, false)) {
        event.kind = Event::Kind::closing;
        return true;
    }
    event.kind = Event::Kind::closed;
    event.end = &end_;
    return std::exchange(closed_, false);
}

Doorbell::Watches Channel::watches() const noexcept {
    if (!has_outlet()) {
        return {};
    }
    const bool by_socket = retry_at_ == end_of_time; // or else time tells
    const auto watch = [&](const Link &link) -> Doorbell::Watch {
        const bool speaks = &link == outgoing_;
        const bool wants_room = by_socket && (link.has_unsent() || (speaks && (blocked_ || farewell_.needs_room())));
        return {link.socket(), &link == incoming_ && !stalled_, wants_room};
    };
    return {watch(link_), watch(answer_link_), {peer_.watched(), !stalled_, false}};
}

} // namespace rp::handoff::session
