#include "os/wait.hpp"

#include <cerrno>
#include <ctime>

namespace rp::handoff::os {

Result<Wait> wait_for_any(pollfd *targets, std::size_t count, Instant until) noexcept {
    constexpr std::uint64_t ns_per_s = 1'000'000'000;
    SystemTime time;
    for (;;) {
        const Duration left = elapsed(time.now(), until);
        const timespec limit{static_cast<time_t>(left.count() / ns_per_s), static_cast<long>(left.count() % ns_per_s)};
        const int n = ppoll(targets, count, until == end_of_time ? nullptr : &limit, nullptr);
        if (n >= 0) {
            return n > 0 ? Wait::ready : Wait::timed_out;
        }
        if (errno != EINTR) {
            return Failure(Status::system);
        }
    }
}

} // namespace rp::handoff::os
