// Serves the connections that this process owns.
#include "server.hpp"

#include <sys/socket.h>

namespace rp::chaos {

bool Server::claim(std::uint32_t attempt, std::uint32_t from) {
    std::uint32_t owner = from;
    if (self_.table.attempt(attempt).owner.compare_exchange_strong(owner, self_.number)) {
        return true;
    }
    self_.table.violation("attempt %u has two owners: lives %u and %u", attempt, owner, self_.number);
    return false;
}

std::uint32_t Server::add(UniqueFd fd, std::uint32_t attempt) {
    const std::uint32_t serial = ++last_serial_;
    Connection &connection = connections_[serial];
    connection.fd = std::move(fd);
    connection.attempt = attempt;
    loop_.watch(connection.fd.get(), {Kind::served, serial});
    return serial;
}

void Server::adopt(UniqueFd fd, std::uint32_t attempt, Slice early, Slice unwritten) {
    if (!claim(attempt)) {
        return;
    }
    const std::uint32_t serial = add(std::move(fd), attempt);
    Connection &connection = connections_.at(serial);
    connection.outgoing.assign(unwritten.data, unwritten.data + unwritten.size);
    take(serial, connection, early);
    write(serial, connection);
}

Server::Released Server::release() {
    for (auto &[serial, connection] : connections_) {
        if (connection.numbers.is_opened() && connection.outgoing.empty()) {
            Released released{std::move(connection.fd), connection.attempt, connection.numbers};
            loop_.forget(released.fd.get());
            connections_.erase(serial);
            return released;
        }
    }
    return {};
}

void Server::go_on_with(Released released, std::uint32_t from) {
    if (claim(released.attempt, from)) {
        connections_.at(add(std::move(released.fd), released.attempt)).numbers = released.numbers;
    }
}

void Server::end(UniqueFd fd, std::uint32_t attempt) {
    if (claim(attempt)) {
        self_.table.attempt(attempt).is_ended = 1;
        shutdown(fd.get(), SHUT_RDWR);
    }
}

void Server::take(std::uint32_t serial, Connection &connection, Slice bytes) {
    if (bytes.size == 0) {
        return;
    }
    const std::uint32_t before = connection.numbers.received();
    if (connection.numbers.take(bytes.data, bytes.size) == Numbers::Verdict::bad) {
        self_.table.violation("attempt %u: bytes of the client's are lost, doubled or out of order, at %u",
                              connection.attempt, connection.numbers.received());
    }
    if (!connection.numbers.is_opened()) {
        return;
    }
    if (connection.numbers.opening().attempt != connection.attempt) {
        self_.table.violation("attempt %u was taken for %u", connection.numbers.opening().attempt, connection.attempt);
    }
    if (connection.numbers.received() != before) {
        append(connection.outgoing, Record{record_answer, self_.number, serial, 0, connection.numbers.received()});
    }
}

bool Server::read(std::uint32_t serial, Connection &connection) {
    std::uint8_t buffer[16384];
    const ssize_t n = recv(connection.fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (n <= 0) {
        return false;
    }
    take(serial, connection, {buffer, static_cast<std::size_t>(n)});
    return true;
}

void Server::write(std::uint32_t serial, Connection &connection) {
    Bytes &outgoing = connection.outgoing;
    while (!outgoing.empty()) {
        const ssize_t n = send(connection.fd.get(), outgoing.data(), outgoing.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0) {
            break; // full, or reset: the next read will tell
        }
        outgoing.erase(outgoing.begin(), outgoing.begin() + n);
    }
    if (connection.is_full == outgoing.empty()) {
        connection.is_full = !outgoing.empty();
        loop_.change(connection.fd.get(), {Kind::served, serial}, connection.is_full ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

// Clients leave only when they have seen their last byte answered.
void Server::close(std::uint32_t serial, Connection &connection) {
    const Numbers &numbers = connection.numbers;
    const std::uint32_t length = numbers.opening().length;
    if (!numbers.is_opened() || (numbers.received() != length && length != unlimited)) {
        self_.table.violation("attempt %u ended in the hands of life %u, at byte %u (errno %d)", connection.attempt,
                              self_.number, numbers.received(), errno);
    }
    loop_.forget(connection.fd.get());
    shutdown(connection.fd.get(), SHUT_RDWR);
    connections_.erase(serial);
}

void Server::handle(std::uint32_t serial, std::uint32_t events) {
    const auto found = connections_.find(serial);
    if (found == connections_.end()) {
        return;
    }
    Connection &connection = found->second;
    if ((events & ~std::uint32_t{EPOLLOUT}) != 0 && !read(serial, connection)) {
        close(serial, connection);
        return;
    }
    write(serial, connection);
}

} // namespace rp::chaos
