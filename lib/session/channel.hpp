// The way from one side of a session to the other: its sockets, from dialling to the end. Knows nothing of handoffs.
//
//   dialling   the backlog is full; connect(2) is tried again       -> greeting
//   greeting   hellos, ledger                                       -> open
//   open       offers and answers, which are the side's business    -> ended
//   ended      what is left are events
//
// From the ledger on there are two sockets, and the backend speaks on the one or the other, as the last offer asked. A thread
// that is blocked in a read is woken also when the other end reads what was sent from there (unix_write_space,
// net/unix/af_unix.c), for nothing, which costs a seventh of a handoff; so the broker hears on the answer socket, on which it
// says nothing. But if the backend runs on another core, that wakes the broker's core while the answer is being made, which
// wins a third of a handoff; so a broker that is going to wait in a read for such a backend asks for the answer on the
// first socket. It changes its mind only when it has all answers and with an offer that leaves, so that it hears on one
// socket at a time.
//
// Not locked, and nothing waits in it. Whoever calls it looks afterwards whether it has ended.
#pragma once

#include <optional>

#include "base/explanation.hpp"
#include "session/doorbell.hpp"
#include "session/farewell.hpp"
#include "session/handshake.hpp"
#include "session/link.hpp"
#include "session/types.hpp"

namespace rp::handoff::session {

class Channel {
  public:
    enum class State { dialling, greeting, open, ended };
    enum class Role { broker, backend };

    Channel(Config config, Role role, Discards &discards);
    Channel(const Channel &) = delete;
    Channel &operator=(const Channel &) = delete;

    // Dials, or takes config.connection_fd, which stays the caller's if this fails.
    Status begin(Instant now, Explanation &why);

    State state() const noexcept { return state_; }
    bool is_open() const noexcept { return state_ == State::open; }
    bool is_over() const noexcept { return state_ == State::ended; }
    bool has_been_open() const noexcept { return peer_.max_in_flight > 0; }
    const Config &config() const noexcept { return config_; }
    const End &end_reason() const noexcept { return end_; }
    const Peer &peer() const noexcept { return peer_; }
    Ledger *ledger() noexcept { return ledger_ ? &*ledger_ : nullptr; }
    Farewell &farewell() noexcept { return farewell_; }
    const Farewell &farewell() const noexcept { return farewell_; }

    Link &link() noexcept { return link_; }
    Link &answer_link() noexcept { return answer_link_; }
    Link &incoming() noexcept { return *incoming_; } // where the peer speaks
    Link &outgoing() noexcept { return *outgoing_; } // where this side does
    void hear_on(Link &link) noexcept { incoming_ = &link; }
    void speak_on(Link &link) noexcept;

    // ---- receiving
    bool read(Instant now) noexcept;                         // once, from where the peer speaks; whether something came
    bool take(const Link::Read &read, Instant now) noexcept; // what a read of that link brought
    // The next frame for the side, if one is there; hellos and goodbyes are dealt with here.
    std::optional<Link::Frame> next_frame(Instant now);
    void drop_frame() noexcept { incoming_->drop_frame(); }
    // A frame has to wait: nothing more is read until it was dropped.
    void stall(bool stalled) noexcept { stalled_ = stalled; }
    bool is_stalled() const noexcept { return stalled_; }

    // ---- sending
    // What could not be sent before. False: what this side sends reaches nobody.
    bool flush(Instant now) noexcept;
    // A send that moved nothing: EAGAIN is waited for with the socket, ENOBUFS for a while. False: another errno.
    bool has_to_wait(int os_error, Instant now) noexcept;
    void begins_sending() noexcept { blocked_ = false; } // whether that still holds, shows now
    bool is_blocked() const noexcept { return blocked_; }
    bool wants_room() const noexcept { return blocked_ || link_.has_unsent() || answer_link_.has_unsent(); }

    // ---- time, and the end
    // Before the side's own work: dials again, ends what is late.
    void begin_turn(Instant now);
    // After it: says goodbye. done: the side has nothing left to do.
    void end_turn(bool done, Instant now);
    Instant wake_at() const noexcept;
    void end(Status status, std::string_view text, int os_error = 0) noexcept; // once
    void end(const Explanation &why) noexcept;
    void end_without_peer(int os_error = 0) noexcept; // it closed the connection, perhaps with a reason
    // For the poller. waiting: some loop or thread may sleep on it.
    Doorbell::Watches watches() const noexcept;

    // ---- events of its own
    bool has_event() const noexcept { return opened_ || closing_ || closed_; }
    bool take_opened(Event &event) noexcept;
    bool take_end(Event &event) noexcept; // closing, and then closed
    std::uint64_t messages_sent() const noexcept { return link_.messages_sent() + answer_link_.messages_sent(); }
    std::uint64_t messages_received() const noexcept { return messages_received_; }

  private:
    bool is_opening() const noexcept { return state_ == State::dialling || state_ == State::greeting; }
    bool has_outlet() const noexcept { return state_ == State::greeting || state_ == State::open; }
    Status take_connection(Explanation &why) noexcept;
    Status dial(Instant now, Explanation &why);
    void dial_again(Instant now);
    Status connected(Explanation &why) noexcept;
    bool greet(const Link::Frame &frame) noexcept;
    void opened() noexcept;
    void hear_goodbye() noexcept;
    void end_by_peer() noexcept;
    void end_by_noise() noexcept;
    void look_at_peer() noexcept;

    const Config config_;
    const Role role_;
    State state_ = State::dialling;
    Link link_;
    Link answer_link_;
    Link *incoming_ = &link_;
    Link *outgoing_ = &link_;
    Handshake handshake_;
    Farewell farewell_;
    Peer peer_;
    std::optional<Ledger> ledger_;
    End end_;
    bool stalled_ = false;
    bool blocked_ = false;           // the socket took nothing
    Instant retry_at_ = end_of_time; // and it is not the socket that tells when it does
    Duration retry_pause_{};
    bool opened_ = false;
    bool closing_ = false;
    bool closed_ = false;
    std::uint64_t messages_received_ = 0;
    Instant open_until_{};
    Instant dial_again_at_{};
    Duration dial_pause_ = std::chrono::milliseconds(1);
};

} // namespace rp::handoff::session
