// What the kernel says of processes: whom it can name, and which process a pidfd is.
#include <doctest/doctest.h>

#include "os/peer.hpp"
#include "support/namespaces.hpp"

using namespace rp::test;
namespace os = rp::handoff::os;

TEST_CASE("a map of ids covers everybody if it has all ids but the last, in one piece or several") {
    CHECK(os::maps_every_id("         0          0 4294967295\n"));
    CHECK(os::maps_every_id("0 100000 65536\n65536 165536 4294901759\n"));
    CHECK_FALSE(os::maps_every_id("0 100000 65536\n"));
    CHECK_FALSE(os::maps_every_id("65534 0 1\n"));
    CHECK_FALSE(os::maps_every_id("0 0 4294967294\n"));
    CHECK_FALSE(os::maps_every_id(""));
    CHECK_FALSE(os::maps_every_id("what is this?\n"));
    CHECK_FALSE(os::maps_every_id("0 0"));
}

TEST_CASE("in a user namespace that maps one user, the overflow uid is nobody") {
    Child child([](const Wire &) {
        const uid_t outside = geteuid();
        if (unshare(CLONE_NEWUSER) != 0) {
            std::printf("no user namespaces here: skipped\n");
            return;
        }
        must(!os::overflow_ids().is_user); // nobody at all is mapped yet
        write_file("/proc/self/uid_map", "65534 " + std::to_string(outside) + " 1");
        must(geteuid() == 65534);
        const rp::handoff::OverflowIds ids = os::overflow_ids();
        must(ids.uid == 65534 && ids.gid == 65534 && !ids.is_user);
    });
    CHECK(child.wait() == 0);
}

TEST_CASE("the overflow ids are those that the system says") {
    const auto said = [](const char *path) {
        const UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
        char text[32] = {};
        REQUIRE(read(fd.get(), text, sizeof text - 1) > 0);
        return static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10));
    };
    CHECK(os::overflow_ids().uid == said("/proc/sys/kernel/overflowuid"));
    CHECK(os::overflow_ids().gid == said("/proc/sys/kernel/overflowgid"));
}

TEST_CASE("a pidfd tells the pid by which its process knows itself") {
    const auto own = os::pidfd_of(static_cast<std::uint32_t>(getpid()));
    REQUIRE(own);
    CHECK(os::pid_in_own_namespace(own->get()) == static_cast<std::uint32_t>(getpid()));
    CHECK(os::pid_in_own_namespace(-1) == 0);
    const UniqueFd none(open("/dev/null", O_RDONLY | O_CLOEXEC));
    CHECK(os::pid_in_own_namespace(none.get()) == 0);
    CHECK(os::number_of_process(none.get()) == 0);

    Child outside([](const Wire &wire) {
        if (!leaves(CLONE_NEWPID)) {
            wire.say('s');
            return;
        }
        const Child first([](const Wire &own_wire) { own_wire.hear(); });
        const auto pidfd = os::pidfd_of(static_cast<std::uint32_t>(first.pid()));
        must(pidfd.has_value());
        must(first.pid() != 1 && os::pid_in_own_namespace(pidfd->get()) == 1);
    });
    CHECK(outside.wait() == 0);
}

TEST_CASE("a pidfd of a socket's peer is that of who made it, and processes have numbers of their own") {
    const SocketPair pair;
    const auto peer = os::peer_pidfd(pair.a.get());
    if (!peer) {
        CHECK(peer.error() == ENOPROTOOPT); // before Linux 6.5
        return;
    }
    CHECK(os::pid_in_own_namespace(peer->get()) == static_cast<std::uint32_t>(getpid()));
    const Child child([](const Wire &wire) { wire.hear(); });
    const auto others = os::pidfd_of(static_cast<std::uint32_t>(child.pid()));
    const auto own = os::pidfd_of(static_cast<std::uint32_t>(getpid()));
    REQUIRE((others && own));
    if (os::number_of_process(own->get()) != 0) { // since Linux 6.9
        CHECK(os::number_of_process(own->get()) == os::number_of_process(peer->get()));
        CHECK(os::number_of_process(own->get()) != os::number_of_process(others->get()));
    }
    const UniqueFd udp(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    CHECK_FALSE(os::peer_pidfd(udp.get()));
}
