// The one place in the file system that a backend makes: who can reach it, what it replaces, and when it goes.
#include <algorithm>
#include <sys/file.h>
#include <thread>

#include "support/api.hpp"
#include "support/descriptors.hpp"
#include "support/process.hpp"
#include "support/raw_broker.hpp"

using namespace rp::test;

namespace {

std::int32_t listen_at(const Backend &backend, const std::string &path) {
    return rp::test::listen_at(backend.get(), path.c_str());
}

std::int32_t try_to_listen(const std::string &path) {
    return listen_at(make_backend(), path);
}

struct stat status_of(const std::string &path) {
    struct stat info {};
    REQUIRE(lstat(path.c_str(), &info) == 0);
    return info;
}

void check_works(const Backend &backend, const std::string &path, std::uint8_t token = 1) {
    RawBroker broker(path);
    broker.offer(token_of(token));
    CHECK(accept_and_close(take_offer(backend)) == RP_HANDOFF_OK);
}

// How many descriptors of this process lead to a directory.
std::size_t descriptors_of(const std::string &directory) {
    const Descriptors all = open_descriptors();
    return static_cast<std::size_t>(
        std::count_if(all.begin(), all.end(), [&](const auto &one) { return one.second == directory; }));
}

// Of this length exactly.
std::string path_of_length(const Directory &directory, std::size_t length) {
    const std::string start = directory / "";
    return start + std::string(length - start.size(), 'p');
}

constexpr char won = 'w';
constexpr char in_use = 'u';

// Listens when it is told to, and then says whether it may.
auto contender(const std::string &path) {
    return [path](const Wire &wire) {
        const Backend backend = make_backend();
        wire.say('r');
        must(wire.hear() == 'g');
        const std::int32_t status = listen_at(backend, path);
        wire.say(status == RP_HANDOFF_OK ? won : status == RP_HANDOFF_ERR_PATH_IN_USE ? in_use : 'x');
        wire.hear();
    };
}

} // namespace

TEST_CASE("the socket has mode 0600 under any umask") {
    for (const mode_t mask : {0000U, 0022U, 0077U, 0177U, 0200U, 0277U, 0600U, 0777U}) {
        CAPTURE(mask);
        const Directory directory;
        const std::string path = directory / "backend";
        const Backend backend = make_backend();
        umask(mask);
        const std::int32_t status = listen_at(backend, path);
        CHECK(umask(0022) == mask);
        REQUIRE(status == RP_HANDOFF_OK);
        const struct stat info = status_of(path);
        CHECK(S_ISSOCK(info.st_mode));
        CHECK((info.st_mode & 07777U) == 0600);
        CHECK(info.st_uid == geteuid());
        check_works(backend, path);
    }
}

TEST_CASE("the directory has to be open to its owner alone") {
    for (const mode_t mode : {0777U, 0755U, 0770U, 0750U, 0710U, 0701U, 0704U, 0500U, 0600U}) {
        CAPTURE(mode);
        const Directory directory;
        REQUIRE(chmod(directory.path().c_str(), mode) == 0);
        CHECK(try_to_listen(directory / "backend") == RP_HANDOFF_ERR_PATH_UNSAFE);
        CHECK_FALSE(exists(directory / "backend"));
    }
    const Directory directory;
    REQUIRE(chmod(directory.path().c_str(), 0700) == 0);
    CHECK(try_to_listen(directory / "backend") == RP_HANDOFF_OK);
}

TEST_CASE("the directory has to be one, not a link to one, nor a file") {
    const Directory directory;
    REQUIRE(mkdir((directory / "real").c_str(), 0700) == 0);
    REQUIRE(symlink("real", (directory / "link").c_str()) == 0);
    const UniqueFd file(open((directory / "file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    CHECK(try_to_listen(directory / "link/backend") == RP_HANDOFF_ERR_PATH_UNSAFE);
    CHECK(try_to_listen(directory / "file/backend") == RP_HANDOFF_ERR_PATH_UNSAFE);
    CHECK(try_to_listen(directory / "real/backend") == RP_HANDOFF_OK);
}

TEST_CASE("the directory has to exist, and errno says so") {
    const Directory directory;
    errno = 0;
    CHECK(try_to_listen(directory / "none/backend") == RP_HANDOFF_ERR_SYSTEM);
    CHECK(errno == ENOENT);
}

TEST_CASE("a path without a directory is in the working directory") {
    const Directory directory;
    REQUIRE(chdir(directory.path().c_str()) == 0);
    Backend backend = make_backend();
    REQUIRE(listen_at(backend, "backend") == RP_HANDOFF_OK);
    CHECK(exists(directory / "backend"));
    check_works(backend, "backend");
    REQUIRE(chdir("/") == 0);
    backend.reset();
    CHECK_FALSE(exists(directory / "backend"));
}

TEST_CASE("names without permissions, no name, and names that do not fit are no paths") {
    const Backend backend = make_backend();
    for (const char *path : {"", "@", "@name", "@/tmp/name"}) {
        CAPTURE(path);
        CHECK(rp::test::listen_at(backend.get(), path) == RP_HANDOFF_ERR_PATH_INVALID);
    }
    CHECK(rp::test::listen_at(backend.get(), nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
}

TEST_CASE("a path has at most 107 bytes, and one of 107 works for both sides") {
    const Directory directory;
    for (const std::size_t length : {106U, 107U}) {
        const std::string path = path_of_length(directory, length);
        const Backend backend = make_backend();
        REQUIRE(listen_at(backend, path) == RP_HANDOFF_OK);
        check_works(backend, path);
    }
    CHECK(try_to_listen(path_of_length(directory, 108)) == RP_HANDOFF_ERR_PATH_INVALID);
    CHECK(try_to_listen(path_of_length(directory, 200)) == RP_HANDOFF_ERR_PATH_INVALID);

    const Broker broker = make_broker();
    const ClientConnection client;
    auto request = sized<rp_handoff_request>();
    auto outcome = sized<rp_handoff_outcome>();
    request.fd = client.fd.get();
    request.token = issue(broker);
    for (const std::string &path : {path_of_length(directory, 108), std::string("@name"), std::string()}) {
        request.socket_path = path.c_str();
        CHECK(rp_handoff_broker_execute(broker.get(), &request, &outcome, nullptr) == RP_HANDOFF_ERR_PATH_INVALID);
    }
    CHECK(statistics(broker).pending_tokens == 1);
}

TEST_CASE("a socket that its process left behind is replaced") {
    const Directory directory;
    const std::string path = directory / "backend";
    listener_at(path);
    REQUIRE(exists(path));
    const Backend backend = make_backend();
    REQUIRE(listen_at(backend, path) == RP_HANDOFF_OK);
    check_works(backend, path);
}

TEST_CASE("a socket of a backend that was killed is replaced") {
    const Directory directory;
    const std::string path = directory / "backend";
    Child killed([&](const Wire &wire) {
        const Backend own = make_backend();
        must(listen_at(own, path) == RP_HANDOFF_OK);
        wire.say('r');
        wire.hear();
    });
    REQUIRE(killed.hear() == 'r');
    CHECK(try_to_listen(path) == RP_HANDOFF_ERR_PATH_IN_USE);
    killed.signal(SIGKILL);
    CHECK(killed.wait() == 128 + SIGKILL);
    CHECK(exists(path));
    CHECK(try_to_listen(path) == RP_HANDOFF_OK);
}

TEST_CASE("a socket on which somebody listens is left alone, also if its backlog is full") {
    const Directory directory;
    const std::string path = directory / "backend";
    const UniqueFd listener = listener_at(path, 0);
    const ino_t before = status_of(path).st_ino;
    CHECK(try_to_listen(path) == RP_HANDOFF_ERR_PATH_IN_USE);
    CHECK(try_to_listen(path) == RP_HANDOFF_ERR_PATH_IN_USE); // the first look has taken the one place
    CHECK(status_of(path).st_ino == before);
}

TEST_CASE("whatever is there and is no stream socket is left alone") {
    const Directory directory;
    const UniqueFd file(open((directory / "file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    REQUIRE(mkdir((directory / "directory").c_str(), 0700) == 0);
    REQUIRE(mkfifo((directory / "fifo").c_str(), 0600) == 0);
    REQUIRE(symlink("nothing", (directory / "dangling").c_str()) == 0);
    REQUIRE(symlink("stale", (directory / "link").c_str()) == 0);
    listener_at(directory / "stale");
    const UniqueFd datagrams(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = unix_address(directory / "datagrams");
    REQUIRE(bind(datagrams.get(), as_sockaddr(address), sizeof address) == 0);
    for (const char *name : {"file", "directory", "fifo", "dangling", "link", "datagrams"}) {
        CAPTURE(name);
        const ino_t before = status_of(directory / name).st_ino;
        CHECK(try_to_listen(directory / name) == RP_HANDOFF_ERR_PATH_FOREIGN);
        CHECK(status_of(directory / name).st_ino == before);
    }
}

TEST_CASE("of two processes that find the same stale socket exactly one replaces it") {
    const Directory directory;
    const std::string path = directory / "backend";
    for (int round = 0; round < 30; ++round) {
        listener_at(path);
        Child one(contender(path));
        Child other(contender(path));
        REQUIRE(one.hear() == 'r');
        REQUIRE(other.hear() == 'r');
        one.say('g');
        other.say('g');
        const char answers[2] = {one.hear(), other.hear()};
        CHECK((answers[0] == won) != (answers[1] == won));
        CHECK((answers[0] == in_use) != (answers[1] == in_use));
        CHECK(dial(path)); // the winner is there
        one.say('e');
        other.say('e');
        CHECK(one.wait() == 0);
        CHECK(other.wait() == 0);
        CHECK_FALSE(exists(path));
    }
}

TEST_CASE("a listen that has to wait for another process does not hold the backend's other threads up") {
    const Directory directory;
    const Backend backend = make_backend();
    UniqueFd lock(open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(flock(lock.get(), LOCK_EX) == 0);
    std::thread waiting([&] { CHECK(listen_at(backend, directory / "backend") == RP_HANDOFF_OK); });
    while (descriptors_of(directory.path()) < 2) { // its own is the second
        std::this_thread::yield();
    }
    alarm(10); // a lock of the library's that is held meanwhile would hang this for ever
    CHECK(statistics(backend).connections == 0);
    CHECK(take_offer(backend) == nullptr);
    lock.reset();
    waiting.join();
    check_works(backend, directory / "backend");
}

TEST_CASE("a backend listens at several paths, and after a failure at others") {
    const Directory directory;
    const Backend backend = make_backend();
    CHECK(listen_at(backend, directory / "file/none") == RP_HANDOFF_ERR_SYSTEM);
    CHECK(listen_at(backend, directory / "first") == RP_HANDOFF_OK);
    CHECK(listen_at(backend, directory / "second") == RP_HANDOFF_OK);
    check_works(backend, directory / "first");
    check_works(backend, directory / "second", 2);
}

TEST_CASE("the socket goes with its backend, and its place can be taken again") {
    const Directory directory;
    const std::string path = directory / "backend";
    for (int round = 0; round < 3; ++round) {
        const Backend backend = make_backend();
        REQUIRE(listen_at(backend, path) == RP_HANDOFF_OK);
        CHECK(exists(path));
    }
    CHECK_FALSE(exists(path));
}

TEST_CASE("what somebody else has put in the place of the socket stays when the backend goes") {
    const Directory directory;
    const std::string path = directory / "backend";
    Backend backend = make_backend();
    REQUIRE(listen_at(backend, path) == RP_HANDOFF_OK);
    REQUIRE(unlink(path.c_str()) == 0);
    const UniqueFd other = listener_at(path);
    const ino_t before = status_of(path).st_ino;
    backend.reset();
    CHECK(status_of(path).st_ino == before);
    CHECK(dial(path));
}

TEST_CASE("a listener from outside has no name that is the backend's to remove") {
    const Directory directory;
    const std::string path = directory / "backend";
    UniqueFd listener = listener_at(path);
    Backend backend = make_backend();
    REQUIRE(rp::test::listen_on(backend.get(), listener.get(), RP_HANDOFF_TRUST_CREDENTIALS) == RP_HANDOFF_OK);
    listener.release();
    check_works(backend, path);
    backend.reset();
    CHECK(exists(path));
}

TEST_CASE("a listener from outside is one, of the right kind, and not of an abstract name") {
    const Backend backend = make_backend();
    const Directory directory;
    const auto add = [&](const UniqueFd &fd) {
        const std::int32_t status = rp::test::listen_on(backend.get(), fd.get(), RP_HANDOFF_TRUST_CALLER);
        CHECK((!fd || is_open(fd.get()))); // on failure it is still ours
        return status;
    };
    const UniqueFd abstract(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const socklen_t autobind = sizeof address.sun_family;
    REQUIRE(bind(abstract.get(), as_sockaddr(address), autobind) == 0);
    REQUIRE(listen(abstract.get(), 1) == 0);
    CHECK(add(abstract) == RP_HANDOFF_ERR_PATH_INVALID);

    const UniqueFd tcp(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(listen(tcp.get(), 1) == 0);
    const SocketPair pair;
    const UniqueFd file(open("/dev/null", O_RDWR | O_CLOEXEC));
    CHECK(add(tcp) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(add(pair.a) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(add(file) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(add(bound_at(directory / "bound")) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(add(UniqueFd()) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
}
