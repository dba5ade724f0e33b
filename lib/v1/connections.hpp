// The backend's connections to brokers, each in the state it is in.
//
// A connection's node is made once and moves between lists, so that no change of state can fail. Not locked.
#pragma once

#include <cstddef>
#include <list>
#include <unordered_map>

#include "base/clock.hpp"
#include "base/peer_credentials.hpp"
#include "base/unique_fd.hpp"
#include "os/poller.hpp"
#include "v1/offer_receiver.hpp"

namespace rp::handoff {

struct Connection {
    enum class State {
        receiving, // has a deadline
        resting,   // between offers, without a deadline
        ready,     // holds a whole offer that nobody took yet
        rejected,  // holds one that the backend refuses by itself, which nobody has told the broker yet
        offered    // its offer is somebody's to answer: it was given out, or is being refused
    };

    Connection(os::Poller::Id connection_id, UniqueFd socket, const PeerCredentials &who, bool may_rest,
               std::uint32_t max_frame) noexcept
        : id(connection_id), fd(std::move(socket)), peer(who), lasting(may_rest), receiver(max_frame) {}

    const os::Poller::Id id;
    UniqueFd fd;
    const PeerCredentials peer;
    const bool lasting; // may rest without limit
    State state = State::resting;
    Instant deadline = end_of_time;
    OfferReceiver receiver;
    wire::HandoffOffer offer; // of a whole one: views into the receiver
    Instant received_at{};
    Status rejection = Status::ok; // why, while it is rejected
    bool has_offered = false;      // it has sent a whole offer once

    std::list<Connection>::iterator self;
};

class Connections {
  public:
    using Id = os::Poller::Id;

    std::size_t size() const noexcept { return by_id_.size(); }
    std::size_t unanswered() const noexcept { return ready_.size() + offered_.size(); }

    // A new one, resting. Changes nothing if it throws.
    Connection &add(Id id, UniqueFd &fd, const PeerCredentials &peer, bool lasting, std::uint32_t max_frame);

    Connection *find(Id id) noexcept;
    Connection *first_ready() noexcept { return first(ready_); }
    Connection *first_resting() noexcept { return first(resting_); }
    Connection *first_rejected() noexcept { return first(rejected_); }
    // The one with the nearest deadline.
    Connection *first_receiving() noexcept { return first(receiving_); }

    void move(Connection &connection, Connection::State state, Instant deadline = end_of_time) noexcept;
    // Out of here, to be closed where nothing is locked.
    void take_out(Connection &connection, std::list<Connection> &to) noexcept;

  private:
    static Connection *first(std::list<Connection> &list) noexcept { return list.empty() ? nullptr : &list.front(); }
    std::list<Connection> &list(Connection::State state) noexcept;

    std::list<Connection> receiving_; // in the order of their deadlines
    std::list<Connection> resting_;
    std::list<Connection> ready_;
    std::list<Connection> rejected_;
    std::list<Connection> offered_;
    std::unordered_map<Id, Connection *> by_id_;
};

} // namespace rp::handoff
