// Random bytes of the kernel's, as they are asked for, and from a pool.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/random_source.hpp"

namespace rp::handoff::os {

// getrandom(2).
class SystemRandom final : public RandomSource {
  public:
    bool fill(std::uint8_t *out, std::size_t length) noexcept override;
};

// getrandom(2) for many small requests: it is asked for a block, which is handed out in pieces.
//
// Each piece is wiped from the pool as it leaves. Safe for several threads, none of which waits: one that finds the
// pool in use asks the kernel itself. The pool lies on a page that fork(2) gives to the child as zeros, so that parent
// and child never hand out the same bytes; where the system cannot do that there is no pool.
class PooledRandom final : public RandomSource {
  public:
    static constexpr std::size_t block = 2048;

    PooledRandom() noexcept;
    ~PooledRandom() override;

    bool fill(std::uint8_t *out, std::size_t length) noexcept override;

  private:
    // All zeros is an empty one.
    struct Pool {
        std::size_t left;
        std::array<std::uint8_t, block> bytes;
    };

    bool take(std::uint8_t *out, std::size_t length) noexcept;

    SystemRandom kernel_;
    Pool *pool_;
    std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

} // namespace rp::handoff::os
