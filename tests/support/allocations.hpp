// Counts this program's allocations, and makes a chosen one fail.
#pragma once

#include <cstddef>

namespace rp::test {

// Of this thread, since it began.
std::size_t allocations() noexcept;

// While it lives, this thread's allocation number `nth`, counted from 0, throws std::bad_alloc.
class FailAllocation {
  public:
    explicit FailAllocation(std::size_t nth) noexcept;
    FailAllocation(const FailAllocation &) = delete;
    FailAllocation &operator=(const FailAllocation &) = delete;
    ~FailAllocation();

    bool happened() const noexcept;

  private:
    std::size_t number_;
};

} // namespace rp::test
