// A doorbell with the state of a session that does not exist, and threads that wait there as those of a session do.
//
// Nothing here waits by time. A thread says under the lock that it is going to block, and whoever then gets the lock knows that
// it does; and before somebody is said not to have been called, every thread that is not blocked has come to rest.
#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#include "session/doorbell.hpp"
#include "support/interpose.hpp"
#include "support/socket_pair.hpp"

namespace rp::test {

class DoorbellScene {
  public:
    using Doorbell = handoff::session::Doorbell;
    using Instant = handoff::Instant;
    using Lock = Doorbell::Lock;

    explicit DoorbellScene(handoff::TimeSource &time) : bell(time), time_(time) {}

    // Leaves the session in a state, as a call of this thread's does.
    void leave(const Doorbell::State &new_state) {
        const Lock lock(mutex);
        state = new_state;
        CHECK(bell.settle(state, watches));
    }
    void leave(const Doorbell::Watches &new_watches) {
        const Lock lock(mutex);
        watches = new_watches;
        CHECK(bell.settle(state, watches));
    }
    // What a call of this thread's does that changes nothing.
    void leave() { leave(Doorbell::State(state)); }
    Instant tell() {
        const Lock lock(mutex);
        const Instant told = bell.tell(state);
        CHECK(bell.settle(state, watches));
        return told;
    }
    void loop_is_here() {
        const Lock lock(mutex);
        bell.loop_is_here();
        CHECK(bell.settle(state, watches));
    }
    int descriptor() {
        const Lock lock(mutex);
        const handoff::Result<int> fd = bell.descriptor(watches);
        REQUIRE(fd);
        CHECK(bell.settle(state, watches));
        return *fd;
    }

    static constexpr Doorbell::State idle{handoff::end_of_time, false, false};

    std::mutex mutex;
    Doorbell bell;
    Doorbell::State state = idle;
    Doorbell::Watches watches;

    handoff::TimeSource &time() const { return time_; }

  private:
    handoff::TimeSource &time_;
};

// While it lives, the descriptor by which the lookout is called can be seen. Made before other threads.
class SeenLookout {
  public:
    SeenLookout()
        : hook_(calls::ppoll(), [this](pollfd *targets, nfds_t count, const timespec *timeout, const sigset_t *mask) {
              if (count > 1) {
                  call_ = targets[0].fd;
              }
              return calls::ppoll().real(targets, count, timeout, mask);
          }) {}
    // Of a lookout that is known to block: whether it is being called.
    bool is_called() const {
        while (call_ < 0) { // it is on its way into poll(2)
            std::this_thread::yield();
        }
        return is_readable(call_);
    }
    int call_fd() const { return call_; }

  private:
    std::atomic<int> call_{-1};
    Hooked<int(pollfd *, nfds_t, const timespec *, const sigset_t *)> hook_;
};

// A thread that waits for an event or for `done`, as those of a session do: looks, and sleeps as the lookout or beside one.
class WaitingThread {
  public:
    using Doorbell = DoorbellScene::Doorbell;
    enum class As { nothing, lookout, sleeper };
    enum class End { none, satisfied, by_time, stopped, failed };

    // Returns once it blocks, in whatever way, or has ended.
    WaitingThread(DoorbellScene &scene, handoff::Instant until, bool waits_for_done = false)
        : scene_(scene), until_(until), waiter_{waits_for_done ? &done : nullptr}, thread_([this] { run(); }) {
        DoorbellScene::Lock lock(scene_.mutex);
        changed_.wait(lock, [this] { return as_ != As::nothing || end_ != End::none; });
    }
    WaitingThread(const WaitingThread &) = delete;
    WaitingThread &operator=(const WaitingThread &) = delete;
    ~WaitingThread() { thread_.join(); }

    bool done = false; // under the lock

    // Waits until it is.
    void becomes(As as) {
        DoorbellScene::Lock lock(scene_.mutex);
        changed_.wait(lock, [&] { return as_ == as; });
    }
    End ends() {
        DoorbellScene::Lock lock(scene_.mutex);
        changed_.wait(lock, [&] { return end_ != End::none; });
        return end_;
    }
    // How often it was woken, once it has come to rest.
    int times_woken() {
        while (!is_asleep()) {
            std::this_thread::yield();
        }
        const DoorbellScene::Lock lock(scene_.mutex);
        return woken_;
    }
    As as() {
        const DoorbellScene::Lock lock(scene_.mutex);
        return as_;
    }
    pthread_t handle() { return thread_.native_handle(); }

  private:
    bool is_asleep() const {
        std::ifstream stat("/proc/self/task/" + std::to_string(id_) + "/stat");
        std::string line;
        std::getline(stat, line);
        const std::size_t name_ends = line.rfind(')');
        return name_ends == std::string::npos || line.at(name_ends + 2) == 'S'; // or it has ended
    }

    void blocks(As as) {
        as_ = as;
        changed_.notify_all();
    }
    void run() {
        id_ = static_cast<pid_t>(syscall(SYS_gettid));
        DoorbellScene::Lock lock(scene_.mutex);
        handoff::Instant now = scene_.time().now();
        while (!has_ended(now)) {
            if (scene_.bell.prepare_to_wait() != handoff::Status::ok) {
                end_ = End::failed;
                break;
            }
            if (scene_.bell.has_lookout()) {
                blocks(As::sleeper);
                scene_.bell.sleep(lock, waiter_, until_);
                now = scene_.time().now();
            } else {
                blocks(As::lookout);
                const handoff::Instant until = std::min(until_, scene_.state.wake_at);
                if (scene_.bell.look_out(lock, waiter_, until, scene_.state, now) == Doorbell::Woken::not_at_all) {
                    end_ = End::failed;
                }
            }
            as_ = As::nothing;
            ++woken_;
        }
        CHECK(scene_.bell.settle(scene_.state, scene_.watches));
        changed_.notify_all();
    }
    bool has_ended(handoff::Instant now) {
        if (end_ != End::none) {
            return true;
        }
        end_ = waiter_.satisfied(scene_.state) ? End::satisfied
               : scene_.bell.is_stopped()      ? End::stopped
               : handoff::is_due(until_, now)  ? End::by_time
                                               : End::none;
        return end_ != End::none;
    }

    DoorbellScene &scene_;
    const handoff::Instant until_;
    const Doorbell::Waiter waiter_;
    std::condition_variable changed_;
    As as_ = As::nothing;
    End end_ = End::none;
    int woken_ = 0;
    std::atomic<pid_t> id_{0};
    std::thread thread_;
};

} // namespace rp::test
