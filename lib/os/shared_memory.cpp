#include "os/shared_memory.hpp"

#include <cerrno>
#include <sys/mman.h>
#include <sys/resource.h>

namespace rp::handoff::os {

bool is_within_file_limit(std::size_t size) noexcept {
    rlimit limit{};
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < size) {
        errno = EFBIG;
        return false;
    }
    return true;
}

Result<SharedMemory> SharedMemory::map(int fd, std::size_t size) noexcept {
    void *const address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (address == MAP_FAILED) {
        return Failure(Status::system);
    }
    return SharedMemory(address, size);
}

SharedMemory::~SharedMemory() {
    if (address_ != nullptr) {
        munmap(address_, size_);
    }
}

} // namespace rp::handoff::os
