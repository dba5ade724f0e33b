#include "session/session.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <poll.h>
#include <sys/socket.h>

namespace rp::handoff::session {

namespace {

constexpr int reads_at_once = 64;
constexpr Duration longest_overshoot = std::chrono::milliseconds(20); // of SO_RCVTIMEO, which counts in jiffies

} // namespace

// ---- the engine -----------------------------------------------------------------------------------------------------

void Session::advance(Instant now) {
    now_ = now;
    if (state_ == State::dialling && is_due(dial_again_at_, now)) {
        dial_again(now);
    }
    if ((state_ == State::dialling || state_ == State::greeting) && is_due(open_until_, now)) {
        end(Status::timed_out, now);
    }
    on_time(now);
    if (has_outlet()) {
        for (Link *const link : {&link_, &aside_}) {
            const int error = link->flush();
            if (error != 0 && error != EAGAIN && error != ENOBUFS) {
                on_broken_pipe(now);
            }
        }
    }
    if (state_ == State::open) {
        pump(now);
    }
    close_if_done(now);
    if (has_outlet()) {
        watch_or_end();
    }
    wake_sleepers();
}

void Session::read_now(Instant now) {
    for (int reads = 0; reads < reads_at_once && has_outlet() && !stalled_; ++reads) {
        handle(*incoming_, incoming_->read(false, reads_control()), now);
        if (!reads_again()) {
            return;
        }
    }
}

void Session::handle(Link &link, const Link::Read &read, Instant now) {
    if (!has_outlet()) {
        return; // ended by another thread in the meantime
    }
    switch (read.got) {
    case Link::Got::nothing:
        return;
    case Link::Got::end:
        end(peer_closing_ || half_closed_ ? Status::ok : Status::closed, now);
        return;
    case Link::Got::failed:
        errno = read.os_error;
        end(read.status, now);
        return;
    case Link::Got::bytes:
        ++messages_received_;
        parse(link, now);
    }
}

void Session::parse(Link &link, Instant now) {
    now_ = now;
    while (has_outlet()) {
        const Result<Link::Frame> frame = link.frame();
        if (!frame) {
            if (frame.error() != Status::frame_incomplete) {
                end(frame.error(), now);
            }
            return;
        }
        Status status = Status::ok;
        if (frame->header.kind == FrameKind::goodbye && state_ == State::open) {
            if (!peer_closing_) {
                peer_closing_ = true;
                closing_event_ = on_goodbye(now);
                if (closing_event_) {
                    announce();
                }
            }
        } else {
            status = state_ == State::greeting ? on_greeting(*frame) : on_frame(*frame);
        }
        if (status == Status::frame_incomplete) {
            stall(true);
            return;
        }
        if (status != Status::ok) {
            end(status, now);
            return;
        }
        link.drop_frame();
    }
}

void Session::stall(bool stalled) noexcept {
    if (stalled != stalled_ && has_outlet()) {
        stalled_ = stalled;
        watch_or_end();
    }
}

void Session::resume() {
    const Instant now = time_.now();
    const Lock lock(mutex_);
    if (stalled_) {
        stall(false);
        parse(link_, now);
    }
}

void Session::end(Status why, Instant now) noexcept {
    if (state_ == State::ended) {
        return;
    }
    if (state_ != State::dialling) {
        poller_.remove(link_.socket());
        poller_.remove(aside_.socket());
    }
    state_ = State::ended;
    why_ = why;
    on_end(why, now);
    if (!reading_) {
        link_.beside().clear(); // or else by the thread that reads
    }
    closed_event_ = true;
    announce();
    wake_reader();                         // nothing in the poller's set will
    ::shutdown(link_.socket(), SHUT_RDWR); // wakes a thread that reads
    ::shutdown(aside_.socket(), SHUT_RDWR);
}

// An orderly end: goodbye when nothing new comes from us; when nothing is left to do here, the rest is the peer's, also to
// read what it was sent, and it has so long for that. The broker half-closes then; the backend may not, since an offer may
// be on its way to it.
void Session::close_if_done(Instant now) {
    if (closing_ && (state_ == State::dialling || state_ == State::greeting) && is_done()) {
        end(Status::ok, now);
    }
    if (state_ != State::open || !(closing_ || (peer_closing_ && is_first_to_end()))) {
        return;
    }
    const bool done = is_done();
    if (!goodbye_sent_ && (closing_ || done)) {
        send_goodbye();
    }
    if (!done) {
        close_until_ = end_of_time;
        return;
    }
    if (close_until_ == end_of_time) {
        close_until_ = after(now, config_.open_timeout);
    }
    if (is_first_to_end() && !half_closed_ && goodbye_sent_ && !link_.has_unsent()) {
        half_closed_ = true;
        ::shutdown(link_.socket(), SHUT_WR);
    }
    if (is_due(close_until_, now)) {
        end(Status::timed_out, now);
    }
}

void Session::speak_on(Link &link) noexcept {
    if (outgoing_ != &link) {
        outgoing_ = &link;
        goodbye_sent_ = false; // once more, if it was
    }
}

void Session::send_goodbye() noexcept {
    goodbye_due_ = true;
    if (outgoing_->has_unsent()) {
        return; // later
    }
    std::array<std::uint8_t, header_size> frame{};
    encode_header(frame.data(), {FrameKind::goodbye, 0, 0});
    const int error = outgoing_->send({frame.data(), frame.size()}).os_error;
    goodbye_sent_ = error != EAGAIN && error != ENOBUFS; // or there is nobody to say it to
    goodbye_due_ = !goodbye_sent_;
}

void Session::announce() noexcept {
    if (!inside_) {
        nudge();
    }
    if (waiters_ > 0) {
        readable_.notify_all();
    }
}

void Session::wake_reader() noexcept {
    if (reading_) {
        nudge();
    }
    if (waiters_ > 0) {
        readable_.notify_all();
    }
}

void Session::nudge() noexcept {
    if (!nudged_) {
        nudged_ = true;
        poller_.nudge();
    }
}

// Another thread's call may bring a deadline that is earlier than what a loop was told, or what a thread sleeps for.
void Session::wake_sleepers() noexcept {
    const Instant wake = wake_at();
    if (wake < std::max(told_until_, reader_until_)) {
        nudge();
    }
    if (waiters_ > 0 && wake < waiters_until_) {
        waiters_until_ = wake;
        readable_.notify_all();
    }
}

// ---- waiting --------------------------------------------------------------------------------------------------------

Instant Session::wake_at() const noexcept {
    switch (state_) {
    case State::dialling:
        return std::min({dial_again_at_, open_until_, nearest_deadline()});
    case State::greeting:
        return std::min(open_until_, nearest_deadline());
    case State::open:
        return std::min(close_until_, nearest_deadline());
    default:
        return end_of_time;
    }
}

Instant Session::next_deadline() noexcept {
    const Lock lock(mutex_);
    return told_until_ = wake_at();
}

// Until the reader has read, or this thread's own time has come: the reader may be gone for longer.
Instant Session::await_reader(Lock &lock, Instant until) {
    ++waiters_;
    waiters_until_ = std::max(waiters_until_, until);
    if (until == end_of_time || !time_.is_real()) {
        readable_.wait(lock);
    } else {
        readable_.wait_until(lock, to_steady(until));
    }
    --waiters_;
    lock.unlock();
    const Instant now = time_.now();
    lock.lock();
    return now;
}

Instant Session::pause(Lock &lock, Instant until, bool direct, bool inside) {
    if (reading_) {
        return await_reader(lock, until);
    }
    reading_ = true;
    const bool control = reads_control();
    Link &link = *incoming_;
    direct = direct && time_.is_real() && has_outlet() && !stalled_ && !link_.has_unsent() && !aside_.has_unsent() &&
             elapsed(now_, until) > longest_overshoot;
    polling_ = !direct;
    reader_until_ = direct ? Instant() : until;
    if (!direct) {
        asked_ = true;
        watch_or_end();
    }
    Link::Read read{Link::Got::nothing, Status::ok, 0};
    Wait waited = Wait::ready;
    lock.unlock();
    Instant now{};
    if (direct) {
        link.set_timeout(elapsed(time_.now(), until));
        read = link.read(true, control);
        now = time_.now();
    } else {
        waited = time_.wait(poller_.fd(), POLLIN, until);
        now = time_.now();
        if (waited == Wait::timed_out) {
            now = std::max(now, until); // also with a clock that stands still
        }
    }
    lock.lock();
    reading_ = polling_ = false;
    reader_until_ = Instant();
    inside_ = inside;
    if (direct) {
        handle(link, read, now);
        if (reads_again()) {
            read_now(now);
        }
    } else if (waited == Wait::ready) {
        if (nudged_) {
            nudged_ = false;
            poller_.take_nudge();
        }
        read_now(now);
    }
    inside_ = false;
    if (state_ == State::ended) {
        link_.beside().clear();
    }
    if (waiters_ > 0) {
        readable_.notify_all();
    }
    return now;
}

void Session::process() {
    const Instant now = time_.now();
    const Lock lock(mutex_);
    inside_ = true;
    draining_ = false;
    told_until_ = Instant();
    if (nudged_ && !polling_) { // or it is for the thread that waits there
        nudged_ = false;
        poller_.take_nudge();
    }
    if (!reading_) {
        read_now(now);
    }
    advance(now);
    inside_ = false;
    if (waiters_ > 0) {
        readable_.notify_all();
    }
}

bool Session::wait(std::optional<Duration> timeout) {
    Instant now = time_.now();
    const Instant until = timeout ? after(now, *timeout) : end_of_time;
    Lock lock(mutex_);
    draining_ = false;
    for (bool has_read = false;; has_read = true) {
        inside_ = true;
        if (is_due(until, now) && !has_read && !reading_) {
            read_now(now);
        }
        advance(now);
        inside_ = false;
        if (event_ready()) {
            return true;
        }
        if (state_ == State::ended || is_due(until, now)) {
            return false;
        }
        now = pause(lock, std::min(until, wake_at()), may_block_in_read(), true);
    }
}

void Session::flush() {
    const Instant now = time_.now();
    const Lock lock(mutex_);
    if (state_ == State::open) {
        advance(now);
    } else {
        wake_sleepers(); // a submit before the hellos
    }
}

// ---- events ---------------------------------------------------------------------------------------------------------

bool Session::event_ready() const noexcept {
    return opened_event_ || has_event() || closing_event_ || closed_event_;
}

bool Session::next_event(Event &event) {
    if (take_next(event)) {
        return true;
    }
    flush();
    return false;
}

bool Session::take_next(Event &event) {
    const Lock lock(mutex_);
    draining_ = true;
    if (opened_event_) {
        opened_event_ = false;
        event.kind = Event::Kind::opened;
        return true;
    }
    if (take_event(event)) {
        return true;
    }
    if (closing_event_) {
        closing_event_ = false;
        event.kind = Event::Kind::closing;
        return true;
    }
    if (closed_event_) {
        closed_event_ = false;
        event.kind = Event::Kind::closed;
        event.status = why_;
        return true;
    }
    draining_ = false;
    return false;
}

void Session::close() {
    const Instant now = time_.now();
    const Lock lock(mutex_);
    closing_ = true;
    advance(now);
    if (waiters_ > 0) {
        readable_.notify_all();
    }
}

const Peer *Session::peer() noexcept {
    const Lock lock(mutex_);
    return peer_.max_in_flight > 0 ? &peer_ : nullptr;
}

Statistics Session::statistics() noexcept {
    const Lock lock(mutex_);
    Statistics counted = count();
    counted.messages_sent = link_.messages_sent() + aside_.messages_sent();
    counted.messages_received = messages_received_;
    return counted;
}

bool Session::can_be_freed() noexcept {
    // A thread that waited on the condition variable at the fork would be waited for, for ever.
    return Lock(mutex_, std::try_to_lock).owns_lock() && waiters_ == 0;
}

} // namespace rp::handoff::session
