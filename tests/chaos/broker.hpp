// A broker: accepts clients, offers their connections to backends in batches, and offers those that come back to others.
// What no backend takes it serves by itself, or ends.
#pragma once

#include <unordered_map>
#include <vector>

#include "link.hpp"
#include "server.hpp"

namespace rp::chaos {

class Broker {
  public:
    Broker(const Self &self, int listener);
    ~Broker();
    Broker(const Broker &) = delete;
    Broker &operator=(const Broker &) = delete;

    void run();

  private:
    void handle(Key key, std::uint32_t events);
    void accept_clients();
    void read_opening(std::uint32_t serial);
    void offer_ready();
    std::size_t offer_batch(Link &link, const std::uint32_t *serials, std::size_t count);
    rp_handoff_submission prepare(std::uint32_t serial);
    void check_refused_submit(std::int32_t status) const;
    Link *choose_link();
    void take_events(Link &link);
    void on_outcome(Link &link, const rp_handoff_event &event, const rp_handoff_outcome &outcome);
    void come_back(std::uint32_t serial);
    void settle_here(std::uint32_t serial);
    void disturb(Link &link);
    void drop_in_flight(Link &link);
    bool is_idle() const;
    std::uint64_t next_due_ns() const;
    void finish();

    const Self &self_;
    Random random_;
    Loop loop_;
    Server server_;
    UniqueFd listener_;
    rp_handoff_broker *broker_ = nullptr;
    std::vector<Link> links_;
    std::unordered_map<std::uint32_t, Arrival> arrivals_; // connections that nobody owns yet
    std::vector<std::uint32_t> ready_;                    // of those, the ones to be offered now
    std::uint32_t last_serial_ = 0;
    std::uint32_t patience_ = 0; // offers that are made of one connection
    bool destroys_sessions_;
};

} // namespace rp::chaos
