// A backend in a loop of the caller's: one descriptor to watch, and one time to keep.
#include <sys/epoll.h>

#include "support/api.hpp"
#include "support/process.hpp"
#include "support/raw_broker.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t io_timeout = 5 * second;

std::uint64_t timeout_of(const Backend &backend) {
    std::uint64_t timeout = 0;
    CHECK(rp_handoff_backend_get_timeout(backend.get(), &timeout) == RP_HANDOFF_OK);
    return timeout;
}

int in_milliseconds(std::uint64_t timeout) {
    return timeout == RP_HANDOFF_FOREVER ? -1 : static_cast<int>(timeout / 1'000'000 + 1);
}

// What a loop does when the backend's descriptor is readable or its time has come.
void adopt_all(const Backend &backend, int &adopted) {
    for (;;) {
        rp_handoff_offer *offer = nullptr;
        const std::int32_t status = rp_handoff_backend_next_offer(backend.get(), 0, &offer);
        if (status != RP_HANDOFF_OK) {
            CHECK(status == RP_HANDOFF_ERR_TIMED_OUT);
            return;
        }
        CHECK(accept_and_close(Offer(offer)) == RP_HANDOFF_OK);
        ++adopted;
    }
}

// Hands connections over to a backend at `path`, from a process of its own.
auto broker_to(const std::string &path, int count) {
    return [path, count](const Wire &) {
        const Broker broker = make_broker();
        const ClientConnection client;
        for (int i = 0; i < count; ++i) {
            const rp_handoff_request request = request_to(path, client.fd.get(), issue(broker));
            must(execute(broker, request).result == RP_HANDOFF_COMPLETED);
        }
    };
}

template <class WaitOnce>
void drive(WaitOnce wait_once) {
    const Directory directory;
    const std::string path = directory / "backend";
    const Backend backend = make_backend();
    REQUIRE(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
    Child broker(broker_to(path, 20));
    int adopted = 0;
    while (adopted < 20) {
        wait_once(rp_handoff_backend_get_fd(backend.get()), in_milliseconds(timeout_of(backend)));
        adopt_all(backend, adopted);
    }
    CHECK(broker.wait() == 0);
}

UniqueFd epoll_of(int fd) {
    UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    event.events = EPOLLIN;
    REQUIRE(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) == 0);
    return epoll;
}

} // namespace

TEST_CASE("a loop of poll drives a backend") {
    drive([](int fd, int timeout) {
        pollfd target{fd, POLLIN, 0};
        REQUIRE(poll(&target, 1, timeout) >= 0);
    });
}

TEST_CASE("a loop of epoll, and an epoll in an epoll, drive a backend") {
    UniqueFd inner;
    UniqueFd outer;
    drive([&](int fd, int timeout) {
        if (!inner) {
            inner = epoll_of(fd);
            outer = epoll_of(inner.get());
        }
        epoll_event event{};
        REQUIRE(epoll_wait(outer.get(), &event, 1, timeout) >= 0);
    });
}

TEST_CASE("the descriptor is readable only when there is something to do") {
    Listening backend;
    const int fd = rp_handoff_backend_get_fd(backend.backend.get());
    CHECK_FALSE(is_readable(fd));
    RawBroker broker(backend.path);
    CHECK(is_readable(fd));
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK_FALSE(is_readable(fd));
    broker.offer(token_of(1));
    CHECK(is_readable(fd));
    const Offer offer = take_offer(backend.backend);
    REQUIRE(offer != nullptr);
    CHECK_FALSE(is_readable(fd));
    CHECK(accept_and_close(offer) == RP_HANDOFF_OK);
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK_FALSE(is_readable(fd));
    rp_handoff_backend_stop(backend.backend.get());
    CHECK(is_readable(fd));
}

TEST_CASE("the time to keep is that of the broker whose time ends first") {
    Listening backend;
    CHECK(timeout_of(backend.backend) == RP_HANDOFF_FOREVER);
    const RawBroker first(backend.path);
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(timeout_of(backend.backend) == io_timeout);
    backend.time.now += second;
    const RawBroker later(backend.path);
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(timeout_of(backend.backend) == io_timeout - second);
    backend.time.now += io_timeout - second - 1;
    CHECK(timeout_of(backend.backend) == 1);
    backend.time.now += 1;
    CHECK(timeout_of(backend.backend) == 0);
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(first.was_dropped());
    CHECK_FALSE(later.was_dropped());
    CHECK(timeout_of(backend.backend) == second);
    backend.time.now += 100 * second;
    CHECK(timeout_of(backend.backend) == 0);
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(timeout_of(backend.backend) == RP_HANDOFF_FOREVER);
}

TEST_CASE("an offer that is thought over has no time to keep") {
    Listening backend;
    RawBroker broker(backend.path);
    broker.offer(token_of(1));
    const Offer offer = take_offer(backend.backend);
    CHECK(timeout_of(backend.backend) == RP_HANDOFF_FOREVER);
    CHECK(accept_and_close(offer) == RP_HANDOFF_OK);
    CHECK(timeout_of(backend.backend) == io_timeout);
}

TEST_CASE("a loop that sleeps for the time that it was told is woken if an answer of another thread shortens it") {
    Listening backend;
    RawBroker broker(backend.path);
    broker.offer(token_of(1));
    const Offer offer = take_offer(backend.backend);
    CHECK(timeout_of(backend.backend) == RP_HANDOFF_FOREVER); // the loop sleeps now
    CHECK(accept_and_close(offer) == RP_HANDOFF_OK);
    CHECK(is_readable(rp_handoff_backend_get_fd(backend.backend.get())));
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(timeout_of(backend.backend) == io_timeout);
}
