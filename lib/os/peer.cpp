#include "os/peer.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef RP_HANDOFF_HAVE_LIBCAP
#include <memory>
#include <sys/capability.h>
#endif

namespace rp::handoff::os {

namespace {

tl::expected<UniqueFd, int> kept(UniqueFd fd) noexcept {
    UniqueFd higher = above_stdio(std::move(fd));
    if (!higher) {
        return tl::unexpected(errno);
    }
    return higher;
}

constexpr int so_peerpidfd = 77; // of asm-generic; the C library may be older
constexpr long pidfs_magic = 0x50494446;
constexpr std::uint64_t all_ids = 0xFFFFFFFF; // the last of 2^32 is no id

// The beginning of a small file; empty if it cannot be read.
class SmallFile {
  public:
    explicit SmallFile(const char *path) noexcept {
        const UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
        ssize_t n = 1;
        while (fd && n != 0 && size_ < bytes_.size()) {
            n = read(fd.get(), bytes_.data() + size_, bytes_.size() - size_);
            if (n < 0 && errno != EINTR) {
                break;
            }
            size_ += n > 0 ? static_cast<std::size_t>(n) : 0;
        }
    }
    std::string_view text() const noexcept { return {bytes_.data(), size_}; }

  private:
    std::size_t size_ = 0;
    std::array<char, 4096> bytes_;
};

// Takes the next number from the front, and whatever blanks are before it. False if something else is there.
bool take_number(std::string_view &text, std::uint64_t &number) noexcept {
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return error == std::errc();
}

std::uint32_t id_in(const char *path, std::uint32_t otherwise) noexcept {
    const SmallFile file(path);
    std::string_view text = file.text();
    std::uint64_t id = 0;
    return take_number(text, id) && id < all_ids ? static_cast<std::uint32_t>(id) : otherwise;
}

} // namespace

tl::expected<PeerCredentials, int> peer_credentials(int connection) noexcept {
    ucred credentials{};
    socklen_t length = sizeof credentials;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0 || length != sizeof credentials ||
        credentials.uid == static_cast<uid_t>(-1)) {
        return tl::unexpected(errno);
    }
    return PeerCredentials{static_cast<std::uint32_t>(credentials.pid), credentials.uid, credentials.gid};
}

bool maps_every_id(std::string_view uid_map) noexcept {
    std::uint64_t mapped = 0;
    std::uint64_t inside = 0;
    std::uint64_t outside = 0;
    std::uint64_t length = 0;
    while (take_number(uid_map, inside) && take_number(uid_map, outside) && take_number(uid_map, length)) {
        mapped += length;
        uid_map.remove_prefix(std::min<std::size_t>(uid_map.size(), 1)); // the end of the line
    }
    return mapped >= all_ids;
}

OverflowIds overflow_ids() noexcept {
    const OverflowIds usual;
    return {id_in("/proc/sys/kernel/overflowuid", usual.uid), id_in("/proc/sys/kernel/overflowgid", usual.gid),
            maps_every_id(SmallFile("/proc/self/uid_map").text())};
}

tl::expected<UniqueFd, int> peer_pidfd(int connection) noexcept {
    int fd = -1;
    socklen_t length = sizeof fd;
    if (getsockopt(connection, SOL_SOCKET, so_peerpidfd, &fd, &length) != 0) {
        return tl::unexpected(errno);
    }
    return kept(UniqueFd(fd));
}

tl::expected<UniqueFd, int> pidfd_of(std::uint32_t pid) noexcept {
#ifdef SYS_pidfd_open
    const long fd = syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0);
    if (fd < 0) {
        return tl::unexpected(errno);
    }
    return kept(UniqueFd(static_cast<int>(fd)));
#else
    static_cast<void>(pid);
    return tl::unexpected(ENOSYS);
#endif
}

std::uint32_t pid_in_own_namespace(int pidfd) noexcept {
    constexpr std::string_view directory = "/proc/self/fdinfo/";
    std::array<char, 64> path{}; // longer than any: a NUL follows
    char *const name = std::copy(directory.begin(), directory.end(), path.begin());
    std::to_chars(name, path.end() - 1, pidfd);
    const SmallFile file(path.data());
    constexpr std::string_view key = "\nNSpid:"; // from the namespace of /proc inwards
    const std::size_t at = file.text().find(key);
    if (at == std::string_view::npos) {
        return 0;
    }
    std::string_view line = file.text().substr(at + key.size());
    line = line.substr(0, line.find('\n'));
    std::uint64_t pid = 0;
    while (take_number(line, pid)) {
    }
    return static_cast<std::uint32_t>(pid);
}

std::uint64_t number_of_process(int pidfd) noexcept {
    struct statfs system {};
    struct stat info {};
    const bool is_unique = fstatfs(pidfd, &system) == 0 && system.f_type == pidfs_magic && fstat(pidfd, &info) == 0;
    return is_unique ? info.st_ino : 0;
}

#ifdef RP_HANDOFF_HAVE_LIBCAP

Exemption in_flight_exemption() noexcept {
    const std::unique_ptr<void, int (*)(void *)> held(cap_get_proc(), cap_free);
    if (held == nullptr) {
        return Exemption::unknown;
    }
    for (const cap_value_t capability : {CAP_SYS_RESOURCE, CAP_SYS_ADMIN}) {
        cap_flag_value_t set = CAP_CLEAR;
        if (cap_get_flag(static_cast<cap_t>(held.get()), capability, CAP_EFFECTIVE, &set) == 0 && set == CAP_SET) {
            return Exemption::yes;
        }
    }
    return Exemption::no;
}

#else

Exemption in_flight_exemption() noexcept {
    return Exemption::unknown;
}

#endif

} // namespace rp::handoff::os
