#include "sockets.hpp"

#include <cstdlib>
#include <filesystem>
#include <netinet/in.h>
#include <sys/un.h>

#include "measure.hpp"

namespace rp::bench {

namespace {

Address loopback() {
    Address address{};
    auto &in = reinterpret_cast<sockaddr_in &>(address.storage);
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.length = sizeof in;
    return address;
}

} // namespace

Directory::Directory() {
    char name[] = "/tmp/rp_handoff.XXXXXX";
    must(mkdtemp(name) != nullptr, "mkdtemp");
    path_ = name;
}

Directory::~Directory() {
    if (owner_ == getpid()) {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
}

Address local_address(const std::string &path) {
    Address address{};
    auto &un = reinterpret_cast<sockaddr_un &>(address.storage);
    un.sun_family = AF_UNIX;
    must(path.size() < sizeof un.sun_path, "path of a socket");
    path.copy(un.sun_path, path.size());
    address.length = sizeof un;
    return address;
}

Fd listen_on(Family family, const std::string &path) {
    const Address address = family == Family::tcp ? loopback() : local_address(path);
    Fd fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    must(bind(fd.get(), address.get(), address.length) == 0 && listen(fd.get(), 128) == 0, "listen");
    return fd;
}

Address address_of(const Fd &listener) {
    Address address{};
    address.length = sizeof address.storage;
    must(getsockname(listener.get(), reinterpret_cast<sockaddr *>(&address.storage), &address.length) == 0,
         "getsockname");
    return address;
}

Fd dial(const Address &address) {
    Fd fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    must(connect(fd.get(), address.get(), address.length) == 0, "connect");
    return fd;
}

Fd accept_from(const Fd &listener) {
    Fd fd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    must(fd.get() >= 0, "accept");
    return fd;
}

Pair::Pair() {
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
    a = Fd(fds[0]);
    b = Fd(fds[1]);
}

Connection::Connection() {
    const Fd listener = listen_on(Family::tcp, "");
    client = dial(address_of(listener));
    server = accept_from(listener);
}

void send_all(int fd, const void *data, std::size_t size) {
    must(send(fd, data, size, MSG_NOSIGNAL) == static_cast<ssize_t>(size), "send");
}

void receive_all(int fd, void *data, std::size_t size) {
    must(recv(fd, data, size, MSG_WAITALL) == static_cast<ssize_t>(size), "receive");
}

void close_at_once(Fd &fd) {
    const linger none{1, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none); // does nothing to a Unix socket
    fd.reset();
}

} // namespace rp::bench
