// A broker's way to one backend: the session if there is one, and what is on its way over it.
#pragma once

#include <rp_handoff.h>
#include <string>

#include "loop.hpp"
#include "process.hpp"
#include "stream.hpp"

namespace rp::chaos {

// A connection that the broker has accepted and nobody owns yet.
struct Arrival {
    int fd = -1; // the library's while it is in flight, unless it works on a duplicate
    std::uint32_t attempt = 0;
    bool wants_prologue = false;
    bool is_duplicated = false;
    int link = -1;            // where it is in flight
    std::uint32_t offers = 0; // that were made of it
    std::uint64_t id = 0;     // in that session
    Bytes early;              // read by the broker; empty if it only looked
    Bytes metadata;
    Bytes prologue;
};

class Link {
  public:
    Link(const Self &self, std::uint32_t index) : self_(&self), index_(index) {}

    // Dials if there is no session and it is time. With small buffers now and then.
    void open(rp_handoff_broker *broker, Random &random, Loop &loop);
    void process();
    // Gives the next event, as rp_handoff_session_next_event does.
    bool next_event(rp_handoff_event &event, rp_handoff_outcome &outcome);
    void begin_close() { rp_handoff_session_close(session_); }
    // The counters agree with what came back; then there is no session any more.
    void end(Loop &loop, bool at_once);

    rp_handoff_session *session() const noexcept { return session_; }
    std::uint32_t index() const noexcept { return index_; }
    std::uint32_t peer() const noexcept { return peer_; } // its life; 0 until the session is open
    bool takes_submits() const noexcept { return session_ != nullptr && !is_closing_; }
    bool is_open() const noexcept { return peer_ != 0 && !is_closing_; }
    std::uint64_t due_ns() const;
    void count_submitted(std::uint32_t count) { submitted_ += count; }
    bool is_at_rest() const; // open, and everything that was offered is answered, what was revoked too

  private:
    void on_opened();
    void check_counters() const;
    int dial_with_small_buffers() const;

    const Self *self_;
    std::uint32_t index_;
    rp_handoff_session *session_ = nullptr;
    std::uint32_t peer_ = 0;
    bool is_closing_ = false;
    std::uint64_t next_dial_ns_ = 0;
    std::uint64_t submitted_ = 0;
    std::uint64_t events_ = 0;
    std::uint64_t to_backend_ = 0;
};

} // namespace rp::chaos
