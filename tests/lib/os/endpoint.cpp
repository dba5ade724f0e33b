// Where a socket may be bound, what a refusal says, and what a failure leaves behind: nothing.
#include "os/endpoint.hpp"

#include <chrono>
#include <sys/file.h>

#include "os/descriptor.hpp"
#include "support/interpose.hpp"
#include "support/process.hpp"
#include "support/sockets.hpp"

using namespace rp::test;
namespace os = rp::handoff::os;
using rp::handoff::Explanation;
using rp::handoff::Result;
using rp::handoff::Status;

namespace {

struct Attempt {
    explicit Attempt(const std::string &path) : endpoint(os::Endpoint::listen(path.c_str(), why)) {}

    Status status() const { return endpoint ? Status::ok : endpoint.error(); }
    std::string text() const { return std::string(why.text()); }

    Explanation why;
    Result<os::Endpoint> endpoint;
};

void check_refused(const std::string &path, Status status, const std::string &text) {
    CAPTURE(path);
    const Attempt attempt(path);
    CHECK(attempt.status() == status);
    CHECK(attempt.why.status() == status);
    CHECK(attempt.why.member() == "path");
    CHECK(attempt.text() == text);
}

bool can_be_locked(const std::string &directory) {
    const UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(fd);
    return flock(fd.get(), LOCK_EX | LOCK_NB) == 0;
}

using Listen = int(int, int);

} // namespace

TEST_CASE("a directory is refused with its mode, its owner or the errno") {
    const Directory directory;
    REQUIRE(chmod(directory.path().c_str(), 0755) == 0);
    check_refused(directory / "s", Status::path_unsafe, "directory of the socket must have mode 0700, is 0755");
    REQUIRE(chmod(directory.path().c_str(), 0700) == 0);
    check_refused("/proc/sys/s", Status::path_unsafe,
                  geteuid() == 0 ? "directory of the socket must have mode 0700, is 0555"
                                 : "directory of the socket must belong to user " + std::to_string(geteuid()) +
                                       ", belongs to user 0");
    check_refused(directory / "none/s", Status::system,
                  "directory of the socket cannot be opened: No such file or directory");
    CHECK(Attempt(directory / "none/s").why.os_error() == ENOENT);
    check_refused(directory / "", Status::path_invalid, "the path has to end with the name of the socket");
    check_refused(directory / "..", Status::path_invalid, "the path has to end with the name of the socket");
}

TEST_CASE("a directory of another user is refused with both users") {
    const Directory directory;
    if (geteuid() != 0 || chown(directory.path().c_str(), stranger, stranger) != 0) {
        MESSAGE("only root can give a directory away");
        return;
    }
    check_refused(directory / "s", Status::path_unsafe,
                  "directory of the socket must belong to user 0, belongs to user " + std::to_string(stranger));
}

TEST_CASE("a link to a directory is refused however it is spelled, and the directory itself is taken however it is") {
    const Directory directory;
    REQUIRE(mkdir((directory / "real").c_str(), 0700) == 0);
    REQUIRE(mkdir((directory / "real/inner").c_str(), 0700) == 0);
    REQUIRE(symlink("real", (directory / "link").c_str()) == 0);
    for (const char *spelling : {"link/s", "link//s", "link///s", "link/./s", "link/././s", "link//.//s", "./link/s",
                                 "link/inner/../../link/./s", "link/.//./s"}) {
        check_refused(directory / spelling, Status::path_unsafe,
                      "directory of the socket must be a directory itself, no symbolic link to one and no file");
    }
    for (const char *spelling : {"real/s", "real//s", "real/./s", ".//real/.//s", "link/inner/s", "link/inner/./s",
                                 "real/inner/../s", "link/../s"}) {
        CAPTURE(spelling);
        CHECK(Attempt(directory / spelling).status() == Status::ok);
    }
    REQUIRE(chdir((directory / "link").c_str()) == 0);
    for (const char *spelling : {"s", "./s", ".//s", "././s"}) {
        CAPTURE(spelling);
        CHECK(Attempt(spelling).status() == Status::ok);
    }
    REQUIRE(chdir("/") == 0);
}

TEST_CASE("a socket that was bound into another directory than the one that was looked at is removed again") {
    const Directory directory;
    REQUIRE(mkdir((directory / "first").c_str(), 0700) == 0);
    REQUIRE(mkdir((directory / "second").c_str(), 0700) == 0);
    const Hooked<int(int, const sockaddr *, socklen_t)> hook(
        calls::bind(), [&](int fd, const sockaddr *address, socklen_t length) {
            REQUIRE(rename((directory / "first").c_str(), (directory / "away").c_str()) == 0);
            REQUIRE(rename((directory / "second").c_str(), (directory / "first").c_str()) == 0);
            return calls::bind().real(fd, address, length);
        });
    CHECK(Attempt(directory / "first/s").status() == Status::path_unsafe);
    CHECK_FALSE(exists(directory / "first/s"));
    CHECK_FALSE(exists(directory / "away/s"));
}

TEST_CASE("a lock that another process holds for good is waited for, but not for good") {
    const Directory directory;
    for (const int operation : {LOCK_SH, LOCK_EX}) {
        UniqueFd lock(open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        REQUIRE(flock(lock.get(), operation) == 0);
        const auto start = std::chrono::steady_clock::now();
        check_refused(directory / "s", Status::path_locked,
                      "another process holds a lock (flock) on the directory of the socket; give the socket a "
                      "directory of its own");
        const auto waited = std::chrono::steady_clock::now() - start;
        CHECK(waited >= os::Endpoint::longest_lock_wait);
        CHECK(waited < os::Endpoint::longest_lock_wait * 4);
        CHECK_FALSE(exists(directory / "s"));
        lock.reset();
        CHECK(Attempt(directory / "s").status() == Status::ok);
    }
}

TEST_CASE("a lock that another process gives back in time is taken then") {
    const Directory directory;
    const UniqueFd lock(open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(flock(lock.get(), LOCK_SH) == 0);
    int tries = 0;
    const Hooked<int(int, int)> hook(calls::flock(), [&](int fd, int operation) {
        if (++tries == 3) {
            REQUIRE(calls::flock().real(lock.get(), LOCK_UN) == 0);
        }
        return calls::flock().real(fd, operation);
    });
    CHECK(Attempt(directory / "s").status() == Status::ok);
    CHECK(tries == 4); // and one to unlock
}

TEST_CASE("no child that was forked meanwhile keeps the lock, whether the socket could be made or not") {
    for (const bool succeeds : {true, false}) {
        CAPTURE(succeeds);
        const Directory directory;
        pid_t child = 0;
        const Hooked<Listen> hook(calls::listen(), [&](int fd, int length) {
            CHECK_FALSE(can_be_locked(directory.path()));
            child = fork();
            if (child == 0) {
                for (;;) {
                    pause();
                }
            }
            return succeeds ? calls::listen().real(fd, length) : fails_with(ENOMEM);
        });
        const Attempt attempt(directory / "s");
        CHECK(attempt.status() == (succeeds ? Status::ok : Status::system));
        CHECK(can_be_locked(directory.path()));
        REQUIRE(kill(child, SIGKILL) == 0);
        int status = 0;
        CHECK(wait_for(child, &status) == child);
    }
}

TEST_CASE("whatever step fails after the name was made, the name goes, and the lock too") {
    const Directory directory;
    const std::string path = directory / "s";
    {
        const Hooked<Listen> hook(calls::listen(), [&](int, int) {
            CHECK(exists(path));
            return fails_with(ENOMEM);
        });
        const Attempt attempt(path);
        CHECK(attempt.status() == Status::system);
        CHECK(attempt.why.os_error() == ENOMEM);
        CHECK(attempt.text() == "the socket cannot listen: Cannot allocate memory");
        CHECK_FALSE(exists(path));
    }
    CHECK(can_be_locked(directory.path()));
    listener_at(path); // and of a stale one in its place as well
    {
        const Hooked<Listen> hook(calls::listen(), [&](int, int) { return fails_with(ENOMEM); });
        CHECK(Attempt(path).status() == Status::system);
        CHECK_FALSE(exists(path));
    }
    CHECK(Attempt(path).status() == Status::ok);
}

TEST_CASE("what is in the way is told: somebody who listens, a file, a socket of another kind") {
    const Directory directory;
    const UniqueFd listener = listener_at(directory / "taken");
    check_refused(directory / "taken", Status::path_in_use, "a process listens at the path already");
    const UniqueFd file(open((directory / "file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    check_refused(directory / "file", Status::path_foreign,
                  "what is at the path is no socket of this user, so it stays");
    const UniqueFd datagrams(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = unix_address(directory / "datagrams");
    REQUIRE(bind(datagrams.get(), as_sockaddr(address), sizeof address) == 0);
    check_refused(directory / "datagrams", Status::path_foreign,
                  "the socket at the path is no stream socket, so it stays");
}

TEST_CASE("a listener from outside is taken with what waits in it, and left to others when it goes") {
    const Directory directory;
    UniqueFd listener = listener_at(directory / "s");
    const UniqueFd others(fcntl(listener.get(), F_DUPFD_CLOEXEC, 0));
    const UniqueFd waiting = dial(directory / "s");
    {
        Explanation why;
        auto endpoint = os::Endpoint::adopt(listener.get(), why);
        REQUIRE(endpoint);
        CHECK(endpoint->fd() == listener.get());
        endpoint->keep();
        listener.release();
        CHECK((fcntl(endpoint->fd(), F_GETFL) & O_NONBLOCK) != 0);
    }
    CHECK(exists(directory / "s"));
    CHECK(accept_from(others)); // nobody drained it
    CHECK(dial(directory / "s"));
}

TEST_CASE("what is no listener from outside stays the giver's, with a reason") {
    SocketPair pair;
    Explanation why;
    CHECK(os::Endpoint::adopt(pair.a.get(), why).error() == Status::invalid_argument);
    CHECK(is_open(pair.a.get()));
    CHECK(why.member() == "fd");
    CHECK(why.text() == "the descriptor is no listening Unix stream socket");

    const Directory directory;
    const UniqueFd listener = listener_at(directory / "s");
    Explanation none;
    REQUIRE(os::Endpoint::adopt(listener.get(), none)); // and it was not kept
    CHECK(is_open(listener.get()));
}

TEST_CASE("an endpoint that goes takes its name, and what waits in it is drained") {
    const Directory directory;
    UniqueFd waiting;
    const ClientConnection client;
    {
        const Attempt attempt(directory / "s");
        REQUIRE(attempt.status() == Status::ok);
        waiting = dial(directory / "s");
        const std::uint8_t byte = 1;
        REQUIRE(os::send(waiting.get(), client.fd.get(), {&byte, 1}).bytes == 1);
    }
    CHECK_FALSE(exists(directory / "s"));
    CHECK(is_at_end(waiting.get()));
}

TEST_CASE("in a forked child an endpoint goes without a trace") {
    const Directory directory;
    Attempt attempt(directory / "s");
    REQUIRE(attempt.status() == Status::ok);
    const UniqueFd waiting = dial(directory / "s");
    Child child([&](const Wire &) { os::Endpoint copy(std::move(*attempt.endpoint)); });
    CHECK(child.wait() == 0);
    CHECK(exists(directory / "s"));
    CHECK_FALSE(is_at_end(waiting.get()));
    CHECK(os::accept(attempt.endpoint->fd()));
}
