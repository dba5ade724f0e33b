// Who is told that a session has something to do, rule by rule: a thread that waits by the caller's own means.
#include <doctest/doctest.h>

#include <functional>

#include "support/doorbell_scene.hpp"

using namespace rp::handoff;
using namespace rp::handoff::session;
using namespace rp::test;

namespace {

using End = WaitingThread::End;

constexpr Doorbell::State with_event{end_of_time, true, false};

constexpr Instant at(std::uint64_t count) {
    return Instant(Duration(count));
}

// A caller's time: what its wait does is up to the test.
class CallersTime final : public TimeSource {
  public:
    Instant now() noexcept override { return at(0); } // it stands still
    Wait wait(int fd, short events, Instant until) noexcept override { return waits(fd, events, until); }
    std::function<Wait(int, short, Instant)> waits = [](int, short, Instant) { return Wait::timed_out; };
};

} // namespace

TEST_CASE("with a clock that stands still a wait that has timed out has reached its time all the same") {
    CallersTime time;
    DoorbellScene scene(time);
    WaitingThread waiting(scene, at(1'000));
    CHECK(waiting.ends() == End::by_time);
    CHECK(waiting.times_woken() == 1);
}

TEST_CASE("a caller's wait gets one descriptor, which is ready when the lookout is called and when a socket is") {
    SocketPair pair;
    CallersTime time;
    DoorbellScene scene(time);
    int rounds = 0;
    time.waits = [&](int fd, short events, Instant until) {
        CHECK(events == POLLIN);
        CHECK(until == at(1'000));
        CHECK_FALSE(is_readable(fd));
        switch (++rounds) {
        case 1: { // another call brings a socket, on which there is something
            scene.leave(Doorbell::Watches{{{pair.a.get(), true, false}, {}, {}}});
            CHECK(write(pair.b.get(), "x", 1) == 1);
            break;
        }
        default:
            scene.leave(with_event);
        }
        CHECK(is_readable(fd));
        char byte = 0;
        CHECK((rounds != 1 || read(pair.a.get(), &byte, 1) == 1));
        return Wait::ready;
    };
    WaitingThread waiting(scene, at(1'000));
    CHECK(waiting.ends() == End::satisfied);
    CHECK(rounds == 2);
}

TEST_CASE("a wait from inside a caller's wait is refused at once, and the outer one goes on") {
    CallersTime time;
    DoorbellScene scene(time);
    bool looked = false;
    time.waits = [&](int, short, Instant) {
        const DoorbellScene::Lock lock(scene.mutex);
        CHECK(scene.bell.has_lookout());
        CHECK(scene.bell.is_in_use());
        CHECK(scene.bell.prepare_to_wait() == Status::busy);
        looked = true;
        return Wait::timed_out;
    };
    WaitingThread waiting(scene, at(1'000));
    CHECK(waiting.ends() == End::by_time);
    CHECK(looked);
    const DoorbellScene::Lock lock(scene.mutex);
    CHECK(scene.bell.prepare_to_wait() == Status::ok);
}

TEST_CASE("a stop makes the descriptor of a caller's wait ready") {
    CallersTime time;
    DoorbellScene scene(time);
    time.waits = [&](int fd, short, Instant) {
        scene.bell.stop();
        CHECK(is_readable(fd));
        return Wait::ready;
    };
    WaitingThread waiting(scene, at(1'000));
    CHECK(waiting.ends() == End::stopped);
}

TEST_CASE("a wait that cannot be prepared says so, leaves nothing behind, and can be prepared later") {
    for (const bool real : {true, false}) {
        CAPTURE(real);
        CallersTime callers;
        SystemTime system;
        DoorbellScene scene(real ? static_cast<TimeSource &>(system) : callers);
        {
            const Hooked<int(unsigned, int)> failing(calls::eventfd(),
                                                     [](unsigned, int) { return fails_with(EMFILE); });
            CHECK(scene.bell.prepare_to_wait() == Status::system);
            CHECK(errno == EMFILE);
        }
        if (!real) {
            const Hooked<int(int, int, int, epoll_event *)> failing(
                calls::epoll_ctl(), [](int, int, int, epoll_event *) { return fails_with(ENOSPC); });
            CHECK(scene.bell.prepare_to_wait() == Status::system);
            CHECK(errno == ENOSPC);
        }
        CHECK(scene.bell.prepare_to_wait() == Status::ok);
    }
}
