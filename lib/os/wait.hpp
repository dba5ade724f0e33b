// Waiting for several descriptors at once.
#pragma once

#include <cstddef>
#include <poll.h>

#include "base/clock.hpp"
#include "base/status.hpp"

namespace rp::handoff::os {

// poll(2) until an instant of CLOCK_MONOTONIC, which a signal does not stretch. Fills in revents. system.
Result<Wait> wait_for_any(pollfd *targets, std::size_t count, Instant until) noexcept;

} // namespace rp::handoff::os
