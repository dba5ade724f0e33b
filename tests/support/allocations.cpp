#include "support/allocations.hpp"

#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

thread_local std::size_t count = 0;
thread_local std::size_t failing = SIZE_MAX;

void *allocate(std::size_t size) noexcept {
    return count++ == failing ? nullptr : std::malloc(size > 0 ? size : 1);
}

void *allocate_or_throw(std::size_t size) {
    if (void *memory = allocate(size)) {
        return memory;
    }
    throw std::bad_alloc();
}

} // namespace

namespace rp::test {

std::size_t allocations() noexcept {
    return count;
}

FailAllocation::FailAllocation(std::size_t nth) noexcept : number_(count + nth) {
    failing = number_;
}

FailAllocation::~FailAllocation() {
    failing = SIZE_MAX;
}

bool FailAllocation::happened() const noexcept {
    return count > number_;
}

} // namespace rp::test

void *operator new(std::size_t size) {
    return allocate_or_throw(size);
}
void *operator new[](std::size_t size) {
    return allocate_or_throw(size);
}
void *operator new(std::size_t size, const std::nothrow_t &) noexcept {
    return allocate(size);
}
void *operator new[](std::size_t size, const std::nothrow_t &) noexcept {
    return allocate(size);
}
void operator delete(void *memory) noexcept {
    std::free(memory);
}
void operator delete[](void *memory) noexcept {
    std::free(memory);
}
void operator delete(void *memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete[](void *memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete(void *memory, const std::nothrow_t &) noexcept {
    std::free(memory);
}
void operator delete[](void *memory, const std::nothrow_t &) noexcept {
    std::free(memory);
}
