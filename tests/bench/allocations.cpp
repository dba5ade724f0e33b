#include "allocations.hpp"

#include <atomic>
#include <cstddef>

// The C library's own, which it exports for who replaces them (malloc(3) of glibc, "Replacing malloc").
extern "C" {
void *__libc_malloc(std::size_t size);
void *__libc_calloc(std::size_t count, std::size_t size);
void *__libc_realloc(void *memory, std::size_t size);
void *__libc_memalign(std::size_t alignment, std::size_t size);
}

namespace {

std::atomic<std::uint64_t> count{0};

} // namespace

namespace rp::bench {

std::uint64_t allocations() noexcept {
    return count.load(std::memory_order_relaxed);
}

} // namespace rp::bench

extern "C" {

void *malloc(std::size_t size) {
    count.fetch_add(1, std::memory_order_relaxed);
    return __libc_malloc(size);
}

void *calloc(std::size_t number, std::size_t size) {
    count.fetch_add(1, std::memory_order_relaxed);
    return __libc_calloc(number, size);
}

void *realloc(void *memory, std::size_t size) {
    count.fetch_add(1, std::memory_order_relaxed);
    return __libc_realloc(memory, size);
}

void *aligned_alloc(std::size_t alignment, std::size_t size) {
    count.fetch_add(1, std::memory_order_relaxed);
    return __libc_memalign(alignment, size);
}
}
