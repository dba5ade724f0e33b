#include "shared_memory.hpp"

#include <sys/mman.h>

namespace rp::handoff {

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

} // namespace rp::handoff
