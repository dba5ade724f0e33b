#include "os/shared_memory.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/repeated.hpp"
#include "os/random.hpp"

namespace rp::handoff::os {

namespace {

constexpr int attempts = 16;

// A name that nobody else can foresee; it exists for a moment only.
UniqueFd open_unnamed() noexcept {
    SystemRandom random;
    for (int i = 0; i < attempts; ++i) {
        std::uint64_t number = 0;
        if (!random.fill(reinterpret_cast<std::uint8_t *>(&number), sizeof number)) {
            return UniqueFd();
        }
        char name[40];
        std::snprintf(name, sizeof name, "/rp_handoff-%016llx", static_cast<unsigned long long>(number));
        UniqueFd file(repeated([&] { return shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600); }));
        if (file) {
            shm_unlink(name);
            return above_stdio(std::move(file));
        }
        if (errno != EEXIST) {
            break;
        }
    }
    return UniqueFd();
}

} // namespace

Result<UniqueFd> create_shared_file(std::size_t size) noexcept {
    UniqueFd file = open_unnamed();
    if (!file || !is_within_file_limit(size) ||
        repeated([&] { return ftruncate(file.get(), static_cast<off_t>(size)); }) != 0) {
        return Failure(Status::system);
    }
    const int error = allocate_in_pieces(
        size, [&](off_t from, off_t length) noexcept { return posix_fallocate(file.get(), from, length); });
    if (error != 0) {
        errno = error;
        return Failure(Status::system);
    }
    return file;
}

Status check_shared_file(int fd, std::size_t size) noexcept {
    struct stat info {};
    const bool right = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size == static_cast<off_t>(size);
    return right ? Status::ok : Status::protocol;
}

} // namespace rp::handoff::os
