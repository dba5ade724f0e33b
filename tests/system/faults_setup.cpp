// Making things, when the kernel does not give what they are made of: an error, nothing left behind, and the next try works.
#include "support/api.hpp"
#include "support/interpose.hpp"
#include "support/raw_broker.hpp"

using namespace rp::test;

namespace {

// Fails the n-th time it is called, counted from 0, and only then.
class Nth {
  public:
    Nth(int nth, int error) : left_(nth), error_(error) {}

    template <class Real>
    int operator()(Real real) {
        return left_-- == 0 ? fails_with(error_) : real();
    }
    bool happened() const noexcept { return left_ < 0; }

  private:
    int left_;
    int error_;
};

void check_no_backend(int error) {
    rp_handoff_backend *backend = nullptr;
    CHECK(rp_handoff_backend_create(nullptr, &backend, nullptr) == RP_HANDOFF_ERR_SYSTEM);
    CHECK(errno == error);
    CHECK(backend == nullptr);
}

std::int32_t listen_at(const Backend &backend, const std::string &path) {
    return rp::test::listen_at(backend.get(), path.c_str());
}

void check_works(const Backend &backend, const std::string &path) {
    REQUIRE(listen_at(backend, path) == RP_HANDOFF_OK);
    RawBroker broker(path);
    broker.offer(token_of(1));
    CHECK(accept_and_close(take_offer(backend)) == RP_HANDOFF_OK);
}

} // namespace

TEST_CASE("a backend is not made without what it waits on") {
    {
        const Hooked<int(int)> hook(calls::epoll_create1(), [](int) { return fails_with(EMFILE); });
        check_no_backend(EMFILE);
    }
    for (const int nth : {0, 1}) {
        Nth failing(nth, ENFILE);
        const Hooked<int(unsigned, int)> hook(calls::eventfd(), [&](unsigned count, int flags) {
            return failing([&] { return calls::eventfd().real(count, flags); });
        });
        check_no_backend(ENFILE);
    }
    for (const int nth : {0, 1}) {
        Nth failing(nth, ENOMEM);
        const Hooked<int(int, int, int, epoll_event *)> hook(
            calls::epoll_ctl(), [&](int epoll, int operation, int fd, epoll_event *event) {
                return failing([&] { return calls::epoll_ctl().real(epoll, operation, fd, event); });
            });
        check_no_backend(ENOMEM);
    }
    make_backend();
}

TEST_CASE("a listen that fails leaves nothing in the way of the next") {
    const Directory directory;
    const std::string path = directory / "backend";
    const Backend backend = make_backend();
    {
        const Hooked<int(int, int, int)> hook(calls::socket(), [](int, int, int) { return fails_with(EMFILE); });
        CHECK(listen_at(backend, path) == RP_HANDOFF_ERR_SYSTEM);
        CHECK(errno == EMFILE);
    }
    for (const int error : {EADDRINUSE, EACCES}) {
        const Hooked<int(int, const sockaddr *, socklen_t)> hook(
            calls::bind(), [&](int, const sockaddr *, socklen_t) { return fails_with(error); });
        CHECK(listen_at(backend, path) == (error == EADDRINUSE ? RP_HANDOFF_ERR_PATH_IN_USE : RP_HANDOFF_ERR_SYSTEM));
    }
    CHECK_FALSE(exists(path));
    {
        const Hooked<int(int, int)> hook(calls::listen(), [](int, int) { return fails_with(ENOMEM); });
        CHECK(listen_at(backend, path) == RP_HANDOFF_ERR_SYSTEM);
        CHECK(errno == ENOMEM);
    }
    {
        Nth failing(2, ENOSPC); // what is watched beside the socket comes first
        const Hooked<int(int, int, int, epoll_event *)> hook(
            calls::epoll_ctl(), [&](int epoll, int operation, int fd, epoll_event *event) {
                return failing([&] { return calls::epoll_ctl().real(epoll, operation, fd, event); });
            });
        CHECK(listen_at(backend, path) == RP_HANDOFF_ERR_SYSTEM);
        CHECK_FALSE(exists(path));
    }
    check_works(backend, path);
}

TEST_CASE("a stale socket that cannot be looked at is left alone") {
    const Directory directory;
    const std::string path = directory / "backend";
    listener_at(path);
    const Backend backend = make_backend();
    {
        const Hooked<int(int, const sockaddr *, socklen_t)> hook(
            calls::connect(), [](int, const sockaddr *, socklen_t) { return fails_with(EACCES); });
        CHECK(listen_at(backend, path) == RP_HANDOFF_ERR_SYSTEM);
        CHECK(errno == EACCES);
        CHECK(exists(path));
    }
    check_works(backend, path);
}

TEST_CASE("a descriptor from outside that cannot be waited for stays the giver's") {
    const Directory directory;
    UniqueFd listener = listener_at(directory / "backend");
    SocketPair pair;
    const Backend backend = make_backend();
    const Hooked<int(int, int, int, epoll_event *)> hook(
        calls::epoll_ctl(), [](int, int, int, epoll_event *) { return fails_with(ENOSPC); });
    CHECK(rp_handoff_backend_add_connection(backend.get(), pair.b.get(), RP_HANDOFF_TRUST_CALLER) ==
          RP_HANDOFF_ERR_SYSTEM);
    CHECK(rp::test::listen_on(backend.get(), listener.get(), RP_HANDOFF_TRUST_CALLER) == RP_HANDOFF_ERR_SYSTEM);
    CHECK(is_open(pair.b.get()));
    CHECK(is_open(listener.get()));
    CHECK(statistics(backend).connections == 0);
}

TEST_CASE("a broker that cannot be waited for is dropped, and the next is served") {
    const Listening backend;
    const RawBroker unlucky(backend.path);
    {
        const Hooked<int(int, int, int, epoll_event *)> hook(
            calls::epoll_ctl(), [](int epoll, int operation, int fd, epoll_event *event) {
                return operation == EPOLL_CTL_ADD ? fails_with(ENOMEM)
                                                  : calls::epoll_ctl().real(epoll, operation, fd, event);
            });
        CHECK(take_offer(backend.backend) == nullptr);
    }
    CHECK(unlucky.was_dropped());
    CHECK(statistics(backend.backend).connections == 0);
    RawBroker next(backend.path);
    next.offer(token_of(1));
    CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
}

TEST_CASE("random bytes come in pieces and after signals, or not at all") {
    int call = 0;
    const Hooked<ssize_t(void *, std::size_t, unsigned)> hook(
        calls::getrandom(), [&](void *buffer, std::size_t length, unsigned flags) -> ssize_t {
            CHECK(flags == 0);
            return ++call % 2 == 1 ? fails_with(EINTR)
                                   : calls::getrandom().real(buffer, std::min<std::size_t>(length, 5), flags);
        });
    rp_handoff_token token{};
    CHECK(rp_handoff_token_generate(&token) == RP_HANDOFF_OK);
    CHECK(call == 8); // 5 + 5 + 5 + 1 bytes, each after a signal
    calls::getrandom().hook = [](void *, std::size_t, unsigned) -> ssize_t { return fails_with(ENOSYS); };
    Out<rp_handoff_token> none;
    CHECK(rp_handoff_token_generate(none.get()) == RP_HANDOFF_ERR_RANDOM);
    CHECK(none.untouched());
    const Broker broker = make_broker();
    CHECK(rp_handoff_broker_issue(broker.get(), "service", 0, none.get()) == RP_HANDOFF_ERR_RANDOM);
    CHECK(none.untouched());
    CHECK(statistics(broker).pending_tokens == 0);
}

TEST_CASE("a broker asks for random bytes by the block, and what it has given away is not in the block any more") {
    const Broker broker = make_broker();
    std::vector<std::pair<std::uint8_t *, std::size_t>> blocks;
    const Hooked<ssize_t(void *, std::size_t, unsigned)> hook(
        calls::getrandom(), [&](void *buffer, std::size_t length, unsigned flags) -> ssize_t {
            blocks.emplace_back(static_cast<std::uint8_t *>(buffer), length);
            return calls::getrandom().real(buffer, length, flags);
        });
    issue(broker);
    REQUIRE(blocks.size() == 1);
    const auto [block, length] = blocks[0];
    CHECK(length >= 512);
    for (std::size_t i = 1; i < length / 16; ++i) {
        const rp_handoff_token token = issue(broker);
        const auto found = std::search(block, block + length, std::begin(token.bytes), std::end(token.bytes));
        REQUIRE(found == block + length);
    }
    CHECK(blocks.size() == 1);
    CHECK(std::count(block, block + length, 0) == static_cast<std::ptrdiff_t>(length));
    issue(broker);
    CHECK(blocks.size() == 2);
}

TEST_CASE("where no memory can be kept from a forked child, random bytes are fetched for each token") {
    const Hooked<int(void *, std::size_t, int)> old_kernel(calls::madvise(),
                                                           [](void *, std::size_t, int) { return fails_with(EINVAL); });
    const Broker broker = make_broker();
    std::vector<std::size_t> lengths;
    const Hooked<ssize_t(void *, std::size_t, unsigned)> hook(
        calls::getrandom(), [&](void *buffer, std::size_t length, unsigned flags) -> ssize_t {
            lengths.push_back(length);
            return calls::getrandom().real(buffer, length, flags);
        });
    issue(broker);
    issue(broker);
    CHECK(lengths == std::vector<std::size_t>{16, 16});
}

TEST_CASE("random bytes that were fetched are given before a failure to fetch more is told, and all is well after it") {
    const Broker broker = make_broker();
    std::size_t length = 0;
    const Hooked<ssize_t(void *, std::size_t, unsigned)> hook(
        calls::getrandom(), [&](void *buffer, std::size_t wanted, unsigned flags) -> ssize_t {
            length = wanted;
            return calls::getrandom().real(buffer, wanted, flags);
        });
    issue(broker);
    calls::getrandom().hook = [](void *, std::size_t, unsigned) -> ssize_t { return fails_with(ENOSYS); };
    for (std::size_t i = 1; i < length / 16; ++i) {
        issue(broker);
    }
    Out<rp_handoff_token> none;
    for (int i = 0; i < 2; ++i) {
        CHECK(rp_handoff_broker_issue(broker.get(), "service", 0, none.get()) == RP_HANDOFF_ERR_RANDOM);
        CHECK(none.untouched());
    }
    calls::getrandom().hook = nullptr;
    issue(broker);
}

TEST_CASE("a wait that the kernel refuses ends what waited, and one that is interrupted goes on") {
    const SocketPair connection;
    const ClientConnection client;
    const Broker broker = make_broker();
    rp_handoff_request request = request_over(connection.a.get(), client.fd.get(), issue(broker));
    request.correlation_id = 5;
    int interruptions = 3;
    const Hooked<int(pollfd *, nfds_t, const timespec *, const sigset_t *)> hook(
        calls::ppoll(), [&](pollfd *fds, nfds_t count, const timespec *timeout, const sigset_t *mask) {
            if (interruptions-- > 0) {
                return fails_with(EINTR);
            }
            write_all(connection.b.get(), acceptance(request.token, 5));
            return calls::ppoll().real(fds, count, timeout, mask);
        });
    CHECK(execute(broker, request).result == RP_HANDOFF_COMPLETED);
    CHECK(interruptions == -1);

    calls::ppoll().hook = [](pollfd *, nfds_t, const timespec *, const sigset_t *) { return fails_with(ENOMEM); };
    request.token = issue(broker);
    CHECK(execute(broker, request).cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
}
