// Whether locks are free: a question for a forked child, in which nobody will ever give back what a thread of its parent
// held at the fork.
#pragma once

#include <mutex>

namespace rp::handoff {

template <class... Mutex>
bool are_free(Mutex &...mutexes) noexcept {
    return (std::unique_lock<Mutex>(mutexes, std::try_to_lock).owns_lock() && ...);
}

} // namespace rp::handoff
