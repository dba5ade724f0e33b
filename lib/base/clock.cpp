#include "base/clock.hpp"

#include <cerrno>
#include <ctime>
#include <limits>
#include <poll.h>

namespace rp::handoff {

namespace {

constexpr std::uint64_t ns_per_s = 1'000'000'000;

timespec to_timespec(Duration d) noexcept {
    timespec ts{};
    ts.tv_sec = static_cast<time_t>(d.count() / ns_per_s);
    ts.tv_nsec = static_cast<long>(d.count() % ns_per_s);
    return ts;
}

} // namespace

Instant SystemTime::now() noexcept {
    timespec ts{};
    if (clock_gettime(CLOCK_MONOTONIC, &ts) != 0) {
        return end_of_time;
    }
    return Instant(Duration(static_cast<std::uint64_t>(ts.tv_sec) * ns_per_s + static_cast<std::uint64_t>(ts.tv_nsec)));
}

Wait SystemTime::wait(int fd, short events, Instant until) noexcept {
    for (;;) {
        pollfd target{fd, events, 0};
        const timespec left = to_timespec(elapsed(now(), until));
        const int n = ppoll(&target, 1, until == end_of_time ? nullptr : &left, nullptr);
        if (n > 0) {
            return Wait::ready;
        }
        if (n == 0 || errno != EINTR) {
            return Wait::timed_out;
        }
    }
}

} // namespace rp::handoff
