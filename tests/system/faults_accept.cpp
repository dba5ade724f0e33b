// A backend that is out of descriptors when a broker comes: it waits a little instead of trying all the time, serves the
// brokers that it has, and then takes the new one.
#include "support/interpose.hpp"
#include "support/raw_broker.hpp"
#include "support/shortage.hpp"
#include "support/valgrind.hpp"

using namespace rp::test;

namespace {

using Accept4 = int(int, sockaddr *, socklen_t *, int);

constexpr std::uint64_t back_off = second / 20;

std::uint64_t timeout_of(const Backend &backend) {
    std::uint64_t timeout = 0;
    CHECK(rp_handoff_backend_get_timeout(backend.get(), &timeout) == RP_HANDOFF_OK);
    return timeout;
}

std::int32_t wait_a_second(const Backend &backend) {
    rp_handoff_offer *offer = nullptr;
    return rp_handoff_backend_next_offer(backend.get(), second, &offer);
}

} // namespace

TEST_CASE("a backend that cannot accept tries again after a while, and not all the time") {
    for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
        CAPTURE(error);
        Listening backend;
        RawBroker broker(backend.path);
        broker.offer(token_of(1));
        int tries = 0;
        {
            const Hooked<Accept4> hook(calls::accept4(), [&](int, sockaddr *, socklen_t *, int) {
                ++tries;
                return fails_with(error);
            });
            CHECK(wait_a_second(backend.backend) == RP_HANDOFF_ERR_TIMED_OUT);
        }
        CHECK(tries >= 2);
        CHECK(tries <= 21); // at the start, and every 50 ms
        CHECK(backend.time.waits <= 42);
        backend.time.now += back_off;
        CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
    }
}

TEST_CASE("the while is 50 ms, to the nanosecond, in which the loop has nothing to do") {
    Listening backend;
    const RawBroker broker(backend.path);
    int tries = 0;
    const Hooked<Accept4> hook(calls::accept4(), [&](int, sockaddr *, socklen_t *, int) {
        ++tries;
        return fails_with(EMFILE);
    });
    CHECK(is_readable(rp_handoff_backend_get_fd(backend.backend.get())));
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(tries == 1);
    CHECK_FALSE(is_readable(rp_handoff_backend_get_fd(backend.backend.get())));
    CHECK(timeout_of(backend.backend) == back_off);
    backend.time.now += back_off - 1;
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(tries == 1);
    CHECK(timeout_of(backend.backend) == 1);
    backend.time.now += 1;
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(tries == 2);
}

TEST_CASE("a backend that is really out of descriptors recovers when there are some again" *
          doctest::test_suite(not_under_valgrind)) {
    Listening backend;
    CHECK(wait_a_second(backend.backend) == RP_HANDOFF_ERR_TIMED_OUT); // nobody is there yet
    RawBroker broker(backend.path);
    broker.offer(token_of(1));
    {
        const NoMoreDescriptors shortage;
        CHECK(wait_a_second(backend.backend) == RP_HANDOFF_ERR_TIMED_OUT);
        CHECK(statistics(backend.backend).connections == 0);
    }
    backend.time.now += back_off;
    CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
}

TEST_CASE("a backend that cannot accept serves the brokers that it has") {
    Listening backend;
    const HandBroker broker(backend.backend);
    const ClientConnection client;
    const RawBroker in_vain(backend.path);
    const Hooked<Accept4> hook(calls::accept4(), [&](int, sockaddr *, socklen_t *, int) { return fails_with(EMFILE); });
    for (std::uint8_t i = 0; i < 3; ++i) {
        broker.offer(client.fd.get(), token_of(i));
        CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
        CHECK(broker.answer()->accepted);
    }
}

TEST_CASE("a connection that was aborted before it was accepted, and a signal, keep nobody waiting") {
    const Listening backend;
    RawBroker broker(backend.path);
    broker.offer(token_of(1));
    int failures = 4;
    const Hooked<Accept4> hook(calls::accept4(), [&](int listener, sockaddr *address, socklen_t *length, int flags) {
        if (failures-- > 0) {
            return fails_with(failures % 2 == 0 ? ECONNABORTED : EINTR);
        }
        CHECK(flags == (SOCK_NONBLOCK | SOCK_CLOEXEC));
        return calls::accept4().real(listener, address, length, flags);
    });
    CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
}
