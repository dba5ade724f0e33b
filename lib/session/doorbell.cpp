#include "session/doorbell.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "os/descriptor.hpp"
#include "os/wait.hpp"

namespace rp::handoff::session {

namespace {

constexpr os::Poller::Id id_of(std::size_t i) noexcept {
    return os::Poller::first_free_id + i;
}

// write(2) is async-signal-safe, and its errno must not show in the interrupted code.
void raise(int event_fd) noexcept {
    const int saved = errno;
    const std::uint64_t one = 1;
    static_cast<void>(!write(event_fd, &one, sizeof one)); // EAGAIN: it is raised already
    errno = saved;
}

void lower(int event_fd) noexcept {
    std::uint64_t count = 0;
    static_cast<void>(!read(event_fd, &count, sizeof count));
}

// Whether who watches for `watched` would notice all of `wanted`.
bool covers(const Doorbell::Watches &watched, const Doorbell::Watches &wanted) noexcept {
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        const bool more = (wanted[i].input && !watched[i].input) || (wanted[i].output && !watched[i].output);
        if (more || ((wanted[i].input || wanted[i].output) && wanted[i].fd != watched[i].fd)) {
            return false;
        }
    }
    return true;
}

} // namespace

// ---- sets -----------------------------------------------------------------------------------------------------------

// What is not wanted is not in the set at all: epoll(7) reports a hang-up also to who did not ask.
bool Doorbell::Set::update(const Watches &watches) noexcept {
    bool fine = true;
    for (std::size_t i = 0; i < watched; ++i) {
        Watch &now = registered[i];
        const Watch &wanted = watches[i];
        if (now == wanted) {
            continue;
        }
        const bool was_in = now.fd >= 0 && (now.input || now.output);
        const bool is_in = wanted.fd >= 0 && (wanted.input || wanted.output);
        if (was_in && (!is_in || now.fd != wanted.fd)) {
            poller.remove(now.fd);
        }
        if (is_in && (!was_in || now.fd != wanted.fd) && !poller.add(wanted.fd, id_of(i))) {
            fine = false;
            now = {};
            continue;
        }
        if (is_in) {
            poller.enable(wanted.fd, id_of(i), wanted.input, wanted.output);
        }
        now = wanted;
    }
    return fine;
}

bool Doorbell::watch(const Watches &watches) noexcept {
    watches_ = watches;
    const bool loop = !loop_ || loop_->update(watches);
    const bool set = !set_ || set_->update(watches);
    return loop && set;
}

// ---- loops ----------------------------------------------------------------------------------------------------------

Result<int> Doorbell::descriptor(const Watches &watches) noexcept {
    watches_ = watches;
    if (!loop_) {
        Result<os::Poller> poller = os::Poller::create(false);
        if (!poller) {
            return Failure(poller.error());
        }
        loop_.emplace(std::move(*poller));
        if (!loop_->update(watches_)) {
            loop_.reset();
            return Failure(Status::system);
        }
        told_ = end_of_time; // until it asks
        told_to_ = pthread_self();
    }
    return loop_->poller.fd();
}

Instant Doorbell::tell(const State &state) noexcept {
    told_to_ = pthread_self();
    awake_ = state.event; // it will not sleep
    told_ = state.wake_at;
    set_bell(false);
    return awake_ ? Instant() : state.wake_at;
}

void Doorbell::loop_is_here() noexcept {
    if (told_ && pthread_equal(told_to_, pthread_self()) != 0) {
        told_ = end_of_time;
        awake_ = true;
        set_bell(false);
    }
}

// Raised as long as what the loop was told does not hold. While it is awake its own thread does not raise it, which spares
// each turn of a loop two system calls.
void Doorbell::settle_bell(const State &state) noexcept {
    const bool wrong = told_ && (state.event || state.wake_at < *told_);
    const bool spared = awake_ && pthread_equal(told_to_, pthread_self()) != 0;
    if (!wrong || !spared) {
        set_bell(wrong);
    }
}

void Doorbell::set_bell(bool raised) noexcept {
    if (loop_ && raised != bell_) {
        bell_ = raised;
        raised ? loop_->poller.nudge() : loop_->poller.take_nudge();
    }
}

// ---- threads that wait ----------------------------------------------------------------------------------------------

Status Doorbell::prepare_to_wait() noexcept {
    if (is_stopped()) {
        return Status::closed;
    }
    if (!time_.is_real() && lookout_ != nullptr) {
        return Status::busy;
    }
    if (!time_.is_real() && !set_) {
        Result<os::Poller> poller = os::Poller::create(false);
        if (!poller) {
            return poller.error();
        }
        set_.emplace(std::move(*poller));
        if (!set_->update(watches_)) {
            set_.reset();
            return Status::system;
        }
    }
    if (!call_) {
        call_ = above_stdio(UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
        if (!call_ || (set_ && !set_->poller.add(call_.get(), os::Poller::stop_id))) {
            call_.reset();
            return Status::system;
        }
        call_fd_ = call_.get();
        if (is_stopped()) { // by a stop that did not find it yet
            raise(call_.get());
        }
    }
    return Status::ok;
}

Doorbell::Woken Doorbell::poll_sockets(const Watches &watches, Instant until) noexcept {
    std::array<pollfd, watched + 1> targets{};
    targets[0] = {call_.get(), POLLIN, 0};
    for (std::size_t i = 0; i < watched; ++i) {
        const Watch &watch = watches[i];
        const int events = (watch.input ? POLLIN : 0) | (watch.output ? POLLOUT : 0);
        targets[i + 1] = {events != 0 ? watch.fd : -1, static_cast<short>(events), 0};
    }
    const Result<Wait> waited = os::wait_for_any(targets.data(), targets.size(), until);
    if (!waited) {
        return Woken::not_at_all;
    }
    return *waited == Wait::ready ? Woken::by_something : Woken::by_time;
}

Doorbell::Woken Doorbell::wait_on_set(Instant until) noexcept {
    return time_.wait(set_->poller.fd(), POLLIN, until) == Wait::ready ? Woken::by_something : Woken::by_time;
}

Doorbell::Woken Doorbell::look_out(Lock &lock, const Waiter &waiter, Instant until, const State &state,
                                   Instant &now) noexcept {
    settle_bell(state);
    lookout_ = &waiter;
    lookout_until_ = until;
    lookout_called_ = false;
    call_sleepers(state); // who found what he waits for while this thread was at work
    const Watches watches = watches_;
    lock.unlock();
    const Woken woken = set_ ? wait_on_set(until) : poll_sockets(watches, until);
    now = time_.now();
    if (woken == Woken::by_time) {
        now = std::max(now, until); // also with a clock that stands still
    }
    lock.lock();
    lookout_ = nullptr;
    if (lookout_called_) {
        lookout_called_ = false;
        lower(call_.get());
    }
    return woken;
}

bool Doorbell::begin_read(int socket) noexcept {
    reading_fd_ = socket;
    return !is_stopped();
}

void Doorbell::end_read() noexcept {
    reading_fd_ = -1;
}

void Doorbell::sleep(Lock &lock, const Waiter &waiter, Instant until) noexcept {
    Sleeper self;
    self.waiter = &waiter;
    self.after = sleepers_;
    if (sleepers_ != nullptr) {
        sleepers_->before = &self;
    }
    sleepers_ = &self;
    while (!self.is_called) {
        if (until == end_of_time) {
            self.called.wait(lock);
        } else if (self.called.wait_until(lock, to_steady(until)) == std::cv_status::timeout) {
            break;
        }
    }
    (self.before != nullptr ? self.before->after : sleepers_) = self.after;
    if (self.after != nullptr) {
        self.after->before = self.before;
    }
}

void Doorbell::call(Sleeper &sleeper) noexcept {
    if (!sleeper.is_called) {
        sleeper.is_called = true;
        sleeper.called.notify_one();
    }
}

// Those that have what they wait for; and one of them is the lookout, or on its way to be.
void Doorbell::call_sleepers(const State &state) noexcept {
    bool watched_over = lookout_ != nullptr;
    Sleeper *oldest = nullptr;
    for (Sleeper *sleeper = sleepers_; sleeper != nullptr; sleeper = sleeper->after) {
        if (is_stopped() || sleeper->waiter->satisfied(state)) {
            call(*sleeper);
        }
        watched_over = watched_over || sleeper->is_called;
        oldest = sleeper;
    }
    if (!watched_over && oldest != nullptr) {
        call(*oldest);
    }
}

// ---- everybody ------------------------------------------------------------------------------------------------------

bool Doorbell::settle(const State &state, const Watches &watches) noexcept {
    const bool sees_all = lookout_ == nullptr || set_ || covers(watches_, watches);
    const bool fine = watch(watches);
    settle_bell(state);
    if (lookout_ != nullptr && !lookout_called_ &&
        (!sees_all || state.wake_at < lookout_until_ || lookout_->satisfied(state))) {
        lookout_called_ = true;
        raise(call_.get());
    }
    if (sleepers_ != nullptr) {
        call_sleepers(state);
    }
    return fine;
}

void Doorbell::stop() noexcept {
    stopped_ = true;
    if (const int fd = call_fd_; fd >= 0) {
        raise(fd);
    }
    // A recvmsg(2) that has not begun reads this as it begins; one that has is interrupted by the signal in whose handler
    // this runs (socket(7), SO_RCVTIMEO; signal(7)).
    if (const int fd = reading_fd_; fd >= 0) {
        const int saved = errno;
        const timeval at_once{0, 1};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &at_once, sizeof at_once);
        errno = saved;
    }
}

} // namespace rp::handoff::session
