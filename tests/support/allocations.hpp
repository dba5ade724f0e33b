// Counts this program's allocations, and makes a chosen one fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <doctest/doctest.h>

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

// What call() answered while its allocation `nth` failed.
struct Answer {
    std::int32_t status;
    bool happened; // it made so many
};
template <class Call>
Answer without_memory(std::size_t nth, Call call) {
    const FailAllocation fail(nth);
    const std::int32_t status = call();
    return {status, fail.happened()};
}

// attempt(nth) does the whole thing with allocation number nth failing, and answers whether it came to that; until it did
// not. At least so many failed, or nothing was tried.
template <class Attempt>
void for_every_allocation(std::size_t at_least, Attempt attempt) {
    std::size_t nth = 0;
    while (attempt(nth)) {
        REQUIRE(++nth < 1000);
    }
    CHECK(nth >= at_least);
}

} // namespace rp::test
