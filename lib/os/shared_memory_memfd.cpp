#include "os/shared_memory.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/repeated.hpp"

namespace rp::handoff::os {

namespace {

// Linux 6.3, and demanded where the sysctl vm.memfd_noexec is 2; earlier kernels answer EINVAL. Source:
// include/uapi/linux/memfd.h.
constexpr unsigned noexec_seal = 8;

constexpr int seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;

// A memfd of huge pages would fault where none are left. Source: include/uapi/linux/magic.h.
constexpr long tmpfs_magic = 0x01021994;

} // namespace

Result<UniqueFd> create_shared_file(std::size_t size) noexcept {
    constexpr unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    UniqueFd file = above_stdio(UniqueFd(memfd_create("rp_handoff", flags | noexec_seal)));
    if (!file && errno == EINVAL) {
        file = above_stdio(UniqueFd(memfd_create("rp_handoff", flags)));
    }
    if (!file || !is_within_file_limit(size) ||
        repeated([&] { return ftruncate(file.get(), static_cast<off_t>(size)); }) != 0) {
        return Failure(Status::system);
    }
    const int error = allocate_in_pieces(size, [&](off_t from, off_t length) noexcept {
        return fallocate(file.get(), 0, from, length) == 0 ? 0 : errno;
    });
    if (error != 0) {
        errno = error;
        return Failure(Status::system);
    }
    if (fcntl(file.get(), F_ADD_SEALS, seals) != 0) {
        return Failure(Status::system);
    }
    return file;
}

Status check_shared_file(int fd, std::size_t size) noexcept {
    struct stat info {};
    struct statfs system {};
    const int found = fcntl(fd, F_GET_SEALS);
    const bool right = found >= 0 && (found & seals) == seals && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
                       info.st_size == static_cast<off_t>(size) &&
                       repeated([&] { return fstatfs(fd, &system); }) == 0 &&
                       static_cast<long>(system.f_type) == tmpfs_magic;
    return right ? Status::ok : Status::protocol;
}

} // namespace rp::handoff::os
