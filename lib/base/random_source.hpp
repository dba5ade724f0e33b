// Where random bytes come from: the kernel, or the caller.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rp::handoff {

class RandomSource {
  public:
    RandomSource() = default;
    RandomSource(const RandomSource &) = delete;
    RandomSource &operator=(const RandomSource &) = delete;
    virtual ~RandomSource() = default;

    virtual bool fill(std::uint8_t *out, std::size_t length) noexcept = 0;
};

} // namespace rp::handoff
