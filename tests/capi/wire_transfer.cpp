// The wire by hand: one message with a descriptor, sent and received.
#include "support/exchange.hpp"

#include <cerrno>

#include "support/descriptors.hpp"

using namespace rp::test;

namespace {

std::int32_t receive(int connection, Bytes &bytes, UniqueFd &fd, std::uint64_t timeout = 60 * second) {
    Out<std::int32_t> out;
    const std::int32_t status = rp_handoff_wire_receive(connection, bytes.data(), bytes.size(), timeout, out.get());
    CHECK(out.untouched() == (status != RP_HANDOFF_OK));
    fd.reset(status == RP_HANDOFF_OK ? out.value : -1);
    return status;
}

void send_with_two(int connection, const UniqueFd &fd) {
    const int both[2] = {fd.get(), fd.get()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof both)] = {};
    char byte = 1;
    iovec part{&byte, 1};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof both);
    std::memcpy(CMSG_DATA(header), both, sizeof both);
    REQUIRE(sendmsg(connection, &message, 0) == 1);
}

} // namespace

TEST_CASE("a descriptor travels with the bytes, which arrive whole and alone") {
    const SocketPair pair;
    const ClientConnection client;
    const Bytes data = {1, 2, 3, 4, 5};
    std::size_t sent = 0;
    REQUIRE(rp_handoff_wire_send(pair.a.get(), client.fd.get(), data.data(), data.size(), &sent) == RP_HANDOFF_OK);
    CHECK(sent == data.size());
    write_all(pair.a.get(), {6, 7});
    CHECK(is_open(client.fd.get())); // borrowed
    Bytes got(5);
    UniqueFd fd;
    REQUIRE(receive(pair.b.get(), got, fd) == RP_HANDOFF_OK);
    CHECK(got == data);
    CHECK(client.is_served_by(fd.get()));
    CHECK(fcntl(fd.get(), F_GETFD) == FD_CLOEXEC);
    CHECK(read_available(pair.b.get()) == Bytes{6, 7});
    CHECK(is_open(pair.b.get()));
    CHECK((fcntl(pair.b.get(), F_GETFL) & O_NONBLOCK) == 0);
}

TEST_CASE("bytes that come in parts are put together") {
    const SocketPair pair;
    const ClientConnection client;
    const std::uint8_t first = 1;
    std::size_t sent = 0;
    REQUIRE(rp_handoff_wire_send(pair.a.get(), client.fd.get(), &first, 1, &sent) == RP_HANDOFF_OK);
    write_all(pair.a.get(), {2});
    write_all(pair.a.get(), {3, 4});
    Bytes got(3);
    UniqueFd fd;
    REQUIRE(receive(pair.b.get(), got, fd) == RP_HANDOFF_OK);
    CHECK(got == Bytes{1, 2, 3});
    CHECK(client.is_served_by(fd.get()));
}

TEST_CASE("a short send has taken the descriptor along with its first byte") {
    const SocketPair pair;
    const ClientConnection client;
    const Bytes data(4 << 20, 7);
    std::size_t sent = 0;
    REQUIRE(rp_handoff_wire_send(pair.a.get(), client.fd.get(), data.data(), data.size(), &sent) == RP_HANDOFF_OK);
    CHECK(sent > 0);
    CHECK(sent < data.size());
    Bytes got(1);
    UniqueFd fd;
    REQUIRE(receive(pair.b.get(), got, fd) == RP_HANDOFF_OK);
    CHECK(client.is_served_by(fd.get()));
}

TEST_CASE("a send that cannot begin says why, without a wait and without a signal") {
    SocketPair pair;
    const ClientConnection client;
    const std::uint8_t byte = 1;
    Out<std::size_t> sent;
    const auto error_of = [&](int connection, int fd) {
        errno = 0;
        CHECK(rp_handoff_wire_send(connection, fd, &byte, 1, sent.get()) == RP_HANDOFF_ERR_SYSTEM);
        return errno;
    };
    const Bytes filling(1 << 16);
    while (send(pair.a.get(), filling.data(), filling.size(), MSG_DONTWAIT) > 0) {
    }
    CHECK(error_of(pair.a.get(), client.fd.get()) == EAGAIN);
    const int closed = dup(client.fd.get());
    close(closed);
    CHECK(error_of(closed, client.fd.get()) == EBADF);
    CHECK(error_of(pair.b.get(), closed) == EBADF);
    pair.b.reset();
    CHECK(error_of(pair.a.get(), client.fd.get()) == EPIPE);
    CHECK(sent.untouched());
}

TEST_CASE("bytes without a descriptor, with two, or with one too late are refused and nothing is kept") {
    const SocketPair pair;
    const ClientConnection client;
    const int b = pair.b.get();
    Bytes one(1);
    Bytes two(2);
    UniqueFd fd;
    const Descriptors before = open_descriptors();
    write_all(pair.a.get(), {1});
    CHECK(receive(b, one, fd) == RP_HANDOFF_ERR_DESCRIPTORS);
    send_with_two(pair.a.get(), client.fd);
    CHECK(receive(b, one, fd) == RP_HANDOFF_ERR_DESCRIPTORS);
    // One on the first byte and one on the second.
    std::size_t sent = 0;
    const std::uint8_t byte = 1;
    REQUIRE(rp_handoff_wire_send(pair.a.get(), client.fd.get(), &byte, 1, &sent) == RP_HANDOFF_OK);
    REQUIRE(rp_handoff_wire_send(pair.a.get(), client.fd.get(), &byte, 1, &sent) == RP_HANDOFF_OK);
    CHECK(receive(b, two, fd) == RP_HANDOFF_ERR_DESCRIPTORS);
    CHECK(open_descriptors() == before);
}

TEST_CASE("the end of the connection is closed before the first byte, and unexpected after it") {
    SocketPair pair;
    const ClientConnection client;
    const Descriptors before = open_descriptors();
    const std::uint8_t byte = 1;
    std::size_t sent = 0;
    REQUIRE(rp_handoff_wire_send(pair.a.get(), client.fd.get(), &byte, 1, &sent) == RP_HANDOFF_OK);
    REQUIRE(shutdown(pair.a.get(), SHUT_WR) == 0);
    Bytes two(2);
    UniqueFd fd;
    CHECK(receive(pair.b.get(), two, fd) == RP_HANDOFF_ERR_UNEXPECTED_EOF);
    CHECK(open_descriptors() == before);
    CHECK(receive(pair.b.get(), two, fd) == RP_HANDOFF_ERR_CLOSED);
}

TEST_CASE("a receive that waits in vain times out and keeps nothing") {
    const SocketPair pair;
    const ClientConnection client;
    Bytes two(2);
    UniqueFd fd;
    const Descriptors before = open_descriptors();
    CHECK(receive(pair.b.get(), two, fd, 1) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(receive(pair.b.get(), two, fd, 0) == RP_HANDOFF_ERR_TIMED_OUT);
    const std::uint8_t byte = 1;
    std::size_t sent = 0;
    REQUIRE(rp_handoff_wire_send(pair.a.get(), client.fd.get(), &byte, 1, &sent) == RP_HANDOFF_OK);
    CHECK(receive(pair.b.get(), two, fd, 1'000'000) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(open_descriptors() == before);
}

TEST_CASE("a timeout that does not fit into time is due at once, and without a limit there is no deadline") {
    const SocketPair pair;
    const ClientConnection client;
    const std::uint8_t byte = 1;
    std::size_t sent = 0;
    REQUIRE(rp_handoff_wire_send(pair.a.get(), client.fd.get(), &byte, 1, &sent) == RP_HANDOFF_OK);
    Bytes one(1);
    UniqueFd fd;
    CHECK(receive(pair.b.get(), one, fd, RP_HANDOFF_FOREVER - 1) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(receive(pair.b.get(), one, fd, RP_HANDOFF_FOREVER) == RP_HANDOFF_OK); // nothing was lost
    CHECK(client.is_served_by(fd.get()));
}

TEST_CASE("a receive on something else says what the system says") {
    Bytes one(1);
    UniqueFd fd;
    const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    errno = 0;
    CHECK(receive(null.get(), one, fd) == RP_HANDOFF_ERR_SYSTEM);
    CHECK(errno == ENOTSOCK);
    CHECK(receive(1 << 20, one, fd) == RP_HANDOFF_ERR_SYSTEM);
    CHECK(errno == EBADF);
}
