// A backend: where its brokers come from, the tokens that it expects, and its end.
#include "support/exchange.hpp"

#include <cerrno>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "support/descriptors.hpp"

using namespace rp::test;

namespace {

// A directory that is removed with what a test leaves in it.
class Directory {
  public:
    explicit Directory(mode_t mode = 0700) {
        REQUIRE(mkdtemp(name_) != nullptr);
        REQUIRE(chmod(name_, mode) == 0);
    }
    Directory(const Directory &) = delete;
    Directory &operator=(const Directory &) = delete;
    ~Directory() {
        for (const std::string &path : made_) {
            unlink(path.c_str());
        }
        CHECK(rmdir(name_) == 0);
    }

    std::string path(const char *name) const { return std::string(name_) + "/" + name; }
    // One that nobody else removes.
    std::string made(const char *name) {
        made_.push_back(path(name));
        return made_.back();
    }
    const char *name() const noexcept { return name_; }

  private:
    char name_[32] = "/tmp/rp-handoff-capi-XXXXXX";
    std::vector<std::string> made_;
};

std::int32_t listen_status(const std::string &path) {
    const Backend backend = make_backend();
    errno = 0;
    return rp_handoff_backend_listen(backend.get(), path.c_str());
}

UniqueFd bound(const std::string &name, int type = SOCK_STREAM) {
    UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    REQUIRE(bind(fd.get(), reinterpret_cast<const sockaddr *>(&address), length) == 0);
    return fd;
}

UniqueFd listening(const std::string &name) {
    UniqueFd fd = bound(name);
    REQUIRE(listen(fd.get(), 8) == 0);
    return fd;
}

std::uint64_t timeout_of(const Backend &backend) {
    std::uint64_t timeout = 0;
    REQUIRE(rp_handoff_backend_timeout(backend.get(), &timeout) == RP_HANDOFF_OK);
    return timeout;
}

std::int32_t consume(const Backend &backend, const rp_handoff_token &expected, const rp_handoff_token &presented,
                     std::size_t length = 16) {
    return rp_handoff_backend_consume(backend.get(), &expected, presented.bytes, length);
}

const rp_handoff_token token = token_of(1);
const rp_handoff_token other = token_of(2);

} // namespace

TEST_CASE("an announced token is consumed once") {
    const Backend backend = make_backend();
    CHECK(consume(backend, token, token) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
    REQUIRE(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    CHECK(consume(backend, token, token) == RP_HANDOFF_OK);
    CHECK(consume(backend, token, token) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
}

TEST_CASE("a malformed or wrong presentation consumes nothing, neither of the two tokens") {
    const Backend backend = make_backend();
    REQUIRE(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    REQUIRE(rp_handoff_backend_expect(backend.get(), &other) == RP_HANDOFF_OK);
    CHECK(rp_handoff_backend_consume(backend.get(), &token, nullptr, 0) == RP_HANDOFF_ERR_TOKEN_MISSING);
    CHECK(consume(backend, token, token, 0) == RP_HANDOFF_ERR_TOKEN_MISSING);
    CHECK(consume(backend, token, token, 15) == RP_HANDOFF_ERR_TOKEN_LENGTH);
    CHECK(consume(backend, token_of(3), token, 15) == RP_HANDOFF_ERR_TOKEN_LENGTH); // before it is looked up
    CHECK(consume(backend, token_of(3), token) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
    CHECK(consume(backend, token, other) == RP_HANDOFF_ERR_TOKEN_MISMATCH);
    CHECK(consume(backend, token, token) == RP_HANDOFF_OK);
    CHECK(consume(backend, other, other) == RP_HANDOFF_OK);
}

TEST_CASE("an announcement can be taken back, once") {
    const Backend backend = make_backend();
    REQUIRE(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    CHECK(rp_handoff_backend_revoke(backend.get(), &token) == 1);
    CHECK(rp_handoff_backend_revoke(backend.get(), &token) == 0);
    CHECK(consume(backend, token, token) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
}

TEST_CASE("announcing again needs no further room") {
    auto options = sized<rp_handoff_backend_options>();
    options.max_pending = 1;
    const Backend backend = make_backend(options);
    REQUIRE(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    CHECK(rp_handoff_backend_expect(backend.get(), &other) == RP_HANDOFF_ERR_LIMIT);
    CHECK(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    CHECK(rp_handoff_backend_revoke(backend.get(), &token) == 1);
    CHECK(rp_handoff_backend_expect(backend.get(), &other) == RP_HANDOFF_OK);
}

TEST_CASE("a backend listens in a private directory and cleans up after itself") {
    const Directory directory;
    const std::string path = directory.path("socket");
    {
        const Backend backend = make_backend();
        REQUIRE(rp_handoff_backend_listen(backend.get(), path.c_str()) == RP_HANDOFF_OK);
        struct stat info {};
        REQUIRE(lstat(path.c_str(), &info) == 0);
        CHECK(S_ISSOCK(info.st_mode));
        CHECK((info.st_mode & 07777) == 0600);
        CHECK(listen_status(path) == RP_HANDOFF_ERR_PATH_IN_USE);
        CHECK(rp_handoff_backend_listen(backend.get(), directory.path("second").c_str()) == RP_HANDOFF_ERR_LIMIT);
        CHECK(access(directory.path("second").c_str(), F_OK) != 0);
    }
    CHECK(access(path.c_str(), F_OK) != 0);
}

TEST_CASE("a handoff by path ends at the backend that listens there") {
    const Directory directory;
    const std::string path = directory.path("socket");
    Exchange exchange;
    REQUIRE(rp_handoff_backend_listen(exchange.backend.get(), path.c_str()) == RP_HANDOFF_OK);
    rp_handoff_request request = exchange.request(issue(exchange.broker));
    request.socket_path = path.c_str();
    CHECK(execute(exchange.broker, request).result == RP_HANDOFF_COMPLETED);
    CHECK(exchange.client.is_served_by(exchange.adopted.get()));
    CHECK(read_available(exchange.connection.get()).empty());
}

TEST_CASE("a path that cannot be one is refused") {
    const Directory directory;
    CHECK(listen_status("") == RP_HANDOFF_ERR_PATH_INVALID);
    CHECK(listen_status("@abstract") == RP_HANDOFF_ERR_PATH_INVALID);
    const std::string fitting(107 - std::string(directory.name()).size() - 1, 'x');
    CHECK(listen_status(directory.path(fitting.c_str())) == RP_HANDOFF_OK); // 107 bytes
    CHECK(listen_status(directory.path((fitting + "x").c_str())) == RP_HANDOFF_ERR_PATH_INVALID);
    CHECK(listen_status(directory.path("nowhere/socket")) == RP_HANDOFF_ERR_SYSTEM);
    CHECK(errno == ENOENT);
}

TEST_CASE("a directory that others can reach into, or that is only a link, is unsafe") {
    for (const mode_t mode : {0701U, 0710U, 0740U, 0755U, 0777U, 0500U}) {
        const Directory directory(mode);
        CHECK(listen_status(directory.path("socket")) == RP_HANDOFF_ERR_PATH_UNSAFE);
    }
    Directory directory;
    const Directory real;
    const std::string link = directory.made("link");
    REQUIRE(symlink(real.name(), link.c_str()) == 0);
    CHECK(listen_status(link + "/socket") == RP_HANDOFF_ERR_PATH_UNSAFE);
    const std::string file = directory.made("file");
    REQUIRE(UniqueFd(open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
    CHECK(listen_status(file + "/socket") == RP_HANDOFF_ERR_PATH_UNSAFE);
}

TEST_CASE("what lies at the path stays there, unless it is a stale socket of ours") {
    Directory directory;
    const std::string file = directory.made("file");
    REQUIRE(UniqueFd(open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
    CHECK(listen_status(file) == RP_HANDOFF_ERR_PATH_FOREIGN);
    const std::string link = directory.made("link");
    REQUIRE(symlink(file.c_str(), link.c_str()) == 0);
    CHECK(listen_status(link) == RP_HANDOFF_ERR_PATH_FOREIGN);
    const std::string datagram = directory.made("datagram");
    const UniqueFd other_type = bound(datagram, SOCK_DGRAM);
    CHECK(listen_status(datagram) == RP_HANDOFF_ERR_PATH_FOREIGN);
    for (const std::string &path : {file, link, datagram}) {
        struct stat info {};
        CHECK(lstat(path.c_str(), &info) == 0);
    }
    const std::string stale = directory.path("stale");
    bound(stale).reset();
    CHECK(listen_status(stale) == RP_HANDOFF_OK);
}

TEST_CASE("a backend does not remove a socket that took the place of its own") {
    Directory directory;
    const std::string path = directory.made("socket");
    Backend backend = make_backend();
    REQUIRE(rp_handoff_backend_listen(backend.get(), path.c_str()) == RP_HANDOFF_OK);
    REQUIRE(unlink(path.c_str()) == 0);
    const UniqueFd successor = listening(path);
    backend.reset();
    CHECK(access(path.c_str(), F_OK) == 0);
}

TEST_CASE("a listener from outside is taken on success, and only then") {
    Directory directory(0755); // its caller answers for the directory
    const std::string path = directory.made("socket");
    Exchange exchange;
    UniqueFd listener = listening(path);
    const int fd = listener.get();
    REQUIRE(rp_handoff_backend_add_listener(exchange.backend.get(), fd, RP_HANDOFF_TRUST_CREDENTIALS) == RP_HANDOFF_OK);
    listener.release();
    CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
    rp_handoff_request request = exchange.request(issue(exchange.broker));
    request.socket_path = path.c_str();
    CHECK(execute(exchange.broker, request).result == RP_HANDOFF_COMPLETED);
    exchange.backend.reset();
    CHECK_FALSE(is_open(fd));
    CHECK(access(path.c_str(), F_OK) == 0); // not ours to remove
}

TEST_CASE("a listener has to be a listening Unix stream socket with a path") {
    Directory directory;
    const Backend backend = make_backend();
    const auto status_of = [&backend](const UniqueFd &fd) {
        const int flags = fcntl(fd.get(), F_GETFL);
        const std::int32_t status = rp_handoff_backend_add_listener(backend.get(), fd.get(), RP_HANDOFF_TRUST_CALLER);
        CHECK(fcntl(fd.get(), F_GETFL) == flags); // still ours, and as it was
        return status;
    };
    CHECK(status_of(bound(directory.made("bound"))) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(status_of(bound(directory.made("datagram"), SOCK_DGRAM)) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(status_of(SocketPair().a) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(status_of(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC))) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    const UniqueFd tcp(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(listen(tcp.get(), 1) == 0);
    CHECK(status_of(tcp) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    const std::string abstract = std::string(1, '\0') + "rp-handoff-capi-" + std::to_string(getpid());
    CHECK(status_of(listening(abstract)) == RP_HANDOFF_ERR_PATH_INVALID);
}

TEST_CASE("a connection has to be a connected Unix stream socket") {
    const Backend backend = make_backend();
    const auto status_of = [&backend](const UniqueFd &fd) {
        const std::int32_t status = rp_handoff_backend_add_connection(backend.get(), fd.get(), RP_HANDOFF_TRUST_CALLER);
        CHECK(is_open(fd.get()));
        return status;
    };
    CHECK(status_of(UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(status_of(UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(status_of(SocketPair(SOCK_SEQPACKET).a) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(status_of(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC))) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(statistics(backend).connections == 0);
}

TEST_CASE("a connection is taken on success, and kept as it was") {
    Backend backend = make_backend();
    SocketPair pair;
    const int fd = pair.b.get();
    const int flags = fcntl(fd, F_GETFL);
    REQUIRE(rp_handoff_backend_add_connection(backend.get(), fd, RP_HANDOFF_TRUST_CREDENTIALS) == RP_HANDOFF_OK);
    pair.b.release();
    CHECK(statistics(backend).connections == 1);
    CHECK(fcntl(fd, F_GETFL) == flags);
    backend.reset();
    CHECK_FALSE(is_open(fd));
    CHECK(is_at_end(pair.a.get()));
}

TEST_CASE("a connection of somebody who is not allowed is still the caller's") {
    const std::uint32_t nobody_here = geteuid() + 1;
    auto options = sized<rp_handoff_backend_options>();
    options.peer_uids = &nobody_here;
    options.peer_uid_count = 1;
    const Backend backend = make_backend(options);
    SocketPair pair;
    CHECK(rp_handoff_backend_add_connection(backend.get(), pair.a.get(), RP_HANDOFF_TRUST_CREDENTIALS) ==
          RP_HANDOFF_ERR_PEER_REJECTED);
    CHECK(is_open(pair.a.get()));
    CHECK(statistics(backend).rejected_peers == 1);
    CHECK(rp_handoff_backend_add_connection(backend.get(), pair.a.get(), RP_HANDOFF_TRUST_CALLER) == RP_HANDOFF_OK);
    pair.a.release();
    CHECK(statistics(backend).connections == 1);
}

TEST_CASE("user ids name who may connect, in place of this process's own") {
    const std::uint32_t mine = geteuid();
    const std::uint32_t lists[2][2] = {{mine + 1, mine}, {mine + 1, mine + 2}};
    for (int i = 0; i < 2; ++i) {
        for (const std::uint32_t flags : {0U, RP_HANDOFF_PEER_ANY_UID + 0U}) {
            auto options = sized<rp_handoff_backend_options>();
            options.peer_uids = lists[i];
            options.peer_uid_count = 2;
            options.peer_flags = flags;
            const Backend backend = make_backend(options);
            SocketPair pair;
            const bool allowed = i == 0 || flags != 0;
            CHECK(rp_handoff_backend_add_connection(backend.get(), pair.a.get(), RP_HANDOFF_TRUST_CREDENTIALS) ==
                  (allowed ? RP_HANDOFF_OK : RP_HANDOFF_ERR_PEER_REJECTED));
            if (allowed) {
                pair.a.release();
            }
        }
    }
}

TEST_CASE("without an offer there is nothing to wait for, and not a descriptor more") {
    const Backend backend = make_backend();
    const HandBroker peer(backend);
    const Descriptors before = open_descriptors();
    Out<rp_handoff_offer *> offer;
    CHECK(rp_handoff_backend_next_offer(backend.get(), 0, offer.get()) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(rp_handoff_backend_next_offer(backend.get(), 1, offer.get()) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(offer.untouched());
    CHECK(open_descriptors() == before);
}

TEST_CASE("after stop every next_offer answers that it is closed, an offer or not") {
    const Backend backend = make_backend();
    const HandBroker peer(backend);
    const ClientConnection client;
    peer.offer(client.fd.get(), token);
    Out<rp_handoff_offer *> offer;
    CHECK(rp_handoff_backend_stop(backend.get()) == RP_HANDOFF_OK);
    CHECK(rp_handoff_backend_stop(backend.get()) == RP_HANDOFF_OK);
    CHECK(is_readable(rp_handoff_backend_fd(backend.get())));
    for (const std::uint64_t timeout : {std::uint64_t{0}, std::uint64_t{1}, RP_HANDOFF_FOREVER}) {
        CHECK(rp_handoff_backend_next_offer(backend.get(), timeout, offer.get()) == RP_HANDOFF_ERR_CLOSED);
    }
    CHECK(offer.untouched());
}

TEST_CASE("the descriptor for event loops is readable while there is something to do") {
    const Backend backend = make_backend();
    const int fd = rp_handoff_backend_fd(backend.get());
    REQUIRE(fd >= 0);
    CHECK(rp_handoff_backend_fd(backend.get()) == fd);
    CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
    const HandBroker peer(backend);
    const ClientConnection client;
    CHECK_FALSE(is_readable(fd));
    CHECK(timeout_of(backend) == RP_HANDOFF_FOREVER);
    peer.offer(client.fd.get(), token);
    CHECK(is_readable(fd));
    CHECK(take_offer(backend)); // and refused at once
    CHECK_FALSE(take_offer(backend));
    CHECK_FALSE(is_readable(fd));
    CHECK(timeout_of(backend) == RP_HANDOFF_FOREVER);
}

TEST_CASE("the time until next_offer has to be called is exact") {
    FakeTime time;
    auto options = sized<rp_handoff_backend_options>();
    options.io_timeout_ns = 100;
    const Backend backend = make_backend(time.in(options));
    const HandBroker peer(backend);
    write_all(peer.connection.get(), Bytes(1)); // the first byte of an offer, without a descriptor: dropped at once
    CHECK_FALSE(take_offer(backend));
    CHECK(statistics(backend).rejected_offers == 1);
    const HandBroker slow(backend);
    const ClientConnection client;
    std::size_t sent = 0;
    const std::uint8_t byte = 1;
    REQUIRE(rp_handoff_wire_send(slow.connection.get(), client.fd.get(), &byte, 1, &sent) == RP_HANDOFF_OK);
    CHECK_FALSE(take_offer(backend));
    CHECK(timeout_of(backend) == 100);
    time.now += 99;
    CHECK(timeout_of(backend) == 1);
    CHECK_FALSE(take_offer(backend));
    CHECK(statistics(backend).connections == 1);
    ++time.now;
    CHECK(timeout_of(backend) == 0);
    CHECK_FALSE(take_offer(backend));
    CHECK(statistics(backend).connections == 0);
    CHECK(statistics(backend).rejected_offers == 2);
    CHECK(is_at_end(slow.connection.get()));
    CHECK(timeout_of(backend) == RP_HANDOFF_FOREVER);
}

TEST_CASE("destroy refuses the offers that nobody took and closes their descriptors") {
    const Descriptors before = open_descriptors();
    {
        auto options = sized<rp_handoff_backend_options>();
        options.token_policy = RP_HANDOFF_TOKENS_FROM_BROKER;
        Backend backend = make_backend(options);
        const HandBroker first(backend);
        const HandBroker second_one(backend);
        ClientConnection client;
        first.offer(client.fd.get(), token);
        second_one.offer(client.fd.get(), other);
        const Offer taken = take_offer(backend); // reads both, gives one
        REQUIRE(taken);
        CHECK(statistics(backend).unanswered == 2);
        backend.reset();
        const bool first_was_taken = info_of(taken).token.bytes[0] == token.bytes[0];
        const HandBroker &waiting = first_was_taken ? second_one : first;
        const auto answer = waiting.answer();
        REQUIRE(answer);
        CHECK_FALSE(answer->accepted);
        CHECK(is_at_end(waiting.connection.get()));
        client.fd.reset();
        CHECK_FALSE(is_at_end(client.client.get())); // the offer that was taken holds it still
        CHECK(rp_handoff_offer_refuse(taken.get(), nullptr) == RP_HANDOFF_OK);
        CHECK(is_at_end(client.client.get()));
    }
    CHECK(open_descriptors() == before);
}
