// Processes that do not outlive the one that started them, and what they inherit.
#pragma once

#include <cstdint>
#include <functional>
#include <sys/types.h>

#include "base/unique_fd.hpp"

namespace rp::chaos {

// Runs body() and ends with status 0. Killed when its parent dies.
pid_t start_process(const std::function<void()> &body);

// Before the first one is started: from then on wait_for_child returns when one of them changes.
void block_child_signal();
// Waits at most so long (less than a second).
void wait_for_child(std::uint64_t duration_ns);

// Close-on-exec; `port` is set.
handoff::UniqueFd listen_on_loopback(std::uint16_t &port, int flags, int backlog);

} // namespace rp::chaos
