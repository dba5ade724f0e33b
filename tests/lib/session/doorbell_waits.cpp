// Who is told that a session has something to do, rule by rule: threads that wait.
#include <doctest/doctest.h>

#include <csignal>
#include <fcntl.h>
#include <sys/time.h>

#include "support/doorbell_scene.hpp"

using namespace rp::handoff;
using namespace rp::handoff::session;
using namespace rp::test;

namespace {

using As = WaitingThread::As;
using End = WaitingThread::End;

constexpr Doorbell::State idle = DoorbellScene::idle;
constexpr Doorbell::State with_event{end_of_time, true, false};
constexpr Doorbell::State over{end_of_time, false, true};

Instant in_hours(int hours) {
    return after(SystemTime().now(), std::chrono::hours(hours));
}
Doorbell::State due_at(Instant time) {
    return {time, false, false};
}

struct Real : DoorbellScene {
    Real() : DoorbellScene(system_time) {}
    static inline SystemTime system_time;

    // Changes what a thread waits for, as the call that brought it does.
    void finish(WaitingThread &thread) {
        const Lock lock(mutex);
        thread.done = true;
        CHECK(bell.settle(state, watches));
    }
};

Doorbell *to_stop = nullptr;
std::atomic<bool> kept_errno{false};
void stop_it(int) {
    const int before = errno;
    errno = ENOENT;
    to_stop->stop();
    kept_errno = errno == ENOENT;
    errno = before;
}
void stop_by_signal(Doorbell &doorbell, pthread_t thread) {
    to_stop = &doorbell;
    struct sigaction action {};
    action.sa_handler = stop_it;
    REQUIRE(sigaction(SIGUSR1, &action, nullptr) == 0);
    REQUIRE(pthread_kill(thread, SIGUSR1) == 0);
}

} // namespace

TEST_CASE("the lookout is called for an earlier deadline than it waits for, and for no other") {
    const SeenLookout seen;
    Real scene;
    scene.state = due_at(in_hours(2));
    WaitingThread lookout(scene, in_hours(3));
    REQUIRE(lookout.as() == As::lookout);
    scene.leave(due_at(after(scene.state.wake_at, Duration(1))));
    CHECK_FALSE(seen.is_called());
    scene.leave(idle);
    CHECK_FALSE(seen.is_called());
    CHECK(lookout.times_woken() == 0);
    scene.leave(due_at(in_hours(1)));
    lookout.becomes(As::lookout);
    scene.leave(with_event);
    CHECK(lookout.ends() == End::satisfied);
    CHECK(lookout.times_woken() >= 1);
}

TEST_CASE(
    "the lookout is called for its own limit's sake by nobody: a later deadline than that is none of its business") {
    const SeenLookout seen;
    Real scene;
    WaitingThread lookout(scene, in_hours(1));
    scene.leave(due_at(in_hours(2)));
    CHECK_FALSE(seen.is_called());
    CHECK(lookout.times_woken() == 0);
    scene.leave(over);
    CHECK(lookout.ends() == End::satisfied);
}

TEST_CASE("the lookout is called when what it waits for is there, be it an event, the end, or its own outcome") {
    for (const int what : {0, 1, 2}) {
        CAPTURE(what);
        Real scene;
        WaitingThread lookout(scene, end_of_time, what == 2);
        REQUIRE(lookout.as() == As::lookout);
        what == 0 ? scene.leave(with_event) : what == 1 ? scene.leave(over) : scene.finish(lookout);
        CHECK(lookout.ends() == End::satisfied);
    }
}

TEST_CASE("who waits for its own outcome is not called for an event") {
    const SeenLookout seen;
    Real scene;
    WaitingThread lookout(scene, end_of_time, true);
    scene.leave(with_event);
    CHECK_FALSE(seen.is_called());
    CHECK(lookout.times_woken() == 0);
    scene.finish(lookout);
    CHECK(lookout.ends() == End::satisfied);
}

TEST_CASE("the lookout is called when it does not watch what is to be watched, and not when it watches more") {
    SocketPair first;
    SocketPair second;
    const int a = first.a.get();
    const int b = second.a.get();
    fill_up(a); // so that nothing is ready
    struct Row {
        const char *what;
        Doorbell::Watches before, now;
        bool called;
    };
    const Row rows[] = {
        {"room is wanted", {{{a, true, false}, {}, {}}}, {{{a, true, true}, {}, {}}}, true},
        {"input is wanted again", {{{a, false, false}, {}, {}}}, {{{a, true, false}, {}, {}}}, true},
        {"another socket", {{{a, true, false}, {}, {}}}, {{{b, true, false}, {}, {}}}, true},
        {"a second socket", {{{a, true, false}, {}, {}}}, {{{a, true, false}, {b, true, false}, {}}}, true},
        {"the peer's process", {{{a, true, false}, {}, {}}}, {{{a, true, false}, {}, {b, true, false}}}, true},
        {"the same", {{{a, true, false}, {}, {}}}, {{{a, true, false}, {}, {}}}, false},
        {"less", {{{a, true, false}, {b, true, false}, {}}}, {{{a, true, false}, {b, false, false}, {}}}, false},
        {"nothing", {{{a, true, false}, {}, {}}}, {}, false},
    };
    for (const Row &row : rows) {
        CAPTURE(row.what);
        const SeenLookout seen;
        Real scene;
        scene.leave(row.before);
        WaitingThread lookout(scene, end_of_time);
        scene.leave(row.now);
        if (row.called) {
            while (lookout.times_woken() == 0) {
            }
            lookout.becomes(As::lookout);
        } else {
            CHECK_FALSE(seen.is_called());
            CHECK(lookout.times_woken() == 0);
        }
        scene.leave(with_event);
        CHECK(lookout.ends() == End::satisfied);
    }
}

TEST_CASE("a lookout that was called lowers its bell, so that it is called no second time for the same") {
    const SeenLookout seen;
    Real scene;
    WaitingThread lookout(scene, end_of_time);
    for (int hours = 9; hours > 0; --hours) {
        const int before = lookout.times_woken();
        scene.leave(due_at(in_hours(hours)));
        while (lookout.times_woken() == before) {
        }
        lookout.becomes(As::lookout);
        CHECK_FALSE(seen.is_called());
    }
    CHECK(lookout.times_woken() == 9);
    scene.leave(with_event);
    lookout.ends();
}

TEST_CASE("what comes by a socket wakes the lookout, as does room where it is wanted, and time") {
    Real scene;
    SocketPair pair;
    SocketPair other;
    CHECK(write(pair.b.get(), "x", 1) == 1);
    const auto woken_with = [&](const Doorbell::Watches &watches) {
        scene.leave(watches);
        DoorbellScene::Lock lock(scene.mutex);
        REQUIRE(scene.bell.prepare_to_wait() == Status::ok);
        Instant now{};
        const Instant soon = after(SystemTime().now(), std::chrono::milliseconds(1));
        const Doorbell::Woken woken = scene.bell.look_out(lock, {}, soon, idle, now);
        CHECK((woken == Doorbell::Woken::by_time) == (now >= soon));
        CHECK_FALSE(scene.bell.has_lookout());
        return woken;
    };
    const int ready = pair.a.get();
    const int not_ready = other.a.get();
    CHECK(woken_with({{{}, {ready, true, false}, {}}}) == Doorbell::Woken::by_something);
    CHECK(woken_with({{{}, {}, {ready, true, false}}}) == Doorbell::Woken::by_something);
    CHECK(woken_with({{{not_ready, false, true}, {}, {}}}) == Doorbell::Woken::by_something);
    CHECK(woken_with({{{ready, false, false}, {not_ready, true, false}, {}}}) == Doorbell::Woken::by_time);
}

TEST_CASE("a thread that sleeps beside the lookout is woken for what it waits for, and the others sleep on") {
    Real scene;
    WaitingThread lookout(scene, end_of_time, true);
    WaitingThread first(scene, end_of_time, true);
    WaitingThread second(scene, end_of_time, true);
    REQUIRE(first.as() == As::sleeper);
    REQUIRE(second.as() == As::sleeper);
    scene.leave(due_at(in_hours(1)));
    scene.leave(with_event);
    CHECK(first.times_woken() == 0);
    CHECK(second.times_woken() == 0);
    scene.finish(first);
    CHECK(first.ends() == End::satisfied);
    CHECK(second.times_woken() == 0);
    CHECK(second.as() == As::sleeper);
    scene.finish(second);
    CHECK(second.ends() == End::satisfied);
    scene.finish(lookout);
}

TEST_CASE("a thread that sleeps beside the lookout ends at its own time") {
    Real scene;
    WaitingThread lookout(scene, end_of_time, true);
    WaitingThread sleeper(scene, after(SystemTime().now(), std::chrono::milliseconds(20)), true);
    CHECK(sleeper.ends() == End::by_time);
    scene.finish(lookout);
    CHECK(lookout.ends() == End::satisfied);
}

// Of three threads the first one leaves, for whatever reason, then the next, and there is always one that looks out.
TEST_CASE("when the lookout leaves, because it has what it waited for, one that sleeps is the lookout") {
    Real scene;
    WaitingThread first(scene, end_of_time, true);
    WaitingThread second(scene, end_of_time, true);
    WaitingThread third(scene, end_of_time, true);
    scene.finish(first);
    CHECK(first.ends() == End::satisfied);
    second.becomes(As::lookout); // who has waited longest
    CHECK(third.times_woken() == 0);
    scene.finish(second);
    third.becomes(As::lookout);
    scene.finish(third);
    CHECK(third.ends() == End::satisfied);
}

TEST_CASE("when the lookout leaves at its time, one that sleeps is the lookout") {
    Real scene;
    const Instant soon = after(SystemTime().now(), std::chrono::milliseconds(30));
    WaitingThread first(scene, soon, true);
    WaitingThread second(scene, end_of_time, true);
    WaitingThread third(scene, end_of_time, true);
    CHECK(first.ends() == End::by_time);
    second.becomes(As::lookout);
    CHECK(third.times_woken() == 0);
    scene.finish(second);
    third.becomes(As::lookout);
    scene.finish(third);
}

TEST_CASE("when the lookout and the next one leave at the same time, the third is the lookout") {
    Real scene;
    const Instant soon = after(SystemTime().now(), std::chrono::milliseconds(30));
    WaitingThread first(scene, soon, true);
    WaitingThread second(scene, soon, true);
    WaitingThread third(scene, end_of_time, true);
    CHECK(first.ends() == End::by_time);
    CHECK(second.ends() == End::by_time);
    third.becomes(As::lookout);
    scene.finish(third);
}

TEST_CASE("when a lookout's wait fails, one that sleeps is the lookout") {
    std::atomic<bool> fails{false};
    const Hooked<int(pollfd *, nfds_t, const timespec *, const sigset_t *)> failing(
        calls::ppoll(), [&](pollfd *targets, nfds_t count, const timespec *timeout, const sigset_t *mask) {
            const int n = calls::ppoll().real(targets, count, timeout, mask);
            return fails.exchange(false) ? fails_with(ENOMEM) : n;
        });
    Real scene;
    WaitingThread first(scene, end_of_time, true);
    WaitingThread second(scene, end_of_time, true);
    fails = true;
    scene.leave(due_at(in_hours(1)));
    CHECK(first.ends() == End::failed);
    second.becomes(As::lookout);
    scene.finish(second);
}

TEST_CASE("at the end of the session everybody is woken who waits for an event") {
    Real scene;
    WaitingThread first(scene, end_of_time);
    WaitingThread second(scene, end_of_time);
    WaitingThread third(scene, end_of_time, true);
    scene.leave(over);
    CHECK(first.ends() == End::satisfied);
    CHECK(second.ends() == End::satisfied);
    third.becomes(As::lookout);
    scene.finish(third);
    CHECK(third.ends() == End::satisfied);
    CHECK_FALSE(scene.bell.is_in_use());
}

TEST_CASE("a stop ends every wait, also that of who sleeps beside the lookout, and every wait that comes later") {
    Real scene;
    WaitingThread first(scene, end_of_time);
    WaitingThread second(scene, end_of_time, true);
    WaitingThread third(scene, end_of_time);
    scene.bell.stop();
    CHECK(first.ends() == End::stopped);
    CHECK(second.ends() == End::stopped);
    CHECK(third.ends() == End::stopped);
    WaitingThread later(scene, end_of_time);
    CHECK(later.ends() == End::stopped);
}

TEST_CASE("a stop in a signal handler ends the wait of the thread that it interrupts, and keeps errno") {
    Real scene;
    WaitingThread lookout(scene, end_of_time);
    stop_by_signal(scene.bell, lookout.handle());
    CHECK(lookout.ends() == End::stopped);
    CHECK(kept_errno);
}

// The first wait makes what a stop is told by: one that comes while it does must not be lost.
TEST_CASE("a stop that comes while a thread prepares its first wait ends that wait") {
    Real scene;
    const Hooked<int(unsigned, int)> stopping(calls::eventfd(), [&](unsigned count, int flags) {
        scene.bell.stop();
        return calls::eventfd().real(count, flags);
    });
    WaitingThread waiting(scene, after(SystemTime().now(), std::chrono::seconds(20)));
    CHECK(waiting.ends() == End::stopped);
}

TEST_CASE("a stop before a read keeps it from beginning, and one during the read ends it") {
    const auto patience_of = [](int fd) {
        timeval tv{};
        socklen_t length = sizeof tv;
        REQUIRE(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, &length) == 0);
        return tv.tv_sec * 1'000'000 + tv.tv_usec;
    };
    SocketPair pair;
    const timeval a_minute{60, 0};
    REQUIRE(setsockopt(pair.a.get(), SOL_SOCKET, SO_RCVTIMEO, &a_minute, sizeof a_minute) == 0);
    {
        Real before;
        before.bell.stop();
        CHECK_FALSE(before.bell.begin_read(pair.a.get()));
        before.bell.end_read();
    }
    {
        Real after_it;
        CHECK(after_it.bell.begin_read(pair.a.get()));
        CHECK(after_it.bell.is_reading());
        after_it.bell.end_read();
        CHECK_FALSE(after_it.bell.is_reading());
        after_it.bell.stop();
        CHECK(patience_of(pair.a.get()) == 60'000'000); // what is no wait any more is left alone
    }
    Real during;
    std::atomic<bool> reads{false};
    std::thread reader([&] {
        char byte = 0;
        CHECK(during.bell.begin_read(pair.a.get()));
        reads = true;
        CHECK(recv(pair.a.get(), &byte, 1, 0) == -1);
        during.bell.end_read();
    });
    while (!reads) {
        std::this_thread::yield();
    }
    stop_by_signal(during.bell, reader.native_handle());
    reader.join();
}
