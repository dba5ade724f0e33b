// Memory that two processes share through a descriptor, and that neither can resize under the other.
//
// Two variants, chosen at build time. shared_memory_memfd.cpp: a memfd, sealed. shared_memory_shm.cpp: shm_open(3) for
// systems without memfd_create(2); it has no seals, so a peer that truncates it makes us fault (SIGBUS): for trusted peers
// only.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <sys/types.h>

#include "base/status.hpp"
#include "base/unique_fd.hpp"

namespace rp::handoff::os {

// Whether a file may be so long. Beyond RLIMIT_FSIZE ftruncate(2) raises a signal (setrlimit(2), SIGXFSZ). No: EFBIG.
bool is_within_file_limit(std::size_t size) noexcept;

// Memory for a whole file, at most 1 MiB at a time: fallocate(2) on tmpfs gives back what it has taken when a signal comes,
// so that one large call could start over for ever. allocate(from, length) answers errno.
template <class Allocate>
int allocate_in_pieces(std::size_t size, Allocate allocate) noexcept {
    constexpr std::size_t largest = std::size_t{1024} * 1024;
    for (std::size_t from = 0; from < size;) {
        const std::size_t length = std::min(largest, size - from);
        const int error = allocate(static_cast<off_t>(from), static_cast<off_t>(length));
        if (error != 0 && error != EINTR) {
            return error;
        }
        from += error == 0 ? length : 0;
    }
    return 0;
}

// Zeroed, its memory taken already. system.
Result<UniqueFd> create_shared_file(std::size_t size) noexcept;

// Whether what a peer sent is such a file of exactly this size. protocol.
Status check_shared_file(int fd, std::size_t size) noexcept;

// A mapping for as long as it lives.
class SharedMemory {
  public:
    static Result<SharedMemory> map(int fd, std::size_t size) noexcept;

    SharedMemory(SharedMemory &&other) noexcept
        : address_(std::exchange(other.address_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    SharedMemory &operator=(SharedMemory &&) = delete;
    SharedMemory(const SharedMemory &) = delete;
    SharedMemory &operator=(const SharedMemory &) = delete;
    ~SharedMemory();

    void *address() noexcept { return address_; }

  private:
    SharedMemory(void *address, std::size_t size) noexcept : address_(address), size_(size) {}

    void *address_;
    std::size_t size_;
};

} // namespace rp::handoff::os
