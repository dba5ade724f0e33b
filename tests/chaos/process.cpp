// Accounts of descriptors.
#include "process.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

namespace rp::chaos {

namespace {

// Also one that its client has reset.
bool is_client_connection(int fd) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    int listens = 0;
    socklen_t size = sizeof listens;
    return getsockname(fd, reinterpret_cast<sockaddr *>(&address), &length) == 0 && address.sin_family == AF_INET &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens == 0;
}

} // namespace

void Self::note_idle() const {
    life().descriptors_idle = static_cast<std::uint32_t>(test::open_descriptors().size());
}

void Self::report(std::uint32_t sessions) const {
    const auto open = test::open_descriptors();
    std::uint32_t clients = 0;
    std::uint32_t pidfds = 0;
    for (const auto &[fd, target] : open) {
        clients += is_client_connection(fd) ? 1 : 0;
        pidfds += target == "anon_inode:[pidfd]" ? 1 : 0;
    }
    Life &own = life();
    own.pidfds = pidfds;
    own.descriptors = static_cast<std::uint32_t>(open.size());
    own.clients_open = clients;
    own.sessions_open = sessions;
    test::describe(open).copy(own.description, sizeof own.description - 1);
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
