#include "handoff/pressure.hpp"

#include <algorithm>
#include <cerrno>

namespace rp::handoff {

using Lock = std::lock_guard<std::mutex>;

PressureGuard::PressureGuard(std::uint32_t recovery_accepts) noexcept
    : recovery_accepts_(std::max(recovery_accepts, 1U)) {}

bool PressureGuard::failed(int os_error) noexcept {
    if (os_error != EMFILE && os_error != ENFILE && os_error != ETOOMANYREFS) {
        return false;
    }
    demote();
    return true;
}

void PressureGuard::demote() noexcept {
    const Lock lock(mutex_);
    state_.episodes += state_.demoted ? 0 : 1;
    state_.demoted = true;
    state_.successes = 0;
}

bool PressureGuard::succeeded() noexcept {
    const Lock lock(mutex_);
    if (!state_.demoted || ++state_.successes < recovery_accepts_) {
        return false;
    }
    state_.demoted = false;
    state_.successes = 0;
    return true;
}

bool PressureGuard::is_demoted() const noexcept {
    const Lock lock(mutex_);
    return state_.demoted;
}

void PressureGuard::count_refusal() noexcept {
    const Lock lock(mutex_);
    ++state_.refusals;
}

PressureGuard::Statistics PressureGuard::statistics() const noexcept {
    const Lock lock(mutex_);
    return state_;
}

} // namespace rp::handoff
