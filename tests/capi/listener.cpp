// Listeners: waits that end, and sockets that are shared with backends.
#include "support/session.hpp"

#include "support/api.hpp"
#include "support/raw_broker.hpp"

#include <csignal>
#include <thread>

using namespace rp::test;

namespace {

std::int32_t accept_status(const Listener &listener, std::uint64_t timeout) {
    Out<std::int32_t> fd;
    const std::int32_t status = rp_handoff_listener_accept(listener.get(), timeout, fd.get());
    CHECK(fd.untouched() == (status != RP_HANDOFF_OK));
    UniqueFd(status == RP_HANDOFF_OK ? fd.value : -1).reset();
    return status;
}

bool is_readable_now(int fd) {
    pollfd target{fd, POLLIN, 0};
    return poll(&target, 1, 0) == 1;
}

} // namespace

TEST_CASE("stop ends the waits of a listener, those under way and those to come") {
    const Directory directory;
    const Listener listener = make_listener(directory / "socket");
    CHECK(accept_status(listener, 0) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK_FALSE(is_readable_now(rp_handoff_listener_get_fd(listener.get())));
    std::int32_t statuses[2] = {};
    std::thread waiting([&] { statuses[0] = accept_status(listener, RP_HANDOFF_FOREVER); });
    std::thread also_waiting([&] { statuses[1] = accept_status(listener, RP_HANDOFF_FOREVER); });
    CHECK(rp_handoff_listener_stop(listener.get()) == RP_HANDOFF_OK);
    waiting.join();
    also_waiting.join();
    CHECK(statuses[0] == RP_HANDOFF_ERR_CLOSED);
    CHECK(statuses[1] == RP_HANDOFF_ERR_CLOSED);
    const UniqueFd late = dial(directory / "socket"); // waits in the backlog
    CHECK(accept_status(listener, 0) == RP_HANDOFF_ERR_CLOSED);
    CHECK(is_readable_now(rp_handoff_listener_get_fd(listener.get()))); // a loop learns it, too
    const Backend backend = make_backend();
    CHECK(rp_handoff_backend_add_listener(backend.get(), listener.get()) == RP_HANDOFF_ERR_CLOSED);
}

TEST_CASE("a listener's descriptor is readable when somebody has connected") {
    const Directory directory;
    const Listener listener = make_listener(directory / "socket");
    const UniqueFd connected = dial(directory / "socket");
    CHECK(is_readable_now(rp_handoff_listener_get_fd(listener.get())));
    CHECK(accept_status(listener, 0) == RP_HANDOFF_OK);
    CHECK_FALSE(is_readable_now(rp_handoff_listener_get_fd(listener.get())));
}

TEST_CASE("a listener's socket and name last as long as it or a backend that uses it") {
    const Directory directory;
    const std::string path = directory / "socket";
    Listener listener = make_listener(path);
    Backend first = make_backend();
    Backend other = make_backend();
    REQUIRE(rp_handoff_backend_add_listener(first.get(), listener.get()) == RP_HANDOFF_OK);
    REQUIRE(rp_handoff_backend_add_listener(other.get(), listener.get()) == RP_HANDOFF_OK);
    listener.reset();
    CHECK(access(path.c_str(), F_OK) == 0);
    first.reset();
    CHECK(access(path.c_str(), F_OK) == 0);
    RawBroker broker(path);
    broker.offer(token_of(1));
    CHECK(take_offer(other));
    other.reset();
    CHECK(access(path.c_str(), F_OK) != 0);
}

TEST_CASE("a listener that is not added is not taken, and is no backend") {
    const Backend backend = make_backend();
    CHECK(rp_handoff_backend_add_listener(backend.get(), nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    auto *const none = reinterpret_cast<rp_handoff_listener *>(backend.get());
    CHECK(rp_handoff_backend_add_listener(backend.get(), none) == RP_HANDOFF_ERR_WRONG_HANDLE);
    CHECK(rp_handoff_listener_stop(none) == RP_HANDOFF_ERR_WRONG_HANDLE);
}
