// Descriptor pressure: set by a system call that ran out of descriptors, cleared by so many accepts in a row that did
// not.
//
// Safe for several threads.
#pragma once

#include <cstdint>
#include <mutex>

#include "base/lock_probe.hpp"

namespace rp::handoff {

class PressureGuard {
  public:
    struct Statistics {
        bool demoted;
        std::uint32_t successes; // in a row, while demoted
        std::uint64_t episodes;
        std::uint64_t refusals;
    };

    explicit PressureGuard(std::uint32_t recovery_accepts = 3) noexcept;

    // Whether that errno is about descriptors; then this is a time of pressure.
    bool failed(int os_error) noexcept;
    void demote() noexcept;
    // Whether this success ended it.
    bool succeeded() noexcept;

    bool is_demoted() const noexcept;
    void count_refusal() noexcept;
    Statistics statistics() const noexcept;

    bool can_be_freed() noexcept { return are_free(mutex_); } // in a forked child

  private:
    mutable std::mutex mutex_;
    std::uint32_t recovery_accepts_;
    Statistics state_{};
};

} // namespace rp::handoff
