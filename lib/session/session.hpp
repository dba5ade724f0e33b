// What both sides of a session have in common: opening, waiting, closing, and the order in which events come out.
//
// One engine that never waits inside, under one lock. Whoever waits does so unlocked, one thread at a time (the reader):
// in recvmsg(2) itself where that is all there is to wait for, since poll(2) before each read costs half a wake-up, or
// else on the poller's one descriptor, which other threads can nudge. Further threads that wait sleep on a condition
// variable; the reader wakes them when it has read, and one of them is the reader next.
//
//   dialling   the backlog is full; connect(2) is tried again       -> greeting
//   greeting   hellos, ledger, by the rules of the side             -> open
//   open       offers and answers                                   -> ended
//   ended      no more comes but the events that are left
// From the ledger on there are two sockets, and the backend speaks on the one or the other, as the last offer asked. A
// thread that is blocked in a read is woken also when the other end reads what was sent from there (unix_write_space,
// net/unix/af_unix.c), for nothing, which costs a seventh of a handoff; so the broker hears on a socket aside, on which it
// says nothing. But if the backend runs on another core, that wakes the broker's core while the answer is being made, which
// wins a third of a handoff; so a broker that is going to wait in a read for such a backend asks for the answer on the
// first socket. It changes its mind only when it has all answers and with an offer that leaves, so that it hears on one
// socket at a time. A goodbye that may have been said on the other one is said again.
//
// The hellos: the broker sends its own first, and asked the kernel to identify senders before; so what the backend
// answers is identified. The backend asked for that before it answered, so the broker's next frame, which brings the
// ledger, is identified too. Neither believes who the other is by anything that was sent before.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "handoff/blocking.hpp"
#include "handoff/peer_policy.hpp"
#include "os/fork_mark.hpp"
#include "os/poller.hpp"
#include "session/link.hpp"

namespace rp::handoff::session {

enum class PidfdState : std::int32_t { none = 0, held = 1, unsupported = 2, unavailable = 3, reaped = 4 };

struct Config {
    PeerPolicy peers;
    std::uint32_t peer_pid = 0; // 0: any
    bool require_pidfd = false;
    std::string path; // to dial; empty: connection_fd
    int connection_fd = -1;
    std::uint32_t max_in_flight = 256;
    std::string service;
    Duration open_timeout = std::chrono::seconds(5);
    std::size_t max_queued = std::size_t{1024} * 1024;
};

struct Peer {
    PeerCredentials credentials;
    PidfdState pidfd_state = PidfdState::none;
    UniqueFd pidfd;
    std::uint32_t max_in_flight = 0;
    std::string service;
};

struct Event {
    enum class Kind : std::int32_t { opened = 1, outcome = 2, offer = 3, closing = 4, closed = 5 };
    Kind kind = Kind::closed;
    Status status = Status::ok;    // closed
    std::uint64_t id = 0;          // outcome
    std::uint64_t user_data = 0;   // outcome
    UniqueFd fd;                   // outcome: given back
    HandoffReport report;          // outcome
    std::uint64_t correlation = 0; // outcome
    Duration elapsed{};            // outcome
    std::uint32_t offer = 0;       // offer: its number
};

struct Statistics {
    std::uint32_t in_flight;
    std::uint64_t submitted;
    std::uint64_t completed;
    std::uint64_t fallbacks;
    std::uint64_t offers;
    std::uint64_t accepted;
    std::uint64_t refused;
    std::uint64_t lost;
    std::uint64_t messages_sent;
    std::uint64_t messages_received;
};

class Session {
  public:
    Session(const Session &) = delete;
    Session &operator=(const Session &) = delete;
    virtual ~Session() = default;

    Result<int> fd() noexcept;
    Instant next_deadline() noexcept;
    Instant now() noexcept { return time_.now(); }

    void process();
    bool wait(std::optional<Duration> timeout); // whether there is an event
    bool next_event(Event &event);
    void flush();
    void close();

    const Peer *peer() noexcept; // null before it is open; stays as it is from then on
    Statistics statistics() noexcept;

    // For destroy: at once, and in a forked child, where it only tells whether the copy can be freed: false if a thread of
    // the parent was at work at the fork.
    virtual void shutdown() noexcept = 0;
    bool can_be_freed() noexcept;

  protected:
    using Lock = std::unique_lock<std::mutex>;
    enum class State { dialling, greeting, open, ended };

    Session(Config config, TimeSource &time, os::Poller poller, std::size_t receive_capacity,
            std::size_t send_capacity);

    // Makes a session of what the config says. A descriptor from outside is taken on success only.
    template <class Make>
    static auto start(Make make) -> Result<decltype(make(std::declval<os::Poller>()))> {
        Result<os::Poller> poller = os::Poller::create(false);
        if (!poller) {
            return Failure(poller.error());
        }
        auto session = make(std::move(*poller));
        const Status status = session->begin();
        if (status != Status::ok) {
            return Failure(status);
        }
        return session;
    }
    Status begin();

    // ---- what the sides add, all with the lock held
    virtual Status greet() = 0;                                // connected
    virtual Status on_greeting(const Link::Frame &frame) = 0;  // state greeting
    virtual Status on_frame(const Link::Frame &frame) = 0;     // state open. frame_incomplete: it has to wait
    virtual bool on_goodbye(Instant now) = 0;                  // the peer begins nothing new; whether that is an event
    virtual void on_broken_pipe(Instant now) noexcept = 0;     // what this side sends reaches nobody
    virtual void on_end(Status why, Instant now) noexcept = 0; // state is ended now
    virtual void on_time(Instant now) = 0;                     // something may be due
    virtual void pump(Instant now) = 0;                        // something may be sent
    virtual bool wants_output() const noexcept = 0;            // something could not be sent
    virtual Instant nearest_deadline() const noexcept = 0;
    virtual bool take_event(Event &event) = 0;
    virtual bool has_event() const noexcept = 0;
    virtual bool is_done() const noexcept = 0;         // closing: nothing is left to do for this side
    virtual bool is_first_to_end() const noexcept = 0; // of the two
    virtual bool reads_control() const noexcept = 0;
    virtual bool reads_again() noexcept = 0;             // more is likely to be there at once
    virtual bool may_block_in_read() const noexcept = 0; // nothing but its peer can make it do something
    virtual Statistics count() const noexcept = 0;

    bool in_forked_child() const noexcept { return owner_ != os::fork_mark(); }

    // ---- what the sides use, all with the lock held
    Status authenticate();                      // by what came beside the present frame. ok, peer_rejected, protocol
    Status opened() noexcept;                   // ok, system
    void end(Status why, Instant now) noexcept; // once
    void announce() noexcept;                   // there is an event
    void wake_reader() noexcept;                // there may be something for a thread that waits
    void speak_on(Link &link) noexcept;
    // One round of waiting, unlocked; reads what comes. Answers the time. direct: in recvmsg(2).
    // inside: the caller looks for events by itself.
    Instant pause(Lock &lock, Instant until, bool direct, bool inside);
    void advance(Instant now);
    Instant wake_at() const noexcept;
    bool is_watched() const noexcept { return fd_given_; } // by a loop of the caller's

    void resume(); // without the lock: a frame that had to wait may go on

    const Config config_;
    TimeSource &time_;
    std::mutex mutex_;
    State state_ = State::dialling;
    os::Poller poller_;
    Link link_;
    Link aside_;
    Link *incoming_ = &link_; // the one of them where the peer speaks
    Link *outgoing_ = &link_; // the one where this side does
    Peer peer_;
    bool closing_ = false; // by our close
    bool peer_closing_ = false;
    bool stalled_ = false;  // a frame has to wait: nothing is read
    bool draining_ = false; // events are being taken: who takes them goes on until there is none, and then sends
    Instant now_{};         // when the engine was entered

  private:
    struct Watch { // of a socket, in the poller's set
        bool input = false;
        bool output = false;
        bool operator==(const Watch &other) const noexcept { return input == other.input && output == other.output; }
    };

    bool event_ready() const noexcept;
    bool take_next(Event &event);
    void handle(Link &link, const Link::Read &read, Instant now);
    Status dial(Instant now);
    Status take_connection() noexcept;
    void dial_again(Instant now);
    Status connected();
    void close_if_done(Instant now);
    void parse(Link &link, Instant now);
    void stall(bool stalled) noexcept;
    bool needs_room(const Link &link) const noexcept;
    void watch_or_end() noexcept;
    bool watch() noexcept;
    bool watch(const Link &link, os::Poller::Id id, Watch &watched) noexcept;
    void send_goodbye() noexcept;
    void read_now(Instant now);
    Instant await_reader(Lock &lock, Instant until);
    void nudge() noexcept;
    void wake_sleepers() noexcept;
    bool has_outlet() const noexcept { return state_ == State::greeting || state_ == State::open; }

    const std::uint64_t owner_ = os::fork_mark();
    std::condition_variable readable_;
    bool reading_ = false;
    bool polling_ = false; // that reader waits on the poller
    std::size_t waiters_ = 0;
    Instant waiters_until_{}; // no waiter sleeps for longer by itself
    bool inside_ = false;     // in process or wait, whose caller looks for events by itself
    bool nudged_ = false;
    Instant told_until_{};   // what next_deadline said, until the next process
    Instant reader_until_{}; // when the reader wakes by itself, if the poller can wake it before
    bool asked_ = false;     // somebody watches the poller
    bool fd_given_ = false;  // to the caller, for good
    Watch link_watch_;       // what is in its set
    Watch aside_watch_;
    bool opened_event_ = false;
    bool closing_event_ = false;
    bool closed_event_ = false;
    bool goodbye_due_ = false; // it could not be sent yet
    bool goodbye_sent_ = false;
    bool half_closed_ = false;
    std::uint64_t messages_received_ = 0;
    Status why_ = Status::ok;
    Instant open_until_{};
    Instant close_until_ = end_of_time;
    Instant dial_again_at_{};
    Duration dial_pause_ = std::chrono::milliseconds(1);
};

} // namespace rp::handoff::session
