// A set of descriptors that is itself one descriptor, to be waited on by any loop: epoll(7), level-triggered, and two
// signals that other threads can raise.
//
// Safe for several threads as far as the kernel is; who closes what is the owner's business.
#pragma once

#include <array>
#include <cstdint>

#include "base/status.hpp"
#include "base/unique_fd.hpp"

namespace rp::handoff::os {

class Poller {
  public:
    using Id = std::uint64_t;

    // What ready() answers beside the ids of add().
    static constexpr Id stop_id = 0;
    static constexpr Id nudge_id = 1;
    static constexpr Id first_free_id = 2;

    // Without `stoppable` there is no stop, and a descriptor less. unsupported, system.
    static Result<Poller> create(bool stoppable) noexcept;

    int fd() const noexcept { return epoll_.get(); }

    // Watches for input. False: errno tells. A descriptor leaves by remove(), or when its last duplicate is closed.
    bool add(int fd, Id id) noexcept;
    void remove(int fd) noexcept;
    // Whether an added descriptor is looked at, and whether for room to write too.
    void enable(int fd, Id id, bool enabled, bool for_output = false) noexcept;

    struct Ready {
        std::array<Id, 64> ids;
        std::size_t count;
        int os_error; // 0, or why nobody knows what is ready: who waits on the poller would then spin
    };
    Ready ready() noexcept; // does not wait

    // The stop is for ever, and async-signal-safe; but only a flag of the owner's says whether it was meant, for somebody else
    // may write into the event. What is stray is taken out, and who then finds that it was meant raises it again.
    void stop() noexcept;
    void take_stop() noexcept;
    void nudge() noexcept;
    void take_nudge() noexcept;

  private:
    UniqueFd epoll_;
    UniqueFd stop_;
    UniqueFd nudge_;
};

} // namespace rp::handoff::os
