// A program that was started without 0, 1 and 2: no descriptor that the library keeps is one of them, for what the program
// writes "to stderr" would go there.
#include "support/stdio.hpp"
#include "os/descriptor.hpp"
#include "os/endpoint.hpp"
#include "os/peer.hpp"
#include "os/poller.hpp"
#include "os/shared_memory.hpp"
#include "support/linger.hpp"
#include "support/sockets.hpp"

using namespace rp::test;
namespace os = rp::handoff::os;
using namespace rp::handoff;

TEST_CASE("no endpoint, and nothing that it is made by, is at 0, 1 or 2") {
    const Directory directory;
    const std::string path = directory / "s";
    check_without_stdio([&] {
        Explanation why;
        return os::Endpoint::listen(path.c_str(), why);
    });
}

TEST_CASE("no connection that was accepted or dialled is at 0, 1 or 2") {
    const Directory directory;
    const std::string path = directory / "s";
    const UniqueFd listener = listener_at(path);
    REQUIRE(fcntl(listener.get(), F_SETFL, O_NONBLOCK) == 0);
    SystemTime time;
    check_without_stdio([&] { return os::dial(path.c_str(), end_of_time, time); });
    check_without_stdio([&] { return os::dial_now(path.c_str()).socket; });
    check_without_stdio([&] { return os::accept(listener.get()); });
    check_without_stdio([] { return os::socket_pair(); });
}

TEST_CASE("no poller with its events, and no shared memory, is at 0, 1 or 2") {
    check_without_stdio([] { return os::Poller::create(true); });
    check_without_stdio([] { return os::create_shared_file(4096); });
}

TEST_CASE("a listener that was inherited as 0 is moved, and the number is free then") {
    const Directory directory;
    const UniqueFd listener = listener_at(directory / "s");
    check_without_stdio([&] {
        must(dup2(listener.get(), 0) == 0);
        Explanation why;
        auto endpoint = os::Endpoint::adopt(0, why);
        must(endpoint && fcntl(0, F_GETFD) >= 0);
        endpoint->keep();
        return endpoint;
    });
}

TEST_CASE("no descriptor and no pidfd that a message brings is at 0, 1 or 2") {
    const SocketPair pair;
    const ClientConnection client;
    REQUIRE(os::identify_senders(pair.b.get(), true).credentials);
    const int fds[] = {client.fd.get(), client.fd.get(), client.fd.get(), client.fd.get()};
    std::uint8_t byte = 1;
    const iovec piece{&byte, 1};
    REQUIRE(os::send_many(pair.a.get(), fds, 4, &piece, 1).bytes == 1);
    check_without_stdio([&] {
        auto beside = std::make_unique<os::Ancillary>();
        std::uint8_t out = 0;
        must(os::receive_message(pair.b.get(), &out, 1, false, *beside).bytes == 1);
        must(beside->descriptors.size() == 4);
        must(fcntl(beside->descriptors.take().get(), F_GETFD) == FD_CLOEXEC);
        return beside;
    });
}

TEST_CASE("no pidfd that is opened is at 0, 1 or 2") {
    const SocketPair pair;
    check_without_stdio([] { return os::pidfd_of(static_cast<std::uint32_t>(getpid())); });
    check_without_stdio([&] {
        auto pidfd = std::make_unique<tl::expected<UniqueFd, int>>(os::peer_pidfd(pair.a.get()));
        must(*pidfd || pidfd->error() == ENOPROTOOPT); // Linux 6.5
        return pidfd;
    });
}

TEST_CASE("a descriptor that came as 0, and for which there is no other number, is closed without waiting") {
    SocketPair pair;
    LingeringConnection connection;
    connection.send_by(pair.a.get(), {1});
    Child child([&](const Wire &) {
        pair.a.reset();
        close(0);
        const rlimit standard{3, 3}; // numbers below 3 only
        must(setrlimit(RLIMIT_NOFILE, &standard) == 0);
        os::Ancillary beside;
        std::uint8_t byte = 0;
        const Watch watch;
        must(os::receive_message(pair.b.get(), &byte, 1, false, beside).bytes == 1);
        must(watch.nobody_waited());
        must(beside.descriptors.empty());
        must(beside.truncation == os::Truncation::descriptors);
        must(fcntl(0, F_GETFD) < 0);
    });
    pair.b.reset(); // the child's is the last one
    CHECK(child.wait() == 0);
}
