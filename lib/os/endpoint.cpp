#include "os/endpoint.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <string_view>
#include <sys/file.h>
#include <sys/stat.h>
#include <utility>

#include "base/repeated.hpp"
#include "os/address.hpp"
#include "os/closing.hpp"
#include "os/fork_mark.hpp"

namespace rp::handoff::os {

namespace {

constexpr int backlog = 128;
constexpr std::string_view path_member = "path";

Status fail(Explanation &why, Status status, std::string_view sentence) noexcept {
    return why.because(status, path_member, sentence);
}

Status fail_with_errno(Explanation &why, std::string_view sentence) noexcept {
    const int error = errno;
    Text text(sentence);
    text += ": ";
    const char *const words = strerrordesc_np(error);
    text += words != nullptr ? words : "unknown error";
    const Status status = why.because(Status::system, path_member, text.view(), error);
    errno = error;
    return status;
}

bool same_user(const struct stat &info) noexcept {
    return info.st_uid == geteuid();
}

// Without what a spelling can add behind it, for O_NOFOLLOW looks at the last component as it is written.
std::string directory_of(const std::string &path) {
    const std::size_t slash = path.rfind('/');
    std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    for (;;) {
        const std::size_t size = directory.size();
        if ((size > 1 && directory.back() == '/') || (size > 2 && directory.compare(size - 2, 2, "/.") == 0)) {
            directory.pop_back();
        } else {
            return directory;
        }
    }
}

void append_mode(Text &text, mode_t mode) noexcept {
    const auto digit = [mode](unsigned shift) { return static_cast<char>('0' + (mode >> shift & 7U)); };
    const char octal[] = {'0', digit(6), digit(3), digit(0)};
    text += std::string_view(octal, sizeof octal);
}

Status check_directory(const struct stat &info, Explanation &why) noexcept {
    if (!same_user(info)) {
        Text text("directory of the socket must belong to user ");
        text += static_cast<std::int64_t>(geteuid());
        text += ", belongs to user ";
        text += static_cast<std::int64_t>(info.st_uid);
        return fail(why, Status::path_unsafe, text.view());
    }
    if ((info.st_mode & 0777U) != 0700U) {
        Text text("directory of the socket must have mode 0700, is ");
        append_mode(text, info.st_mode);
        return fail(why, Status::path_unsafe, text.view());
    }
    return Status::ok;
}

Result<UniqueFd> open_directory(const std::string &path, Explanation &why) {
    const std::string name = directory_of(path);
    constexpr int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    UniqueFd directory = above_stdio(UniqueFd(repeated([&] { return open(name.c_str(), flags); })));
    if (!directory && (errno == ENOTDIR || errno == ELOOP)) {
        return Failure(fail(why, Status::path_unsafe,
                            "directory of the socket must be a directory itself, no symbolic link to one and no file"));
    }
    struct stat info {};
    if (!directory || fstat(directory.get(), &info) != 0) {
        return Failure(fail_with_errno(why, "directory of the socket cannot be opened"));
    }
    if (const Status status = check_directory(info, why); status != Status::ok) {
        return Failure(status);
    }
    return directory;
}

// Unlocks by its own word: a child that was forked meanwhile has the same lock, and closing our copy would leave it there.
class DirectoryLock {
  public:
    explicit DirectoryLock(int directory) noexcept : directory_(directory) {}
    DirectoryLock(const DirectoryLock &) = delete;
    DirectoryLock &operator=(const DirectoryLock &) = delete;
    ~DirectoryLock() {
        const int error = errno;
        repeated([this] { return flock(directory_, LOCK_UN); });
        errno = error;
    }

    Status take(Explanation &why) noexcept;

  private:
    int directory_;
};

Status DirectoryLock::take(Explanation &why) noexcept {
    constexpr Duration longest_pause = std::chrono::milliseconds(50);
    SystemTime time;
    const Instant until = after(time.now(), Endpoint::longest_lock_wait);
    Duration pause = std::chrono::milliseconds(1);
    while (repeated([this] { return flock(directory_, LOCK_EX | LOCK_NB); }) != 0) {
        if (errno != EWOULDBLOCK) {
            return fail_with_errno(why, "directory of the socket cannot be locked");
        }
        const Instant now = time.now();
        if (is_due(until, now)) {
            return fail(why, Status::path_locked,
                        "another process holds a lock (flock) on the directory of the socket; give the socket a "
                        "directory of its own");
        }
        time.wait(-1, 0, std::min(until, after(now, pause)));
        pause = std::min(pause * 2, longest_pause);
    }
    return Status::ok;
}

// ok if nothing is in the way any more.
Status remove_stale(int directory, const char *name, const Address &address, Explanation &why) noexcept {
    struct stat info {};
    if (fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? Status::ok : fail_with_errno(why, "what is at the path cannot be looked at");
    }
    if (!S_ISSOCK(info.st_mode) || !same_user(info)) {
        return fail(why, Status::path_foreign, "what is at the path is no socket of this user, so it stays");
    }
    const DrainedFd probe(above_stdio(UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0))));
    if (!probe) {
        return fail_with_errno(why, "no socket to look at what is at the path");
    }
    if (repeated([&] { return ::connect(probe.get(), address.get(), address.length); }) == 0 || errno == EAGAIN) {
        return fail(why, Status::path_in_use, "a process listens at the path already");
    }
    if (errno == EPROTOTYPE) {
        return fail(why, Status::path_foreign, "the socket at the path is no stream socket, so it stays");
    }
    if (errno != ECONNREFUSED) {
        return fail_with_errno(why, "the socket at the path cannot be asked whether somebody listens");
    }
    return unlinkat(directory, name, 0) == 0 || errno == ENOENT
               ? Status::ok
               : fail_with_errno(why, "the stale socket at the path cannot be removed");
}

bool is_listening_unix_stream(int fd) noexcept {
    int listening = 0;
    socklen_t length = sizeof listening;
    return is_unix_stream(fd) && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening != 0;
}

} // namespace

Status Endpoint::bind_and_listen(const char *path, Explanation &why) noexcept {
    const Address address = to_address(path);
    if (const Status status = remove_stale(directory_.get(), name_.c_str(), address, why); status != Status::ok) {
        return status;
    }
    socket_ = above_stdio(UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
    // The kernel gives the name the mode of the socket's own inode, less the umask (unix_bind_bsd in
    // net/unix/af_unix.c), so that no moment passes in which the name has another.
    if (!socket_ || fchmod(fd(), 0600) != 0) {
        return fail_with_errno(why, "the socket cannot be made");
    }
    if (bind(fd(), address.get(), address.length) != 0) {
        return errno == EADDRINUSE ? fail(why, Status::path_in_use, "another process has just taken the path")
                                   : fail_with_errno(why, "the socket cannot be bound to the path");
    }
    struct stat info {};
    if (fstatat(directory_.get(), name_.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISSOCK(info.st_mode)) {
        unlink(path);
        return fail(why, Status::path_unsafe, "the path leads to another directory than a moment before");
    }
    device_ = info.st_dev;
    inode_ = info.st_ino;
    // What a umask took from the owner too is given back.
    if (fchmodat(directory_.get(), name_.c_str(), 0600, 0) != 0 || ::listen(fd(), backlog) != 0) {
        const Status status = fail_with_errno(why, "the socket cannot listen");
        unlinkat(directory_.get(), name_.c_str(), 0); // still locked, so it is ours
        errno = why.os_error();
        return status;
    }
    return Status::ok;
}

Result<Endpoint> Endpoint::listen(const char *path, Explanation &why) {
    if (!is_valid_path(path)) {
        return Failure(fail(why, Status::path_invalid,
                            "a path of a socket has 1 to 107 bytes and does not begin with '@' (abstract names have no "
                            "permissions)"));
    }
    Endpoint endpoint;
    const std::string whole = path;
    endpoint.name_ = whole.substr(whole.rfind('/') + 1);
    if (endpoint.name_.empty() || endpoint.name_ == "." || endpoint.name_ == "..") {
        return Failure(fail(why, Status::path_invalid, "the path has to end with the name of the socket"));
    }
    Result<UniqueFd> directory = open_directory(whole, why);
    if (!directory) {
        return Failure(directory.error());
    }
    endpoint.directory_ = std::move(*directory);
    DirectoryLock lock(endpoint.directory_.get());
    if (const Status status = lock.take(why); status != Status::ok) {
        return Failure(status);
    }
    endpoint.owner_ = fork_mark();
    if (const Status status = endpoint.bind_and_listen(path, why); status != Status::ok) {
        return Failure(status);
    }
    return endpoint;
}

Result<Endpoint> Endpoint::adopt(int fd, Explanation &why) noexcept {
    if (!is_listening_unix_stream(fd)) {
        return Failure(
            why.because(Status::invalid_argument, "fd", "the descriptor is no listening Unix stream socket"));
    }
    Address address;
    address.length = sizeof address.un;
    if (getsockname(fd, reinterpret_cast<sockaddr *>(&address.un), &address.length) != 0) {
        return Failure(fail_with_errno(why, "the name of the listening socket cannot be read"));
    }
    if (address.length > offsetof(sockaddr_un, sun_path) && address.un.sun_path[0] == '\0') {
        return Failure(why.because(Status::path_invalid, "fd",
                                   "the socket has an abstract name, which has no permissions; bind it to a path"));
    }
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        return Failure(fail_with_errno(why, "the listening socket cannot be made non-blocking"));
    }
    Endpoint endpoint;
    endpoint.theirs_ = fd;
    if (fd <= STDERR_FILENO) {
        endpoint.socket_.reset(fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
        if (!endpoint.socket_) {
            return Failure(fail_with_errno(why, "no descriptor above 2 for the listening socket"));
        }
    }
    return endpoint;
}

void Endpoint::keep() noexcept {
    UniqueFd taken(std::exchange(theirs_, -1));
    if (!socket_) {
        socket_ = std::move(taken);
    }
}

bool Endpoint::is_at_its_name() const noexcept {
    struct stat info {};
    return inode_ != 0 && fstatat(directory_.get(), name_.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
           info.st_dev == device_ && info.st_ino == inode_;
}

Endpoint::~Endpoint() {
    if (!socket_ || !directory_ || owner_ != fork_mark()) {
        return; // others hold it too
    }
    const int error = errno;
    if (is_at_its_name()) {
        unlinkat(directory_.get(), name_.c_str(), 0);
    }
    drain_and_close(std::move(socket_));
    errno = error;
}

} // namespace rp::handoff::os
