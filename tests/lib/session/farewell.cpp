// The orderly end, step by step, over a pair of sockets.
#include "session/farewell.hpp"

#include <doctest/doctest.h>

#include <cerrno>

#include "support/fakes.hpp"
#include "support/interpose.hpp"
#include "support/socket_pair.hpp"

using namespace rp::handoff;
using namespace rp::handoff::session;
using namespace rp::test;

namespace {

using Step = Farewell::Step;
constexpr Duration patience = std::chrono::nanoseconds(100);

// A side with a socket, and what the peer of it hears.
struct Side {
    explicit Side(bool ends_first) : farewell(ends_first, patience) {
        SocketPair pair;
        link.set_socket(std::move(pair.a));
        peer = std::move(pair.b);
    }
    Step advance(bool done, std::uint64_t now) { return farewell.advance(done, link, link, at(now)); }

    // Goodbyes that have arrived, and whether the end did after them.
    struct Heard {
        int goodbyes = 0;
        bool end = false;
        bool operator==(const Heard &o) const { return goodbyes == o.goodbyes && end == o.end; }
    };
    Heard hear() const { return hear(peer); }
    static Heard hear(const UniqueFd &fd) {
        Heard heard;
        for (;;) {
            std::uint8_t frame[header_size];
            const ssize_t n = recv(fd.get(), frame, sizeof frame, MSG_DONTWAIT);
            if (n <= 0) {
                heard.end = n == 0;
                return heard;
            }
            REQUIRE(n == ssize_t{header_size});
            const Result<Header> header = decode_header({frame, sizeof frame}, 0);
            REQUIRE((header && header->kind == FrameKind::goodbye && header->length == 0));
            ++heard.goodbyes;
        }
    }
    void empty() const {
        char junk[4096];
        while (recv(peer.get(), junk, sizeof junk, MSG_DONTWAIT) > 0) {
        }
    }

    Discards discards{8};
    Link link{max_frame, max_frame, discards};
    UniqueFd peer;
    Farewell farewell;
};
using Heard = Side::Heard;

} // namespace

TEST_CASE("nothing is said, and no time runs, as long as nobody has said goodbye") {
    for (const bool first : {true, false}) {
        Side side(first);
        CHECK(side.advance(true, 0) == Step::none);
        CHECK(side.advance(true, 1'000) == Step::none);
        CHECK(side.farewell.deadline() == end_of_time);
        CHECK(side.hear() == Heard{0, false});
    }
}

TEST_CASE("who begins says goodbye at once, and its time runs from when nothing is left to do") {
    for (const bool first : {true, false}) {
        CAPTURE(first);
        Side side(first);
        side.farewell.begin();
        CHECK(side.farewell.has_begun());
        CHECK(side.advance(false, 10) == Step::none);
        CHECK(side.farewell.deadline() == end_of_time);
        CHECK(side.hear() == Heard{1, false});
        CHECK(side.advance(true, 50) == Step::none);
        CHECK(side.farewell.deadline() == at(150));
        CHECK(side.hear() == Heard{0, first}); // only who ends first half-closes
        CHECK(side.farewell.is_half_closed() == first);
        CHECK(side.advance(true, 149) == Step::none);
        CHECK(side.advance(true, 150) == Step::late);
        CHECK(side.hear().goodbyes == 0);
    }
}

TEST_CASE("what comes late sets the time back, and it runs anew once that is done") {
    Side side(false);
    side.farewell.begin();
    side.advance(true, 0);
    REQUIRE(side.farewell.deadline() == at(100));
    CHECK(side.advance(false, 90) == Step::none);
    CHECK(side.farewell.deadline() == end_of_time);
    CHECK(side.advance(false, 500) == Step::none);
    CHECK(side.advance(true, 510) == Step::none);
    CHECK(side.farewell.deadline() == at(610));
    CHECK(side.advance(true, 610) == Step::late);
}

TEST_CASE("who ends first answers a goodbye with one when it is done, and the other side only listens") {
    Side broker(true);
    CHECK(broker.farewell.hear());
    CHECK_FALSE(broker.farewell.hear());
    CHECK(broker.farewell.is_heard());
    CHECK(broker.advance(false, 0) == Step::none);
    CHECK(broker.hear() == Heard{0, false});
    CHECK(broker.advance(true, 5) == Step::none);
    CHECK(broker.hear() == Heard{1, true});
    CHECK(broker.farewell.deadline() == at(105));

    Side backend(false);
    CHECK(backend.farewell.hear());
    CHECK(backend.advance(true, 0) == Step::none);
    CHECK(backend.advance(true, 1'000) == Step::none);
    CHECK(backend.hear() == Heard{0, false});
    CHECK(backend.farewell.deadline() == end_of_time);
}

TEST_CASE("a goodbye that met a full socket is said when there is room, and the end of the side comes after it") {
    Side side(true);
    fill_up(side.link.socket());
    side.farewell.begin();
    CHECK(side.advance(true, 0) == Step::none);
    CHECK(side.farewell.needs_room());
    CHECK_FALSE(side.farewell.is_half_closed());
    side.empty();
    CHECK(side.advance(true, 10) == Step::none);
    CHECK_FALSE(side.farewell.needs_room());
    CHECK(side.hear() == Heard{1, true});
    CHECK(side.farewell.deadline() == at(100)); // from the beginning: who does not read is late as well
}

TEST_CASE("a peer that never makes room for the goodbye is late as any other") {
    Side side(true);
    fill_up(side.link.socket());
    side.farewell.begin();
    side.advance(true, 0);
    CHECK(side.advance(true, 99) == Step::none);
    CHECK(side.advance(true, 100) == Step::late);
}

TEST_CASE("a goodbye waits for the rest of a message, so that it does not come in the middle of it") {
    Side side(true);
    fill_up(side.link.socket());
    std::uint8_t junk[64];
    while (recv(side.peer.get(), junk, 1, MSG_DONTWAIT) == 1 && !side.link.has_unsent()) {
        const std::vector<std::uint8_t> message(60'000, 'm');
        side.link.send(view(message)); // goes in part as soon as there is a little room
    }
    REQUIRE(side.link.has_unsent());
    side.farewell.begin();
    CHECK(side.advance(true, 0) == Step::none);
    CHECK(side.farewell.needs_room());
    CHECK_FALSE(side.farewell.is_half_closed());
    while (side.link.flush() != 0) {
        side.empty();
    }
    side.empty();
    CHECK(side.advance(true, 1) == Step::none);
    CHECK(side.hear() == Heard{1, true});
}

TEST_CASE("the goodbye of one socket does not end another on which something is left to send") {
    Side side(true);
    SocketPair other;
    Link outgoing(max_frame, max_frame, side.discards);
    outgoing.set_socket(std::move(other.a));
    fill_up(side.link.socket());
    char byte[1];
    const std::vector<std::uint8_t> message(60'000, 'm');
    while (!side.link.has_unsent() && recv(side.peer.get(), byte, 1, MSG_DONTWAIT) == 1) {
        side.link.send(view(message));
    }
    REQUIRE(side.link.has_unsent());
    side.farewell.begin();
    side.farewell.advance(true, outgoing, side.link, at(0));
    CHECK(Side::hear(other.b) == Heard{1, false});
    CHECK_FALSE(side.farewell.is_half_closed());
}

TEST_CASE("a goodbye that may not have been heard is said again, and then not any more") {
    Side side(false);
    side.farewell.begin();
    side.advance(false, 0);
    CHECK(side.hear() == Heard{1, false});
    side.farewell.repeat();
    side.advance(false, 1);
    side.advance(false, 2);
    CHECK(side.hear() == Heard{1, false});
}

TEST_CASE(
    "a goodbye for which the kernel has no memory is said later, and one that nobody can hear is not said again") {
    for (const int error : {ENOBUFS, EPIPE}) {
        CAPTURE(error);
        Side side(true);
        side.farewell.begin();
        {
            const Hooked<ssize_t(int, const msghdr *, int)> failing(
                calls::sendmsg(), [&](int, const msghdr *, int) { return ssize_t{fails_with(error)}; });
            CHECK(side.advance(false, 0) == Step::none);
        }
        CHECK(side.farewell.needs_room() == (error == ENOBUFS));
        side.advance(false, 1);
        CHECK(side.hear().goodbyes == (error == ENOBUFS ? 1 : 0));
    }
}
