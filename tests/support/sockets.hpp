// Sockets, directories and descriptor flags for tests between processes. What fails here fails the test.
#pragma once

#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <cstdlib>
#include <dirent.h>
#include <netinet/in.h>
#include <string>
#include <sys/stat.h>
#include <sys/un.h>

#include "support/exchange.hpp"

namespace rp::test {

// A private directory of mode 0700 that goes with everything in it.
class Directory {
  public:
    Directory() {
        char name[] = "/tmp/rp_handoff.XXXXXX";
        REQUIRE(mkdtemp(name) != nullptr);
        path_ = name;
    }
    Directory(const Directory &) = delete;
    Directory &operator=(const Directory &) = delete;
    ~Directory() {
        if (owner_ == getpid()) {
            remove(path_);
        }
    }

    const std::string &path() const noexcept { return path_; }
    std::string operator/(const std::string &name) const { return path_ + "/" + name; }

  private:
    static void remove(const std::string &path) {
        if (unlink(path.c_str()) == 0) {
            return;
        }
        chmod(path.c_str(), 0700);
        if (DIR *directory = opendir(path.c_str())) {
            while (const dirent *entry = readdir(directory)) {
                const std::string name = entry->d_name;
                if (name != "." && name != "..") {
                    remove(path + "/" + name);
                }
            }
            closedir(directory);
        }
        rmdir(path.c_str());
    }

    std::string path_;
    pid_t owner_ = getpid();
};

inline bool exists(const std::string &path) {
    struct stat info {};
    return lstat(path.c_str(), &info) == 0;
}

inline sockaddr_un unix_address(const std::string &path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(path.size() < sizeof address.sun_path);
    path.copy(address.sun_path, path.size());
    return address;
}

template <class Address>
const sockaddr *as_sockaddr(const Address &address) {
    return reinterpret_cast<const sockaddr *>(&address);
}

// A socket with a name that nobody listens on yet.
inline UniqueFd bound_at(const std::string &path) {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = unix_address(path);
    REQUIRE(bind(fd.get(), as_sockaddr(address), sizeof address) == 0);
    return fd;
}

inline UniqueFd listener_at(const std::string &path, int backlog = 64) {
    UniqueFd fd = bound_at(path);
    REQUIRE(listen(fd.get(), backlog) == 0);
    return fd;
}

inline UniqueFd dial(const std::string &path) {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = unix_address(path);
    REQUIRE(connect(fd.get(), as_sockaddr(address), sizeof address) == 0);
    return fd;
}

inline UniqueFd accept_from(const UniqueFd &listener) {
    UniqueFd fd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    REQUIRE(fd);
    return fd;
}

// A handoff by path, which has to outlive the request.
inline rp_handoff_request request_to(const std::string &path, int fd, const rp_handoff_token &token) {
    auto request = sized<rp_handoff_request>();
    request.fd = fd;
    request.token = token;
    request.socket_path = path.c_str();
    return request;
}

enum class ClientKind { tcp, local };

// Where a broker meets its clients.
class Front {
  public:
    explicit Front(ClientKind kind) : kind_(kind) {
        if (kind == ClientKind::local) {
            listener_ = listener_at(directory_ / "front");
            return;
        }
        listener_.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        address_.sin_family = AF_INET;
        address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        REQUIRE(bind(listener_.get(), as_sockaddr(address_), sizeof address_) == 0);
        socklen_t length = sizeof address_;
        REQUIRE(getsockname(listener_.get(), reinterpret_cast<sockaddr *>(&address_), &length) == 0);
        REQUIRE(listen(listener_.get(), 64) == 0);
    }

    UniqueFd connect() const {
        if (kind_ == ClientKind::local) {
            return dial(directory_ / "front");
        }
        UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(::connect(fd.get(), as_sockaddr(address_), sizeof address_) == 0);
        return fd;
    }
    UniqueFd accept() const { return accept_from(listener_); }

  private:
    ClientKind kind_;
    Directory directory_;
    UniqueFd listener_;
    sockaddr_in address_{};
};

// The flags of a borrowed descriptor, which nobody may change.
struct Flags {
    int of_description;
    int of_descriptor;

    explicit Flags(int fd) : of_description(fcntl(fd, F_GETFL)), of_descriptor(fcntl(fd, F_GETFD)) {}
    bool operator==(const Flags &other) const noexcept {
        return of_description >= 0 && of_description == other.of_description && of_descriptor == other.of_descriptor;
    }
};

} // namespace rp::test
