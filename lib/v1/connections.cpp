#include "v1/connections.hpp"

namespace rp::handoff {

Connection &Connections::add(Id id, UniqueFd &fd, const PeerCredentials &peer, bool lasting, std::uint32_t max_frame) {
    std::list<Connection> made;
    made.emplace_back(id, UniqueFd(), peer, lasting, max_frame);
    Connection &connection = made.back();
    by_id_.emplace(id, &connection);
    connection.fd = std::move(fd);
    connection.self = made.begin();
    resting_.splice(resting_.end(), made);
    return connection;
}

Connection *Connections::find(Id id) noexcept {
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? nullptr : found->second;
}

void Connections::move(Connection &connection, Connection::State state, Instant deadline) noexcept {
    std::list<Connection> moving;
    moving.splice(moving.end(), list(connection.state), connection.self);
    connection.state = state;
    connection.deadline = deadline;
    std::list<Connection> &to = list(state);
    auto place = to.end();
    // Deadlines come in rising order unless the clock was set back, so this looks at one neighbour as a rule.
    while (place != to.begin() && std::prev(place)->deadline > deadline) {
        --place;
    }
    to.splice(place, moving);
}

void Connections::take_out(Connection &connection, std::list<Connection> &to) noexcept {
    by_id_.erase(connection.id);
    to.splice(to.end(), list(connection.state), connection.self);
}

std::list<Connection> &Connections::list(Connection::State state) noexcept {
    switch (state) {
    case Connection::State::receiving:
        return receiving_;
    case Connection::State::ready:
        return ready_;
    case Connection::State::rejected:
        return rejected_;
    case Connection::State::offered:
        return offered_;
    default:
        return resting_;
    }
}

} // namespace rp::handoff
