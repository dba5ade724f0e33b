// What comes beside the bytes of a message, whoever sent it and whatever had been switched on for the socket before.
#include "os/descriptor.hpp"

#include "support/interpose.hpp"
#include "support/linger.hpp"
#include "support/valgrind.hpp"

using namespace rp::test;
namespace os = rp::handoff::os;
using os::Truncation;

namespace {

using Recvmsg = ssize_t(int, msghdr *, int);

constexpr int so_passpidfd = 76;
constexpr int so_inq = 84; // Linux 6.17 for Unix sockets

const Bytes word = {1, 2, 3};

os::Moved receive(int connection, os::Ancillary &beside) {
    std::uint8_t out[16];
    return os::receive_message(connection, out, sizeof out, false, beside);
}

bool switch_on(int socket, int option) {
    const int on = 1;
    return setsockopt(socket, SOL_SOCKET, option, &on, sizeof on) == 0;
}

// Lets `change` do what it likes with the descriptors of the next message, as a kernel could.
auto with_changed_descriptors(std::function<void(msghdr &, int *, std::size_t)> change) {
    return [change](int fd, msghdr *message, int flags) -> ssize_t {
        const ssize_t n = calls::recvmsg().real(fd, message, flags);
        cmsghdr *const header = n > 0 ? CMSG_FIRSTHDR(message) : nullptr;
        if (header != nullptr) {
            const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            change(*message, reinterpret_cast<int *>(CMSG_DATA(header)), count);
        }
        return n;
    };
}

} // namespace

TEST_CASE("what else is switched on for a socket takes no room from descriptors, credentials and pidfd") {
    const SocketPair pair;
    const ClientConnection client;
    REQUIRE(switch_on(pair.b.get(), SO_PASSCRED));
    for (const int option : {SO_PASSSEC, SO_TIMESTAMP, so_passpidfd, so_inq}) {
        if (!switch_on(pair.b.get(), option)) {
            MESSAGE("this kernel does not know option ", option);
        }
    }
    for (const std::size_t count : {0U, 1U, 2U, 252U, 253U}) {
        CAPTURE(count);
        send_message(pair.a.get(), word, client.fd.get(), count);
        os::Ancillary beside;
        CHECK(receive(pair.b.get(), beside).bytes == word.size());
        CHECK(beside.descriptors.size() == count);
        CHECK(beside.truncation == Truncation::none);
        REQUIRE(beside.sender);
        CHECK(beside.sender->pid == getpid());
    }
}

TEST_CASE("a process that is out of descriptors is told so, and keeps the first that came" *
          doctest::test_suite(not_under_valgrind)) {
    const SocketPair pair;
    const ClientConnection client;
    for (const std::size_t count : {1U, 3U}) {
        send_message(pair.a.get(), word, client.fd.get(), count);
        os::Ancillary beside;
        {
            const NoMoreDescriptors shortage;
            CHECK(receive(pair.b.get(), beside).bytes == word.size());
            CHECK(beside.truncation == Truncation::descriptors);
        }
        CHECK(beside.descriptors.empty());
    }
    send_message(pair.a.get(), word, client.fd.get(), 3);
    rlimit before{};
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    const UniqueFd lowest(fcntl(pair.a.get(), F_DUPFD_CLOEXEC, 0));
    UniqueFd next(fcntl(pair.a.get(), F_DUPFD_CLOEXEC, 0));
    const rlimit room_for_one{static_cast<rlim_t>(next.get()) + 1, before.rlim_max};
    next.reset();
    REQUIRE(setrlimit(RLIMIT_NOFILE, &room_for_one) == 0);
    os::Ancillary beside;
    CHECK(receive(pair.b.get(), beside).bytes == word.size());
    CHECK(beside.truncation == Truncation::descriptors);
    CHECK(beside.descriptors.size() == 1);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

TEST_CASE("a descriptor that was kept from a process which has room for it was denied, not lost for want of room") {
    const SocketPair pair;
    const ClientConnection client;
    send_message(pair.a.get(), word, client.fd.get(), 1);
    const Hooked<Recvmsg> module(calls::recvmsg(), with_changed_descriptors([](msghdr &message, int *fds, std::size_t) {
                                     close(fds[0]);
                                     message.msg_controllen = 0;
                                     message.msg_flags |= MSG_CTRUNC;
                                 }));
    os::Ancillary beside;
    CHECK(receive(pair.b.get(), beside).bytes == word.size());
    CHECK(beside.truncation == Truncation::denied);
    CHECK(beside.descriptors.empty());
}

TEST_CASE("a kernel that puts the reason in the descriptor's place is believed, and what follows belongs to nothing") {
    struct Row {
        int error;
        Truncation truncation;
    };
    for (const Row &row : {Row{EMFILE, Truncation::descriptors}, Row{ENFILE, Truncation::descriptors},
                           Row{EACCES, Truncation::denied}, Row{EPERM, Truncation::denied}}) {
        CAPTURE(row.error);
        const SocketPair pair;
        const ClientConnection client;
        send_message(pair.a.get(), word, client.fd.get(), 3);
        const Hooked<Recvmsg> kernel(calls::recvmsg(),
                                     with_changed_descriptors([&](msghdr &, int *fds, std::size_t count) {
                                         REQUIRE(count == 3);
                                         close(fds[1]);
                                         fds[1] = -row.error;
                                     }));
        os::Ancillary beside;
        CHECK(receive(pair.b.get(), beside).bytes == word.size());
        CHECK(beside.truncation == row.truncation);
        CHECK(beside.descriptors.size() == 1);
    }
}

TEST_CASE("descriptors that nobody takes out of a message are discarded, without waiting for who sent them") {
    const SocketPair pair;
    LingeringConnection connection;
    connection.send_by(pair.a.get(), word, 3);
    const Watch watch;
    {
        os::Ancillary beside;
        CHECK(receive(pair.b.get(), beside).bytes == word.size());
    }
    CHECK(watch.nobody_waited());
}

TEST_CASE("a wait in a read ends with a signal, so that who waits looks at the time again; other reads are repeated") {
    const SocketPair pair;
    write_all(pair.a.get(), word);
    int interruptions = 0;
    const Hooked<Recvmsg> hook(calls::recvmsg(), [&](int fd, msghdr *into, int flags) -> ssize_t {
        return ++interruptions == 1 ? fails_with(EINTR) : calls::recvmsg().real(fd, into, flags);
    });
    std::uint8_t out[16];
    os::Ancillary beside;
    CHECK(os::receive_message(pair.b.get(), out, sizeof out, true, beside).os_error == EINTR);
    interruptions = 0;
    CHECK(os::receive_message(pair.b.get(), out, sizeof out, false, beside).bytes == word.size());
    CHECK(interruptions == 2);
}
