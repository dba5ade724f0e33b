#include "os/random.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <sys/random.h>

namespace rp::handoff::os {

namespace {

// Null where there is no memory that a forked child finds empty (Linux 4.14 has it).
void *map_wiped_on_fork(std::size_t size) noexcept {
#ifdef MADV_WIPEONFORK
    void *const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return nullptr;
    }
    if (madvise(memory, size, MADV_WIPEONFORK) == 0) {
        return memory;
    }
    munmap(memory, size);
#else
    static_cast<void>(size);
#endif
    return nullptr;
}

} // namespace

bool SystemRandom::fill(std::uint8_t *out, std::size_t length) noexcept {
    while (length > 0) {
        const ssize_t n = getrandom(out, length, 0);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        if (n > 0) {
            out += n;
            length -= static_cast<std::size_t>(n);
        }
    }
    return true;
}

PooledRandom::PooledRandom() noexcept : pool_(static_cast<Pool *>(map_wiped_on_fork(sizeof(Pool)))) {}

PooledRandom::~PooledRandom() {
    if (pool_ != nullptr) {
        explicit_bzero(pool_, sizeof(Pool));
        munmap(pool_, sizeof(Pool));
    }
}

bool PooledRandom::fill(std::uint8_t *out, std::size_t length) noexcept {
    if (pool_ == nullptr || length > block || busy_.test_and_set(std::memory_order_acquire)) {
        return kernel_.fill(out, length);
    }
    const bool filled = take(out, length);
    busy_.clear(std::memory_order_release);
    return filled;
}

bool PooledRandom::take(std::uint8_t *out, std::size_t length) noexcept {
    if (pool_->left < length) {
        pool_->left = 0; // also if there is nothing new
        if (!kernel_.fill(pool_->bytes.data(), block)) {
            return false;
        }
        pool_->left = block;
    }
    pool_->left -= length;
    std::uint8_t *const piece = pool_->bytes.data() + pool_->left;
    std::copy_n(piece, length, out);
    explicit_bzero(piece, length);
    return true;
}

} // namespace rp::handoff::os
