// Time as the library sees it: monotonic nanoseconds, unsigned, from a source that the caller can replace.
//
// The source is now() *and* wait(): with only the first replaceable, a test with a frozen clock would hang in a real
// poll(2). All arithmetic on instants goes through the three functions below, which fail closed.
#pragma once

#include <chrono>
#include <cstdint>

namespace rp::handoff {

struct MonotonicTime {
    using rep = std::uint64_t;
    using period = std::nano;
    using duration = std::chrono::duration<rep, period>;
};
using Duration = MonotonicTime::duration;
using Instant = std::chrono::time_point<MonotonicTime>;

// The end of time: what a failed clock reads, and the deadline of what has none.
inline constexpr Instant end_of_time = Instant::max();

// now + d, or now itself where that does not fit, so that what it limits is due at once.
constexpr Instant after(Instant now, Duration d) noexcept {
    return d > Instant::max() - now ? now : now + d;
}

// A limit is passed when now has reached it: equality is late.
constexpr bool is_due(Instant limit, Instant now) noexcept {
    return now >= limit;
}

// to - from, or zero where the clock was set back in between.
constexpr Duration elapsed(Instant from, Instant to) noexcept {
    return to > from ? to - from : Duration::zero();
}

enum class Wait { ready, timed_out };

class TimeSource {
  public:
    TimeSource() = default;
    TimeSource(const TimeSource &) = delete;
    TimeSource &operator=(const TimeSource &) = delete;
    virtual ~TimeSource() = default;

    virtual Instant now() noexcept = 0;

    // Waits for poll(2) events on a borrowed descriptor. An error condition of the descriptor counts as ready; a wait
    // that cannot be carried out counts as timed out.
    virtual Wait wait(int fd, short events, Instant until) noexcept = 0;

    // Whether instants are CLOCK_MONOTONIC's, so that the kernel may wait in other calls than `wait` too.
    virtual bool is_real() const noexcept { return false; }
};

// For condition variables: std::chrono::steady_clock is CLOCK_MONOTONIC where the time source is real.
inline std::chrono::steady_clock::time_point to_steady(Instant instant) noexcept {
    constexpr std::uint64_t limit = INT64_MAX;
    const std::uint64_t ns = instant.time_since_epoch().count();
    return std::chrono::steady_clock::time_point(
        std::chrono::nanoseconds(static_cast<std::int64_t>(ns < limit ? ns : limit)));
}

// CLOCK_MONOTONIC and ppoll(2). Repeats waits that a signal interrupts.
class SystemTime final : public TimeSource {
  public:
    Instant now() noexcept override;
    Wait wait(int fd, short events, Instant until) noexcept override;
    bool is_real() const noexcept override { return true; }
};

} // namespace rp::handoff
