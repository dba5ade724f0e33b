// What makes a session of a side: the lock, the doorbell, and the threads that wait.
//
// Side is BrokerSide or BackendSide: single-threaded, never waiting. Each public call is one turn: it locks, lets the side do
// what there is to do, tells the doorbell the state that it leaves, unlocks, and closes what the side is done with, for close(2)
// may wait for what a peer says. Callbacks of the caller's (clock, wait) run unlocked.
//
// A lone thread that waits does so in recvmsg(2) first, since poll(2) before each read costs half a wake-up; an answer comes
// within microseconds as a rule. If none has come after some milliseconds it goes on in poll(2), where it sees the peer's
// end too. Where there are other threads, only poll(2) will do: they may need the one that waits.
#pragma once

#include <mutex>
#include <optional>

#include "base/single_threaded.hpp"
#include "os/fork_mark.hpp"
#include "session/discards.hpp"
#include "session/doorbell.hpp"
#include "session/types.hpp"

namespace rp::handoff::session {

template <class Side>
class Driver {
  public:
    Driver(const Driver &) = delete;
    Driver &operator=(const Driver &) = delete;

    Result<int> fd() noexcept {
        const Turn turn(*this);
        return doorbell_.descriptor(side_.watches());
    }
    // A past instant: now.
    Instant next_deadline() noexcept {
        const Turn turn(*this);
        return doorbell_.tell(side_.state());
    }
    Instant now() noexcept { return time_.now(); }

    void process() {
        const Instant now = time_.now();
        const Turn turn(*this);
        doorbell_.loop_is_here();
        side_.begins_turn();
        if (!doorbell_.is_reading()) {
            side_.read(now);
        }
        side_.advance(now);
    }

    // Whether there is an event. False: the time has passed, or the session is over. closed: stopped. busy, system.
    Result<bool> wait(std::optional<Duration> timeout) {
        const Instant now = time_.now();
        const Instant until = timeout ? after(now, *timeout) : end_of_time;
        Turn turn(*this);
        side_.begins_turn();
        return wait_for(turn, {}, now, until);
    }

    // Also sends the answers that accumulated, when there is none left.
    bool next_event(Event &event) {
        {
            const Turn turn(*this);
            if (side_.take_event(event)) {
                return true;
            }
        }
        flush();
        return false;
    }

    void flush() {
        const Instant now = time_.now();
        const Turn turn(*this);
        side_.begins_turn();
        side_.advance(now);
    }

    void close() {
        const Instant now = time_.now();
        const Turn turn(*this);
        side_.close(now);
    }

    // Every wait ends. Async-signal-safe.
    void stop() noexcept { doorbell_.stop(); }

    // Null before it is open; stays as it is from then on.
    const Peer *peer() noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        return side_.channel().has_been_open() ? &side_.channel().peer() : nullptr;
    }
    Statistics statistics() noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        return side_.statistics();
    }
    const Config &config() noexcept { return side_.channel().config(); }

    // In a forked child: false if a thread of the parent was at work, or waited, at the fork.
    bool can_be_freed() noexcept {
        const Lock lock(mutex_, std::try_to_lock);
        return lock.owns_lock() && !doorbell_.is_in_use();
    }

  protected:
    using Lock = Doorbell::Lock;

    template <class... Arguments>
    explicit Driver(TimeSource &time, Arguments &&...arguments)
        : time_(time), doorbell_(time), side_(std::forward<Arguments>(arguments)...) {}
    ~Driver() = default;

    bool in_forked_child() const noexcept { return owner_ != os::fork_mark(); }

    // The lock, and what has to be done before it is given up.
    class Turn {
      public:
        explicit Turn(Driver &driver) noexcept : Turn(driver, Lock(driver.mutex_)) {}
        Turn(Driver &driver, Lock lock) noexcept : driver_(driver), lock_(std::move(lock)) {}
        Turn(const Turn &) = delete;
        Turn &operator=(const Turn &) = delete;
        ~Turn() { driver_.leave(lock_); }

        Lock &lock() noexcept { return lock_; }

      private:
        Driver &driver_;
        Lock lock_;
    };

    Result<bool> wait_for(Turn &turn, const Doorbell::Waiter &waiter, Instant now, Instant until) {
        Lock &lock = turn.lock();
        bool looked = false;
        bool patient = true; // recvmsg(2) has not been in vain
        for (;;) {
            if (!looked && is_due(until, now) && !doorbell_.is_reading()) {
                side_.read(now);
            }
            side_.advance(now);
            const Doorbell::State state = side_.state();
            if (waiter.satisfied(state)) {
                return waiter.done != nullptr || state.event;
            }
            if (doorbell_.is_stopped()) {
                return Failure(Status::closed);
            }
            if (is_due(until, now)) {
                return false;
            }
            looked = true;
            if (may_read_directly(now, std::min(until, state.wake_at)) && patient) {
                patient = read_directly(lock, now);
                continue;
            }
            if (const Status status = doorbell_.prepare_to_wait(); status != Status::ok) {
                return Failure(status);
            }
            if (doorbell_.has_lookout()) {
                doorbell_.sleep(lock, waiter, until);
                now = time_.now(); // the system's: with another one there is only one who waits
                continue;
            }
            if (!doorbell_.watch(side_.watches())) {
                return Failure(Status::system);
            }
            const Doorbell::Woken woken = doorbell_.look_out(lock, waiter, std::min(until, state.wake_at), state, now);
            if (woken == Doorbell::Woken::not_at_all) {
                return Failure(Status::system);
            }
            if (woken == Doorbell::Woken::by_something) {
                side_.read(now);
            }
        }
    }

    TimeSource &time_;
    std::mutex mutex_;
    Doorbell doorbell_;
    Side side_;

  private:
    static constexpr Duration patience = std::chrono::milliseconds(16);
    static constexpr Duration overshoot = std::chrono::milliseconds(20); // of SO_RCVTIMEO, which counts in jiffies

    bool may_read_directly(Instant now, Instant until) const noexcept {
        return time_.is_real() && is_single_threaded() && side_.may_block_in_read() && !doorbell_.is_in_use() &&
               !doorbell_.is_stopped() && elapsed(now, until) > patience + overshoot;
    }

    // Whether something came.
    bool read_directly(Lock &lock, Instant &now) {
        Link &link = side_.channel().incoming();
        if (std::exchange(patient_link_, &link) != &link) {
            link.set_patience(patience);
        }
        Link::Read read{Link::Got::nothing, Status::ok, 0};
        const bool begun = doorbell_.begin_read(link.socket());
        lock.unlock();
        if (begun) {
            read = link.read(true);
        }
        now = time_.now();
        lock.lock();
        doorbell_.end_read();
        side_.take(read, now);
        return read.got != Link::Got::nothing;
    }

    void leave(Lock &lock) noexcept {
        settle();
        while (!side_.discards().empty()) {
            Discards::Batch batch = side_.discards().take();
            lock.unlock();
            batch.close();
            lock.lock();
            side_.discarded(batch);
            settle();
        }
    }

    void settle() noexcept {
        if (doorbell_.has_nobody()) {
            return;
        }
        if (!doorbell_.settle(side_.state(), side_.watches())) {
            side_.channel().end(Status::system, "the session's sockets could not be watched", errno);
            side_.advance(Instant());
            doorbell_.settle(side_.state(), side_.watches());
        }
    }

    const std::uint64_t owner_ = os::fork_mark();
    Link *patient_link_ = nullptr; // whose patience was set last
};

} // namespace rp::handoff::session
