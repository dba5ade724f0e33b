// Who is told that a session has something to do, rule by rule: loops.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <optional>

#include "support/doorbell_scene.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using namespace rp::handoff::session;
using namespace rp::test;

namespace {

constexpr Doorbell::State idle = DoorbellScene::idle;
constexpr Doorbell::State due_at(std::uint64_t time) {
    return {at(time), false, false};
}
constexpr Doorbell::State with_event{end_of_time, true, false};

template <class Body>
void in_another_thread(Body body) {
    std::thread(body).join();
}

// A loop in this thread that was told `state`, and sleeps.
struct Told : DoorbellScene {
    Told(const Doorbell::State &first, TimeSource &source) : DoorbellScene(source), fd(descriptor()) {
        leave(first);
        tell();
        REQUIRE_FALSE(is_rung());
    }
    bool is_rung() const { return is_readable(fd); }
    int fd;
};

} // namespace

TEST_CASE("a loop is rung for an earlier deadline than it was told, whoever brings it, and for no other") {
    for (const bool by_itself : {true, false}) {
        CAPTURE(by_itself);
        FakeTime time;
        Told told(due_at(100), time);
        const auto leave = [&](const Doorbell::State &next) {
            by_itself ? told.leave(next) : in_another_thread([&] { told.leave(next); });
        };
        leave(due_at(101));
        CHECK_FALSE(told.is_rung());
        leave(due_at(100));
        CHECK_FALSE(told.is_rung());
        leave(idle);
        CHECK_FALSE(told.is_rung());
        leave(due_at(99));
        CHECK(told.is_rung());
    }
}

TEST_CASE("a loop is rung as long as what it was told does not hold, and not longer") {
    FakeTime time;
    Told told(due_at(100), time);
    told.leave(due_at(50));
    CHECK(told.is_rung());
    told.leave(due_at(100)); // somebody else did what there was to do
    CHECK_FALSE(told.is_rung());
    told.leave(with_event);
    CHECK(told.is_rung());
    told.leave();
    CHECK(told.is_rung());
    told.leave(idle); // and took the event
    CHECK_FALSE(told.is_rung());
}

TEST_CASE("a loop that has asked again is told the new deadline, and not rung for it") {
    FakeTime time;
    Told told(due_at(100), time);
    told.leave(due_at(50));
    CHECK(told.tell() == at(50));
    CHECK_FALSE(told.is_rung());
    told.leave(due_at(50));
    CHECK_FALSE(told.is_rung());
    told.leave(due_at(49));
    CHECK(told.is_rung());
}

TEST_CASE("a loop that never asked counts as told: for ever") {
    FakeTime time;
    DoorbellScene scene(time);
    scene.leave(due_at(5));
    const int fd = scene.descriptor();
    CHECK(is_readable(fd));
    scene.leave(idle);
    CHECK_FALSE(is_readable(fd));
    scene.leave(with_event);
    CHECK(is_readable(fd));
    scene.loop_is_here();
    CHECK_FALSE(is_readable(fd));
    in_another_thread([&] { scene.leave(); }); // the event is still there
    CHECK(is_readable(fd));
    scene.leave(idle);
    CHECK_FALSE(is_readable(fd));
}

TEST_CASE("a descriptor that is asked for while there is an event is ready") {
    FakeTime time;
    DoorbellScene scene(time);
    scene.leave(with_event);
    CHECK(is_readable(scene.descriptor()));
    CHECK(scene.bell.has_loop());
}

TEST_CASE("a loop that is told of an event is told: now, and it is not rung for that") {
    FakeTime time(at(500));
    Told told(idle, time);
    told.state = with_event;
    CHECK(told.tell() <= at(500));
    CHECK_FALSE(told.is_rung());
    told.leave();
    CHECK_FALSE(told.is_rung()); // it is awake, and takes it
    in_another_thread([&] { told.leave(); });
    CHECK(told.is_rung()); // who knows who takes it now
}

TEST_CASE("a loop that came back is not rung by its own thread until it asks again, but by any other") {
    FakeTime time;
    Told told(due_at(100), time);
    told.loop_is_here();
    told.leave(due_at(10));
    told.leave(with_event);
    CHECK_FALSE(told.is_rung());
    in_another_thread([&] { told.leave(); });
    CHECK(told.is_rung());
    told.loop_is_here();
    CHECK_FALSE(told.is_rung());
    told.state = idle;
    CHECK(told.tell() == end_of_time);
    told.leave(due_at(10));
    CHECK(told.is_rung());
}

TEST_CASE("what another thread does does not count as the loop's coming back") {
    FakeTime time;
    Told told(due_at(100), time);
    in_another_thread([&] { told.loop_is_here(); });
    told.leave(due_at(50));
    CHECK(told.is_rung());
    in_another_thread([&] { told.loop_is_here(); });
    CHECK(told.is_rung());
}

TEST_CASE("with two loops the one that asked last is the one that is rung") {
    FakeTime time;
    Told told(due_at(100), time);
    in_another_thread([&] {
        told.state = due_at(80);
        CHECK(told.tell() == at(80));
    });
    told.loop_is_here(); // the first one's coming back says nothing of the second
    told.leave(due_at(70));
    CHECK(told.is_rung());
}

TEST_CASE("the descriptor follows the watches: what is wanted makes it ready, and what is not does not") {
    FakeTime time;
    DoorbellScene scene(time);
    SocketPair first;
    SocketPair second;
    scene.leave(Doorbell::Watches{{{first.a.get(), true, false}, {}, {}}}); // before there is a loop
    const int fd = scene.descriptor();
    CHECK_FALSE(is_readable(fd));
    CHECK(write(first.b.get(), "x", 1) == 1);
    CHECK(is_readable(fd));
    scene.leave(Doorbell::Watches{{{first.a.get(), false, false}, {}, {}}});
    CHECK_FALSE(is_readable(fd));
    scene.leave(Doorbell::Watches{{{first.a.get(), false, true}, {}, {}}});
    CHECK(is_readable(fd));
    scene.leave(Doorbell::Watches{{{second.a.get(), true, false}, {}, {}}}); // another one in its place
    CHECK_FALSE(is_readable(fd));
    CHECK(write(second.b.get(), "x", 1) == 1);
    CHECK(is_readable(fd));
    scene.leave(Doorbell::Watches{{{}, {first.a.get(), true, false}, {}}}); // and in another place
    CHECK(is_readable(fd));
    scene.leave(Doorbell::Watches{});
    CHECK_FALSE(is_readable(fd));
}

TEST_CASE("a peer that has hung up wakes nobody who does not look") {
    FakeTime time;
    DoorbellScene scene(time);
    SocketPair pair;
    const int fd = scene.descriptor();
    scene.leave(Doorbell::Watches{{{pair.a.get(), true, false}, {}, {}}});
    scene.leave(Doorbell::Watches{{{pair.a.get(), false, false}, {}, {}}});
    pair.b.reset();
    CHECK_FALSE(is_readable(fd));
}

TEST_CASE("a socket that cannot be watched is told with its errno, and tried again") {
    FakeTime time;
    DoorbellScene scene(time);
    SocketPair pair;
    const int fd = scene.descriptor();
    scene.watches = {{{pair.a.get(), true, false}, {}, {}}};
    {
        const Hooked<int(int, int, int, epoll_event *)> failing(
            calls::epoll_ctl(), [](int, int, int, epoll_event *) { return fails_with(ENOSPC); });
        const DoorbellScene::Lock lock(scene.mutex);
        CHECK_FALSE(scene.bell.settle(scene.state, scene.watches));
        CHECK(errno == ENOSPC);
    }
    scene.leave();
    CHECK(write(pair.b.get(), "x", 1) == 1);
    CHECK(is_readable(fd));
}

TEST_CASE("a descriptor that cannot be made is told, and made the next time") {
    FakeTime time;
    DoorbellScene scene(time);
    {
        const Hooked<int(unsigned, int)> failing(calls::eventfd(), [](unsigned, int) { return fails_with(EMFILE); });
        CHECK(status_of(scene.bell.descriptor(scene.watches)) == Status::system);
        CHECK(errno == EMFILE);
        CHECK_FALSE(scene.bell.has_loop());
    }
    CHECK(scene.bell.descriptor(scene.watches));
}
