// A backend: adopts what brokers offer and serves it, or misbehaves in the ways that its character has.
#pragma once

#include <rp_handoff.h>
#include <unordered_map>
#include <vector>

#include "server.hpp"

namespace rp::chaos {

// Chances of what can happen to an offer: one in so many, 0 for never.
struct Character {
    std::uint32_t refuses = 0;
    std::uint32_t is_late = 0;      // answers up to 300 ms later
    std::uint32_t withholds = 0;    // adopts, and sends no answer for up to 200 ms
    std::uint32_t dies_before = 0;  // holding the offer
    std::uint32_t dies_within = 0;  // between adopting and writing the prologue
    std::uint32_t dies_after = 0;   // adopted, no answer sent
    std::uint32_t stops_before = 0; // holding the offer
    std::uint32_t stops_after = 0;  // adopted, no answer sent
    std::uint32_t drops = 0;        // destroys the session, no answer sent
    std::uint32_t closes = 0;       // closes the session orderly
    bool is_short = false;          // of descriptors
    bool has_small_buffers = false;

    static Character draw(Random &random);
};

class Backend {
  public:
    explicit Backend(const Self &self);
    ~Backend();
    Backend(const Backend &) = delete;
    Backend &operator=(const Backend &) = delete;

    void run();

  private:
    struct Session {
        rp_handoff_session *handle = nullptr;
        std::uint64_t paused_until_ns = 0; // answers are withheld; 0: they are not
        bool is_open = false;
        bool is_lost = false; // to be destroyed
        std::uint64_t offers = 0;
        std::uint64_t adopted = 0;
        std::uint64_t refused = 0;
        std::uint64_t revoked = 0;
    };
    struct Late {
        rp_handoff_offer *offer;
        std::uint32_t attempt;
        std::uint32_t session;
        std::uint64_t due_ns;
    };

    void accept_session();
    void handle(Key key, std::uint32_t events);
    void serve_sessions();
    void take_events(std::uint32_t number, Session &session);
    void on_closed(Session &session, std::int32_t status);
    void on_offer(std::uint32_t number, Session &session, rp_handoff_offer *offer);
    std::uint32_t read_tag(const rp_handoff_offer_info &info) const;
    void adopt(std::uint32_t number, rp_handoff_offer *offer, std::uint32_t attempt);
    void serve(const rp_handoff_offer *offer, UniqueFd fd, std::uint32_t attempt);
    void refuse(Session *session, rp_handoff_offer *offer);
    void misbehave(Session &session);
    void answer_late();
    void pause(Session &session, std::uint64_t duration_ns);
    void resume(std::uint32_t number, Session &session);
    void check_counters(const Session &session) const;
    Session *find(std::uint32_t number);
    bool is_idle() const;
    std::uint64_t next_due_ns() const;
    void finish();

    const Self &self_;
    Random random_;
    Character character_;
    Loop loop_;
    Server server_;
    rp_handoff_listener *listener_ = nullptr;
    std::uint64_t listens_again_ns_ = 0; // 0: it does listen
    std::unordered_map<std::uint32_t, Session> sessions_;
    std::vector<Late> late_;
    std::uint32_t last_session_ = 0;
};

} // namespace rp::chaos
