#include "heap.hpp"

#include <atomic>
#include <cstdlib>
#include <malloc.h>
#include <new>

namespace {

thread_local std::size_t count = 0;
std::atomic<std::size_t> bytes{0};

void *allocate(std::size_t size) {
    void *const memory = std::malloc(size > 0 ? size : 1);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    ++count;
    bytes += malloc_usable_size(memory);
    return memory;
}

void release(void *memory) noexcept {
    bytes -= malloc_usable_size(memory);
    std::free(memory);
}

} // namespace

namespace rp::bench {

std::size_t allocations() noexcept {
    return count;
}

std::size_t heap_bytes() noexcept {
    return bytes;
}

} // namespace rp::bench

void *operator new(std::size_t size) {
    return allocate(size);
}
void *operator new[](std::size_t size) {
    return allocate(size);
}
void operator delete(void *memory) noexcept {
    release(memory);
}
void operator delete[](void *memory) noexcept {
    release(memory);
}
void operator delete(void *memory, std::size_t) noexcept {
    release(memory);
}
void operator delete[](void *memory, std::size_t) noexcept {
    release(memory);
}
