// Closing what came from a peer, and sockets that a peer may have put something into: it never waits for him.
#include "os/closing.hpp"

#include "os/connection.hpp"
#include "os/descriptor.hpp"
#include "support/linger.hpp"

using namespace rp::test;
namespace os = rp::handoff::os;

namespace {

const Bytes word = {1, 2, 3};

// With a name, of which the backlog is what connections wait in.
struct Waiting {
    Directory directory;
    UniqueFd listener = listener_at(directory / "socket");
};

} // namespace

TEST_CASE("discarding does not wait for as long as the sender has chosen") {
    LingeringConnection connection;
    const Watch watch;
    os::discard(std::move(connection.lingering));
    CHECK(watch.nobody_waited());
    CHECK_FALSE(connection.lingering);
}

TEST_CASE("what is no socket is discarded too, and errno is left alone") {
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    errno = EXDEV;
    os::discard(UniqueFd(ends[0]));
    os::discard(UniqueFd(ends[1]));
    os::discard(UniqueFd());
    os::drain_and_close(UniqueFd());
    CHECK(errno == EXDEV);
    CHECK_FALSE(is_open(ends[0]));
    CHECK_FALSE(is_open(ends[1]));
}

TEST_CASE("a socket is closed without waiting for the connections that lie unreceived in it") {
    for (const std::size_t count : {1U, 253U}) {
        SocketPair pair;
        LingeringConnection connections[2];
        connections[0].send_by(pair.a.get(), Bytes(100000, 1), count);
        connections[1].send_by(pair.a.get(), word, count);
        const Watch watch;
        os::drain_and_close(std::move(pair.b));
        CHECK(watch.nobody_waited());
        CHECK_FALSE(pair.b);
        char byte = 0;
        CHECK(recv(pair.a.get(), &byte, 1, MSG_DONTWAIT) == 0); // an end, and no reset: nothing was left unread
    }
}

TEST_CASE("a listener is closed without waiting for what the connections that nobody accepted bring along") {
    Waiting waiting;
    LingeringConnection connections[3];
    std::vector<UniqueFd> peers;
    for (LingeringConnection &connection : connections) {
        peers.push_back(dial(waiting.directory / "socket"));
        connection.send_by(peers.back().get(), word);
    }
    const UniqueFd silent = dial(waiting.directory / "socket");
    REQUIRE(fcntl(waiting.listener.get(), F_SETFL, O_NONBLOCK) == 0);
    const Watch watch;
    os::drain_and_close(std::move(waiting.listener));
    CHECK(watch.nobody_waited());
    for (const UniqueFd &peer : peers) {
        CHECK(is_at_end(peer.get()));
    }
    CHECK(is_at_end(silent.get()));
}

TEST_CASE("nothing more can be put into a socket from the moment on that it is drained") {
    SocketPair pair;
    const UniqueFd copy(fcntl(pair.b.get(), F_DUPFD_CLOEXEC, 0)); // keeps it from being closed
    os::drain_and_close(std::move(pair.b));
    CHECK(send(pair.a.get(), "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == -1);
    CHECK(errno == EPIPE);

    Waiting waiting;
    REQUIRE(fcntl(waiting.listener.get(), F_SETFL, O_NONBLOCK) == 0);
    const UniqueFd listener_copy(fcntl(waiting.listener.get(), F_DUPFD_CLOEXEC, 0));
    os::drain_and_close(std::move(waiting.listener));
    const UniqueFd late(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = unix_address(waiting.directory / "socket");
    CHECK(connect(late.get(), as_sockaddr(address), sizeof address) == -1);
    CHECK(errno == ECONNREFUSED);
}

TEST_CASE("what may be the sender's again keeps its SO_LINGER, and what nobody has a claim on does not") {
    for (const auto unreceived : {os::Unreceived::close, os::Unreceived::discard}) {
        SocketPair pair;
        const LingeringConnection connection; // whose sender keeps his copy
        send_message(pair.a.get(), word, connection.lingering.get(), 1);
        os::drain_and_close(std::move(pair.b), unreceived);
        CHECK(lingers(connection.lingering.get()) == (unreceived == os::Unreceived::close));
        os::discard(UniqueFd(fcntl(connection.lingering.get(), F_DUPFD_CLOEXEC, 0)));
    }
}

TEST_CASE("who sends a descriptor to a socket that refuses them is told, and bytes still come") {
    const SocketPair pair;
    if (!os::refuse_descriptors(pair.b.get())) {
        MESSAGE("this kernel has no SO_PASSRIGHTS");
        return;
    }
    const ClientConnection client;
    const os::Sent refused = os::send(pair.a.get(), client.fd.get(), {word.data(), word.size()});
    CHECK(refused.os_error == EPERM);
    CHECK(refused.bytes == 0);
    CHECK(os::send(pair.a.get(), -1, {word.data(), word.size()}).bytes == word.size());
    CHECK(read_available(pair.b.get()) == word);
    CHECK(os::send(pair.b.get(), client.fd.get(), {word.data(), word.size()}).bytes == word.size()); // the other way
    os::drain_and_close(UniqueFd(fcntl(pair.a.get(), F_DUPFD_CLOEXEC, 0)));
}
