// How whoever sleeps outside a session learns that there is something to do: the session's one descriptor, the deadline that
// was told, and the threads that wait.
//
// Contract: the descriptor is readable, or the timeout is 0, whenever process would do something or next_event would give
// something; otherwise nothing wakes anybody. However many threads process, wait, submit, take one event a turn or all. It
// rests on two duties. Whoever uses the session calls settle() with the state that he leaves, before he unlocks. And who was
// told a deadline last is the loop: he comes back by then, or when the descriptor is ready.
//
//   loop       An epoll set that is the descriptor: the sockets, and an eventfd (the bell) that is raised as long as what the
//              loop was told does not hold any more, and it has not come back.
//   lookout    The one waiting thread that watches the sockets for all, in poll(2) beside an eventfd of its own, or in
//              recvmsg(2) where no other thread can be there to need it. It sleeps until the nearest deadline of all.
//   sleepers   Further waiting threads, each on a condition variable of its own. Each wakes for what it waits for, for the
//              end of its own time, or because the lookout left and it is the next one.
// The bell and the lookout's eventfd are two, since a bell that waits for a slow loop must not wake the lookout again and
// again.
//
// All but stop() is called with the session's lock held, unless said otherwise.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <pthread.h>

#include "base/clock.hpp"
#include "base/status.hpp"
#include "os/poller.hpp"

namespace rp::handoff::session {

class Doorbell {
  public:
    using Lock = std::unique_lock<std::mutex>;

    // What is to be known of one of the session's descriptors.
    struct Watch {
        int fd = -1;
        bool input = false;
        bool output = false;
        bool operator==(const Watch &other) const noexcept {
            return fd == other.fd && input == other.input && output == other.output;
        }
    };
    static constexpr std::size_t watched = 3; // two sockets and the peer's pidfd
    using Watches = std::array<Watch, watched>;

    // The state in which a call leaves the session.
    struct State {
        Instant wake_at; // when process would do something; a past instant: now
        bool event;      // next_event would give something
        bool over;       // no event will come any more
    };

    explicit Doorbell(TimeSource &time) noexcept : time_(time) {}
    Doorbell(const Doorbell &) = delete;
    Doorbell &operator=(const Doorbell &) = delete;

    // ---- loops

    Result<int> descriptor(const Watches &watches) noexcept; // made at the first call. system
    bool has_loop() const noexcept { return loop_.has_value(); }
    Instant tell(const State &state) noexcept; // what the caller is told; it is the loop from now on
    void loop_is_here() noexcept;              // at the beginning of process

    // ---- threads that wait

    // What a thread waits for: any event, or that *done.
    struct Waiter {
        const bool *done = nullptr;
        bool satisfied(const State &state) const noexcept {
            return done != nullptr ? *done : state.event || state.over;
        }
    };
    enum class Woken { by_something, by_time, not_at_all };

    // Before each wait: makes what it takes. busy, where only one thread can wait and one does; closed: stopped; system.
    Status prepare_to_wait() noexcept;
    bool has_lookout() const noexcept { return lookout_ != nullptr; }
    // As the lookout: unlocks and sleeps until something comes, or `until`. by_something: look what it is.
    // `now` is read afterwards, unlocked.
    Woken look_out(Lock &lock, const Waiter &waiter, Instant until, const State &state, Instant &now) noexcept;
    // Around a lookout's recvmsg(2), unlocked, on a socket with SO_RCVTIMEO: stop() cuts it short. begin answers false if it
    // must not begin.
    bool begin_read(int socket) noexcept;
    bool is_reading() const noexcept { return reading_fd_ >= 0; }
    void end_read() noexcept;
    // While another thread is the lookout: until the waiter is satisfied, called to be the lookout, or `until`.
    void sleep(Lock &lock, const Waiter &waiter, Instant until) noexcept;

    // Nobody can be waiting for anything: settle has nothing to do.
    bool has_nobody() const noexcept { return !loop_ && !set_ && lookout_ == nullptr && sleepers_ == nullptr; }
    // ---- everybody, before unlocking. False: the set could not be brought in line (errno tells).
    bool settle(const State &state, const Watches &watches) noexcept;
    // In a call that goes on to wait: sockets only.
    bool watch(const Watches &watches) noexcept;

    bool is_in_use() const noexcept { return lookout_ != nullptr || sleepers_ != nullptr; }

    // Every wait, under way or to come, ends. Async-signal-safe; needs no lock.
    void stop() noexcept;
    bool is_stopped() const noexcept { return stopped_; }

  private:
    // A set that is one descriptor.
    struct Set {
        explicit Set(os::Poller p) noexcept : poller(std::move(p)) {}
        os::Poller poller;
        Watches registered;
        bool update(const Watches &watches) noexcept;
    };
    struct Sleeper {
        const Waiter *waiter;
        std::condition_variable called;
        bool is_called = false;
        Sleeper *before = nullptr;
        Sleeper *after = nullptr;
    };

    void settle_bell(const State &state) noexcept;
    void set_bell(bool raised) noexcept;
    void call_sleepers(const State &state) noexcept;
    void call(Sleeper &sleeper) noexcept;
    Woken poll_sockets(const Watches &watches, Instant until) noexcept;
    Woken wait_on_set(Instant until) noexcept;

    TimeSource &time_;
    std::atomic<bool> stopped_{false};

    std::optional<Set> loop_;
    bool bell_ = false;           // is raised
    std::optional<Instant> told_; // to the loop; for ever where it has not asked
    pthread_t told_to_{};
    bool awake_ = false; // the loop came back and has not asked again: its own thread need not be told

    UniqueFd call_;                   // the lookout's eventfd
    std::atomic<int> call_fd_{-1};    // for stop()
    std::atomic<int> reading_fd_{-1}; // the lookout is in recvmsg(2) there
    std::optional<Set> set_;          // with a `wait` of the caller's, which takes one descriptor
    Watches watches_;                 // as the last call left them
    const Waiter *lookout_ = nullptr;
    Instant lookout_until_{};
    bool lookout_called_ = false;
    Sleeper *sleepers_ = nullptr; // newest first
};

} // namespace rp::handoff::session
