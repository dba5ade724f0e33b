// Sockets of either family, and directories for those with names. Whatever fails ends the program.
#pragma once

#include <cstddef>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace rp::bench {

class Fd {
  public:
    Fd() noexcept = default;
    explicit Fd(int fd) noexcept : fd_(fd) {}
    Fd(Fd &&other) noexcept : fd_(other.release()) {}
    Fd &operator=(Fd &&other) noexcept {
        reset();
        fd_ = other.release();
        return *this;
    }
    ~Fd() { reset(); }

    int get() const noexcept { return fd_; }
    int release() noexcept { return std::exchange(fd_, -1); }
    void reset() noexcept {
        if (fd_ >= 0) {
            close(release());
        }
    }

  private:
    int fd_ = -1;
};

// Goes with everything in it, in the process that made it.
class Directory {
  public:
    Directory();
    Directory(const Directory &) = delete;
    Directory &operator=(const Directory &) = delete;
    ~Directory();
    std::string operator/(const std::string &name) const { return path_ + "/" + name; }

  private:
    std::string path_;
    pid_t owner_ = getpid();
};

enum class Family { tcp, local };

struct Address {
    sockaddr_storage storage;
    socklen_t length;
    const sockaddr *get() const noexcept { return reinterpret_cast<const sockaddr *>(&storage); }
    Family family() const noexcept { return storage.ss_family == AF_INET ? Family::tcp : Family::local; }
};

Address local_address(const std::string &path);

// Listens on a port of the loopback interface that the kernel chooses, or at `path`.
Fd listen_on(Family family, const std::string &path);
Address address_of(const Fd &listener);

Fd dial(const Address &address);
Fd accept_from(const Fd &listener);

// Two connected Unix stream sockets.
struct Pair {
    Pair();
    Fd a;
    Fd b;
};

// A TCP connection whose two ends are here: something to hand over where no client is looked at.
struct Connection {
    Connection();
    Fd client;
    Fd server;
};

void send_all(int fd, const void *data, std::size_t size);
void receive_all(int fd, void *data, std::size_t size);

// Ends a TCP connection without the state TIME_WAIT, so that tens of thousands of them do not use up the ports.
void close_at_once(Fd &fd);

} // namespace rp::bench
