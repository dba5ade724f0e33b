#include "in_flight.hpp"

#include <algorithm>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

namespace rp::handoff {

namespace {

std::uint64_t descriptor_limit() noexcept {
    rlimit limit{};
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
}

} // namespace

// SIOCOUTQ: the bytes that the peer has not read; none are left either when it closed its end (unix(7), SIOCOUTQ in
// net/unix/af_unix.c).
bool InFlight::queue_is_empty(int socket) noexcept {
    int unread = 0;
    return ioctl(socket, SIOCOUTQ, &unread) != 0 || unread == 0;
}

InFlight::InFlight(std::uint32_t percent) noexcept
    : limit_(
          std::max<std::uint64_t>(descriptor_limit() / 100 * percent + descriptor_limit() % 100 * percent / 100, 1)) {}

bool InFlight::acquire() noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (count_ >= limit_) {
        collect();
    }
    if (count_ >= limit_) {
        return false;
    }
    ++count_;
    return true;
}

void InFlight::release(std::uint32_t count) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    count_ -= count;
}

void InFlight::leave(Place &place, UniqueFd socket, std::uint32_t count) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    place.front() = {std::move(socket), count};
    remains_.splice(remains_.end(), place);
    collect();
}

void InFlight::collect() noexcept {
    for (auto at = remains_.begin(); at != remains_.end();) {
        if (queue_is_empty(at->socket.get())) {
            count_ -= at->count;
            at = remains_.erase(at);
        } else {
            ++at;
        }
    }
}

} // namespace rp::handoff
