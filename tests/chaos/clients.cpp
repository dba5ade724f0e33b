// The life of a client's connection, from the first attempt to the last answer.
#include "clients.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>

namespace rp::chaos {

namespace {

sockaddr_in loopback(std::uint32_t host, std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(0x7F000000u + host);
    address.sin_port = htons(port);
    return address;
}

const sockaddr *as_sockaddr(const sockaddr_in &address) {
    return reinterpret_cast<const sockaddr *>(&address);
}

std::uint32_t draw_length(Random &random) {
    const std::uint32_t kind = random.below(20);
    return kind == 0 ? random.between(1000, 60000) : kind < 8 ? random.between(65, 1000) : random.between(1, 64);
}

} // namespace

// Of the connections that end on this side, some leave a closed socket behind for a minute (TIME_WAIT); many addresses
// have ports for all of them.
void Clients::open(Connection &connection) {
    connection.fd.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1;
    setsockopt(connection.fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    const sockaddr_in from = loopback(random_.between(2, 33), 0);
    const sockaddr_in to = loopback(1, options_.ports[connection.broker]);
    if (bind(connection.fd.get(), as_sockaddr(from), sizeof from) != 0 ||
        (connect(connection.fd.get(), as_sockaddr(to), sizeof to) != 0 && errno != EINPROGRESS)) {
        self_.table.violation("a client cannot connect: errno %d", errno);
        std::exit(1);
    }
    loop_.watch(connection.fd.get(), {Kind::connection, connection.attempt});
}

void Clients::begin() {
    const std::uint32_t number = self_.table.new_attempt();
    Connection &connection = connections_[number];
    connection.attempt = number;
    connection.broker = random_.below(static_cast<std::uint32_t>(options_.ports.size()));
    connection.broker_ends = self_.table.broker_ends[connection.broker];
    connection.length = draw_length(random_);
    connection.wants_prologue = self_.with_prologues && random_.percent(30);
    self_.table.attempt(number).wants_prologue = connection.wants_prologue ? 1 : 0;
    open(connection);
    append(connection.outgoing, Opening{number, connection.length, connection.wants_prologue ? 1u : 0u, ~number});
    send_piece(connection);
}

// All of the rest at once, or a part and the next when it was answered.
void Clients::send_piece(Connection &connection) {
    const std::uint32_t left = connection.length - connection.sent;
    const std::uint32_t size = random_.percent(60) ? left : random_.between(1, left);
    append_numbered(connection.outgoing, connection.attempt, connection.sent, size);
    connection.sent += size;
    write(connection);
}

void Clients::write(Connection &connection) {
    Bytes &outgoing = connection.outgoing;
    const ssize_t n = send(connection.fd.get(), outgoing.data(), outgoing.size(), MSG_NOSIGNAL);
    if (n > 0) {
        outgoing.erase(outgoing.begin(), outgoing.begin() + n);
    }
    if (connection.is_full == outgoing.empty()) {
        connection.is_full = !outgoing.empty();
        loop_.change(connection.fd.get(), {Kind::connection, connection.attempt},
                     connection.is_full ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

void Clients::handle(std::uint32_t attempt, std::uint32_t events) {
    const auto found = connections_.find(attempt);
    if (found == connections_.end()) {
        return;
    }
    Connection &connection = found->second;
    if ((events & ~std::uint32_t{EPOLLOUT}) != 0) {
        if (!read(connection)) {
            on_closed(connection);
            return;
        }
        parse(connection);
        if (connection.answered == connection.length) {
            on_served(connection);
            return;
        }
        if (connection.answered == connection.sent) {
            send_piece(connection);
        }
    }
    if (!connection.outgoing.empty()) {
        write(connection);
    }
}

bool Clients::read(Connection &connection) {
    std::uint8_t buffer[8192];
    const ssize_t n = recv(connection.fd.get(), buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (n <= 0) {
        return false;
    }
    connection.incoming.insert(connection.incoming.end(), buffer, buffer + n);
    return true;
}

void Clients::parse(Connection &connection) {
    Bytes &incoming = connection.incoming;
    std::size_t at = 0;
    for (;;) {
        const std::size_t skipped = std::min<std::size_t>(connection.padding_left, incoming.size() - at);
        connection.padding_left -= static_cast<std::uint32_t>(skipped);
        at += skipped;
        if (connection.padding_left != 0 || incoming.size() - at < sizeof(Record)) {
            break;
        }
        Record record{};
        std::memcpy(&record, incoming.data() + at, sizeof record);
        at += sizeof record;
        on_record(connection, record);
    }
    incoming.erase(incoming.begin(), incoming.begin() + static_cast<std::ptrdiff_t>(at));
}

void Clients::on_record(Connection &connection, const Record &record) {
    Table &table = self_.table;
    Attempt &attempt = table.attempt(connection.attempt);
    if (record.kind == record_prologue) {
        on_prologue(connection, record);
        return;
    }
    if (attempt.served_by == 0) {
        attempt.served_by = record.life;
        connection.serial = record.serial;
        const bool is_backend = record.life < table.lives() && table.life(record.life).role == Role::backend;
        if (connection.has_prologue != (connection.wants_prologue && is_backend)) {
            table.violation("attempt %u: prologue %s", connection.attempt,
                            connection.has_prologue ? "twice" : "missing");
        }
    }
    if (record.kind != record_answer || record.life != attempt.served_by || record.serial != connection.serial) {
        table.violation("attempt %u was served by lives %u and %u", connection.attempt, attempt.served_by.load(),
                        record.life);
    }
    if (record.received < connection.answered || record.received > connection.sent) {
        table.violation("attempt %u: byte %llu was answered after %u of %u", connection.attempt,
                        static_cast<unsigned long long>(record.received), connection.answered, connection.sent);
    }
    connection.answered = static_cast<std::uint32_t>(record.received);
}

void Clients::on_prologue(Connection &connection, const Record &record) {
    if (!connection.wants_prologue || connection.has_prologue ||
        record.life != self_.table.attempt(connection.attempt).broker) {
        self_.table.violation("attempt %u: a prologue of life %u that was not due", connection.attempt, record.life);
    }
    connection.has_prologue = true;
    connection.padding_left = record.padding;
}

void Clients::on_served(Connection &connection) {
    Table &table = self_.table;
    Attempt &attempt = table.attempt(connection.attempt);
    attempt.end = End::served;
    add(table.finished);
    if (table.life(attempt.served_by).role == Role::backend) {
        add(table.handed);
    }
    --unserved_;
    if (random_.percent(10)) {
        connection.hold_until_ns = now_ns() + random_.between(1, 100) * millisecond_ns;
        held_.push_back(connection.attempt);
        loop_.forget(connection.fd.get());
    } else {
        end(connection);
    }
}

void Clients::on_closed(Connection &connection) {
    Table &table = self_.table;
    Attempt &attempt = table.attempt(connection.attempt);
    const bool saw_nothing = attempt.served_by == 0 && !connection.has_prologue && connection.incoming.empty();
    attempt.end_after = table.deaths.load();
    attempt.end = saw_nothing ? End::unanswered : End::closed;
    if (attempt.broker == 0 && table.broker_ends[connection.broker] == connection.broker_ends) {
        table.violation("attempt %u was closed, and nobody had accepted it", connection.attempt);
    }
    ++again_;
    end(connection);
}

// By an orderly end or by a reset.
void Clients::end(Connection &connection) {
    if (random_.percent(30)) {
        const linger reset{1, 0};
        setsockopt(connection.fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    connections_.erase(connection.attempt);
}

void Clients::end_held() {
    const std::uint64_t now = now_ns();
    std::size_t kept = 0;
    for (const std::uint32_t attempt : held_) {
        Connection &connection = connections_.at(attempt);
        if (connection.hold_until_ns <= now) {
            end(connection);
        } else {
            held_[kept++] = attempt;
        }
    }
    held_.resize(kept);
}

// Whether this client can only wait, since one backend is stopped: that one has taken the connection; or it has a duplicate
// in its queue, and whoever had the connection was killed, or destroyed the session with it in flight, so that nobody was
// there to end it.
bool Clients::may_wait(const Connection &connection) const {
    Table &table = self_.table;
    const std::uint32_t held = table.held_backend;
    if (held == 0) {
        return false;
    }
    const Attempt &attempt = table.attempt(connection.attempt);
    const std::uint32_t owner = attempt.owner;
    const std::uint32_t taker = owner != 0 ? owner : attempt.verdict.load();
    if (taker != 0 && table.life(taker).role == Role::backend && table.life(taker).index + 1 == held) {
        return true;
    }
    const auto is_over = [&](std::uint32_t life) { return life != 0 && table.life(life).fate != Fate::running; };
    const bool is_left = taker != 0 ? is_over(taker) : is_over(attempt.broker) || attempt.is_dropped != 0;
    return (attempt.offered >> (held - 1) & 1) != 0 && is_left;
}

void Clients::count_open() {
    std::uint32_t hanging = 0;
    for (const auto &entry : connections_) {
        hanging += may_wait(entry.second) ? 0 : 1;
    }
    self_.table.hanging = hanging + again_;
    self_.table.open = static_cast<std::uint32_t>(connections_.size()) + again_;
}

void Clients::keep_going() {
    for (; again_ != 0; --again_) {
        begin();
    }
    while (self_.table.phase == Phase::running && unserved_ < options_.concurrency) {
        ++unserved_;
        add(self_.table.started);
        begin();
    }
}

void Clients::run() {
    Table &table = self_.table;
    self_.note_idle();
    while (table.phase != Phase::finishing) {
        keep_going();
        loop_.wait(now_ns() + 5 * millisecond_ns,
                   [this](Key key, std::uint32_t events) { handle(key.number, events); });
        end_held();
        if (table.phase != Phase::running) {
            count_open();
        }
        if (table.phase == Phase::settling && connections_.empty() && !self_.has_reported()) {
            self_.report(0);
        }
    }
}

void run_clients(const Self &self, const ClientOptions &options) {
    Clients(self, options).run();
}

} // namespace rp::chaos
