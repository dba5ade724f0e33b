// Counts the allocations of a whole program, the libraries in it included: allocations.cpp takes malloc's place.
#pragma once

#include <cstdint>

namespace rp::bench {

// Of this process so far.
std::uint64_t allocations() noexcept;

} // namespace rp::bench
