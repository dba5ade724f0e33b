// Accounts of descriptors.
#include "process.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

namespace rp::chaos {

namespace {

bool is_client_connection(int fd) {
    sockaddr_in peer{};
    socklen_t length = sizeof peer;
    return getpeername(fd, reinterpret_cast<sockaddr *>(&peer), &length) == 0 && peer.sin_family == AF_INET;
}

} // namespace

void Self::note_idle() const {
    life().descriptors_idle = static_cast<std::uint32_t>(test::open_descriptors().size());
}

void Self::report(std::uint32_t sessions) const {
    const auto open = test::open_descriptors();
    std::uint32_t clients = 0;
    for (const auto &entry : open) {
        clients += is_client_connection(entry.first) ? 1 : 0;
    }
    Life &own = life();
    own.descriptors = static_cast<std::uint32_t>(open.size());
    own.clients_open = clients;
    own.sessions_open = sessions;
    own.quiet_round = table.round.load();
}

void Self::leave() const {
    const auto open = test::open_descriptors();
    if (open.size() != life().descriptors_at_start) {
        table.violation("life %u began with %u descriptors and ends with: %s", number,
                        life().descriptors_at_start.load(), test::describe(open).c_str());
    }
    life().fate = Fate::finished;
}

} // namespace rp::chaos
