// Counts what this program takes from the heap through operator new, the library's part included.
#pragma once

#include <cstddef>

namespace rp::bench {

// Of this thread, since it began.
std::size_t allocations() noexcept;

// Of all threads, at this moment, as malloc_usable_size(3) has it: what was asked for and what rounding added.
std::size_t heap_bytes() noexcept;

} // namespace rp::bench
