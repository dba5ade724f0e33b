// A broker of the chaos.
#include "broker.hpp"

#include <algorithm>
#include <sys/socket.h>

namespace rp::chaos {

namespace {

void check_outcome(const Self &self, const Arrival &arrival, const rp_handoff_event &event,
                   const rp_handoff_outcome &outcome) {
    const bool is_brokers = event.ownership == RP_HANDOFF_OWNER_BROKER;
    const bool is_back = is_brokers && !arrival.is_duplicated;
    if ((!is_brokers && event.ownership != RP_HANDOFF_OWNER_BACKEND) || outcome.ownership != event.ownership ||
        (outcome.result == RP_HANDOFF_COMPLETED) == is_brokers || event.fd != (is_back ? arrival.fd : -1)) {
        self.table.violation("attempt %u: event of owner %d with descriptor %d, outcome %d of owner %d",
                             arrival.attempt, event.ownership, event.fd, outcome.result, outcome.ownership);
    }
}

} // namespace

Broker::Broker(const Self &self, int listener)
    : self_(self), random_(self.random()), server_(self, loop_), listener_(listener), patience_(random_.between(2, 6)),
      destroys_sessions_(random_.percent(50)) {
    rp_handoff_broker_options options{};
    options.struct_size = sizeof options;
    options.max_pending = 8192;
    options.ack_deadline_ns = 1000 * millisecond_ns;
    if (rp_handoff_broker_create(&options, &broker_, nullptr) != RP_HANDOFF_OK) {
        self.table.violation("no broker");
        std::exit(1);
    }
    for (std::uint32_t i = 0; i < self.table.backends; ++i) {
        links_.emplace_back(self, i);
    }
    loop_.watch(listener_.get(), {Kind::listener, 0});
    self.note_idle();
}

Broker::~Broker() {
    rp_handoff_broker_destroy(broker_);
}

void Broker::accept_clients() {
    for (int i = 0; i < 64; ++i) {
        const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            return;
        }
        const std::uint32_t serial = ++last_serial_;
        arrivals_[serial].fd = fd;
        loop_.watch(fd, {Kind::arrival, serial});
        read_opening(serial);
    }
}

// Which attempt it is. Half of the time the bytes stay in the socket for whoever will own it; otherwise they travel with
// the offer, as many as are there.
void Broker::read_opening(std::uint32_t serial) {
    Arrival &arrival = arrivals_.at(serial);
    Opening opening{};
    if (recv(arrival.fd, &opening, sizeof opening, MSG_PEEK) != sizeof opening) {
        return;
    }
    loop_.forget(arrival.fd);
    arrival.attempt = opening.attempt;
    arrival.wants_prologue = opening.wants_prologue != 0;
    if (opening.check != ~opening.attempt || opening.attempt >= self_.table.attempts()) {
        self_.table.violation("a client begins with something else");
        std::exit(1);
    }
    self_.table.attempt(opening.attempt).broker = self_.number;
    if (random_.percent(50)) {
        arrival.early.resize(random_.percent(80) ? 2048 : RP_HANDOFF_EARLY_BYTES_MAX);
        const ssize_t n = recv(arrival.fd, arrival.early.data(), arrival.early.size(), 0);
        arrival.early.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    }
    if (random_.percent(5)) { // so that it may not take a prologue whole
        const int least = 1;
        setsockopt(arrival.fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
    }
    ready_.push_back(serial);
}

void Broker::handle(Key key, std::uint32_t events) {
    if (key.kind == Kind::listener) {
        accept_clients();
    } else if (key.kind == Kind::arrival) {
        if (arrivals_.count(key.number) != 0) {
            read_opening(key.number);
        }
    } else if (key.kind == Kind::served) {
        server_.handle(key.number, events);
    }
}

void Broker::take_events(Link &link) {
    rp_handoff_event event{};
    rp_handoff_outcome outcome{};
    while (link.next_event(event, outcome)) {
        if (event.kind == RP_HANDOFF_EVENT_OUTCOME) {
            on_outcome(link, event, outcome);
        } else if (event.kind == RP_HANDOFF_EVENT_CLOSED) {
            link.end(loop_, false);
            return;
        }
    }
}

void Broker::on_outcome(Link &link, const rp_handoff_event &event, const rp_handoff_outcome &outcome) {
    const auto serial = static_cast<std::uint32_t>(event.user_data);
    const auto found = arrivals_.find(serial);
    if (found == arrivals_.end() || found->second.link != static_cast<int>(link.index()) ||
        found->second.id != event.id) {
        self_.table.violation("an outcome of nothing in flight: %llu",
                              static_cast<unsigned long long>(event.user_data));
        return;
    }
    Arrival &arrival = found->second;
    arrival.link = -1;
    BrokerCounts &counts = self_.life().broker;
    check_outcome(self_, arrival, event, outcome);
    if (event.ownership == RP_HANDOFF_OWNER_BACKEND) {
        if (link.peer() == 0) {
            self_.table.violation("attempt %u is a backend's that was never reached", arrival.attempt);
        }
        self_.table.attempt(arrival.attempt).verdict = link.peer();
        add(counts.to_backend);
        if (arrival.is_duplicated) {
            close(arrival.fd);
        }
        arrivals_.erase(found);
    } else {
        add(counts.to_broker);
        add(counts.causes[static_cast<std::uint32_t>(outcome.cause) % 32]);
        come_back(serial);
    }
}

// Offered again, to whichever backend; but not for ever.
void Broker::come_back(std::uint32_t serial) {
    if (++arrivals_.at(serial).offers > patience_ || random_.percent(3)) {
        settle_here(serial);
    } else {
        ready_.push_back(serial);
    }
}

void Broker::settle_here(std::uint32_t serial) {
    const auto found = arrivals_.find(serial);
    const Arrival &arrival = found->second;
    if (random_.percent(70)) {
        add(self_.life().broker.served);
        server_.adopt(UniqueFd(arrival.fd), arrival.attempt, {arrival.early.data(), arrival.early.size()},
                      {nullptr, 0});
    } else {
        add(self_.life().broker.ended);
        server_.end(UniqueFd(arrival.fd), arrival.attempt);
    }
    arrivals_.erase(found);
}

// Now and then a session is closed, or destroyed with all that is in flight.
void Broker::disturb(Link &link) {
    if (self_.table.phase != Phase::running || !link.is_open()) {
        return;
    }
    if (random_.one_in(4000)) {
        link.begin_close();
    } else if (destroys_sessions_ && random_.one_in(4000)) {
        drop_in_flight(link);
        link.end(loop_, true);
    }
}

// The library ends what it has taken. Of a duplicate it leaves the original, of which only an outcome tells whose it is.
void Broker::drop_in_flight(Link &link) {
    for (const auto &[serial, arrival] : arrivals_) {
        if (arrival.link == static_cast<int>(link.index()) && arrival.is_duplicated) {
            rp_handoff_session_cancel(link.session(), arrival.id);
        }
    }
    take_events(link);
    for (auto at = arrivals_.begin(); at != arrivals_.end();) {
        if (at->second.link == static_cast<int>(link.index())) {
            self_.table.attempt(at->second.attempt).is_dropped = 1;
            add(self_.life().broker.dropped);
            at = arrivals_.erase(at);
        } else {
            ++at;
        }
    }
}

bool Broker::is_idle() const {
    return arrivals_.empty() && server_.size() == 0 &&
           std::all_of(links_.begin(), links_.end(), [](const Link &link) { return link.is_at_rest(); });
}

std::uint64_t Broker::next_due_ns() const {
    std::uint64_t due = ready_.empty() ? now_ns() + 10 * millisecond_ns : 0;
    for (const Link &link : links_) {
        due = std::min(due, link.due_ns());
    }
    return due;
}

void Broker::run() {
    while (self_.table.phase != Phase::finishing) {
        for (Link &link : links_) {
            link.open(broker_, random_, loop_);
        }
        loop_.wait(next_due_ns(), [this](Key key, std::uint32_t events) { handle(key, events); });
        for (Link &link : links_) {
            if (link.session() != nullptr) {
                link.process();
                take_events(link);
                disturb(link);
            }
        }
        offer_ready();
        if (self_.table.phase == Phase::settling && is_idle() && !self_.has_reported()) {
            self_.report(static_cast<std::uint32_t>(links_.size()));
        }
    }
    finish();
}

// Everything is closed orderly, and nothing is left.
void Broker::finish() {
    for (Link &link : links_) {
        while (link.session() != nullptr) {
            link.begin_close();
            rp_handoff_session_wait(link.session(), 100 * millisecond_ns);
            take_events(link);
        }
    }
}

void run_broker(const Self &self, int listener) {
    Broker(self, listener).run();
}

} // namespace rp::chaos
