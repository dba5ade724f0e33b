// Numbers that follow from a seed, the same on every machine: splitmix64, which needs no table and has no bad seeds.
#pragma once

#include <cstdint>

namespace rp::chaos {

class Random {
  public:
    explicit Random(std::uint64_t seed) noexcept : state_(seed) {}
    // Of one seed and what it is used for, so that a process draws the same numbers whatever the others do.
    Random(std::uint64_t seed, std::uint64_t purpose) noexcept : state_(seed ^ (purpose * 0xD1342543DE82EF95u)) {
        next();
    }

    std::uint64_t next() noexcept {
        state_ += 0x9E3779B97F4A7C15u;
        std::uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }

    std::uint32_t below(std::uint32_t limit) noexcept { return static_cast<std::uint32_t>(next() % limit); }
    std::uint32_t between(std::uint32_t least, std::uint32_t most) noexcept { return least + below(most - least + 1); }
    bool percent(std::uint32_t chance) noexcept { return below(100) < chance; }
    bool one_in(std::uint32_t n) noexcept { return n != 0 && below(n) == 0; } // 0: never

    template <class Value, std::size_t Count>
    Value one_of(const Value (&values)[Count]) noexcept {
        return values[below(Count)];
    }

  private:
    std::uint64_t state_;
};

} // namespace rp::chaos
