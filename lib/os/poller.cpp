#include "os/poller.hpp"

#include <cerrno>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/repeated.hpp"

namespace rp::handoff::os {

namespace {

// write(2) is async-signal-safe, and its errno must not show in the interrupted code.
void raise_signal(int event_fd) noexcept {
    const int saved = errno;
    const std::uint64_t one = 1;
    const ssize_t written = write(event_fd, &one, sizeof one);
    static_cast<void>(written); // EAGAIN: it is raised already
    errno = saved;
}

void take_signal(int event_fd) noexcept {
    std::uint64_t count = 0;
    const ssize_t taken = read(event_fd, &count, sizeof count);
    static_cast<void>(taken); // EAGAIN: another thread took it
}

} // namespace

Result<Poller> Poller::create(bool stoppable) noexcept {
    Poller poller;
    poller.epoll_ = above_stdio(UniqueFd(epoll_create1(EPOLL_CLOEXEC)));
    poller.nudge_ = above_stdio(UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
    if (!poller.epoll_ || !poller.nudge_ || !poller.add(poller.nudge_.get(), nudge_id)) {
        return Failure(Status::system);
    }
    if (stoppable) {
        poller.stop_ = above_stdio(UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
        if (!poller.stop_ || !poller.add(poller.stop_.get(), stop_id)) {
            return Failure(Status::system);
        }
    }
    return poller;
}

bool Poller::add(int fd, Id id) noexcept {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = id;
    return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void Poller::remove(int fd) noexcept {
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void Poller::enable(int fd, Id id, bool enabled, bool for_output) noexcept {
    epoll_event event{};
    event.events =
        (enabled ? static_cast<std::uint32_t>(EPOLLIN) : 0U) | (for_output ? static_cast<std::uint32_t>(EPOLLOUT) : 0U);
    event.data.u64 = id;
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

Poller::Ready Poller::ready() noexcept {
    std::array<epoll_event, std::tuple_size<decltype(Ready::ids)>::value> events{};
    Ready ready{{}, 0, 0};
    const int n = repeated([&] { return epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0); });
    ready.os_error = n < 0 ? errno : 0;
    for (int i = 0; i < n; ++i) {
        ready.ids[ready.count++] = events[static_cast<std::size_t>(i)].data.u64;
    }
    return ready;
}

void Poller::stop() noexcept {
    raise_signal(stop_.get());
}

void Poller::nudge() noexcept {
    raise_signal(nudge_.get());
}

void Poller::take_stop() noexcept {
    take_signal(stop_.get());
}

void Poller::take_nudge() noexcept {
    take_signal(nudge_.get());
}

} // namespace rp::handoff::os
