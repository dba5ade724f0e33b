#include "handoff/in_flight.hpp"

namespace rp::handoff {

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
        if (queue_is_empty_(at->socket.get())) {
            count_ -= at->count;
            at = remains_.erase(at);
        } else {
            ++at;
        }
    }
}

} // namespace rp::handoff
