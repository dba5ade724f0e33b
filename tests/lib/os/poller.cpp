// A poller that the kernel has left, and events that nobody meant.
#include "os/poller.hpp"

#include "support/sockets.hpp"

using namespace rp::test;
namespace os = rp::handoff::os;

namespace {

os::Poller make_poller() {
    auto poller = os::Poller::create(true);
    REQUIRE(poller);
    return std::move(*poller);
}

std::vector<os::Poller::Id> ready_in(os::Poller &poller) {
    const os::Poller::Ready ready = poller.ready();
    CHECK(ready.os_error == 0);
    return {ready.ids.begin(), ready.ids.begin() + static_cast<std::ptrdiff_t>(ready.count)};
}

} // namespace

TEST_CASE("a poller that cannot be asked says why, and not that nothing is ready") {
    os::Poller poller = make_poller();
    const UniqueFd other(open("/dev/null", O_RDONLY | O_CLOEXEC));
    REQUIRE(dup3(other.get(), poller.fd(), O_CLOEXEC) ==
            poller.fd()); // somebody closed it, and the number is used again
    const os::Poller::Ready ready = poller.ready();
    CHECK(ready.count == 0);
    CHECK(ready.os_error == EINVAL);
}

TEST_CASE("a stop and a nudge stay ready until they are taken, and can be raised again") {
    os::Poller poller = make_poller();
    CHECK(ready_in(poller).empty());
    for (int round = 0; round < 2; ++round) {
        poller.stop();
        CHECK(ready_in(poller) == std::vector<os::Poller::Id>{os::Poller::stop_id});
        CHECK(ready_in(poller) == std::vector<os::Poller::Id>{os::Poller::stop_id});
        poller.take_stop();
        poller.take_stop();
        CHECK(ready_in(poller).empty());
        poller.nudge();
        CHECK(ready_in(poller) == std::vector<os::Poller::Id>{os::Poller::nudge_id});
        poller.take_nudge();
        CHECK(ready_in(poller).empty());
    }
}
