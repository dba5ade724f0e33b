// A backend of the chaos: its sessions, and its end.
#include "backend.hpp"
#include "support/api.hpp"

#include <algorithm>
#include <sys/resource.h>
#include <sys/socket.h>

namespace rp::chaos {

namespace {

// Room for its sessions, and for a few connections.
void run_short_of_descriptors(std::uint32_t sessions, Random &random) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = test::open_descriptors().size() + sessions * std::size_t{6} + random.between(4, 40);
    setrlimit(RLIMIT_NOFILE, &limit);
}

} // namespace

Backend::Backend(const Self &self)
    : self_(self), random_(self.random()), character_(Character::draw(random_)), server_(self, loop_) {
    const std::int32_t status = rp::test::create_listener(socket_of(self, self.life().index).c_str(), &listener_);
    if (status != RP_HANDOFF_OK) {
        self.table.violation("a backend cannot listen: %s, errno %d", rp_handoff_strerror(status), errno);
        std::exit(1);
    }
    loop_.watch(rp_handoff_listener_get_fd(listener_), {Kind::listener, 0});
    self.note_idle();
    if (character_.is_short) {
        run_short_of_descriptors(self.table.brokers, random_);
    }
}

Backend::~Backend() {
    rp_handoff_listener_destroy(listener_);
}

Backend::Session *Backend::find(std::uint32_t number) {
    const auto found = sessions_.find(number);
    return found != sessions_.end() ? &found->second : nullptr;
}

// Without descriptors for it, the broker waits in the backlog for a while.
void Backend::accept_session() {
    std::int32_t fd = -1;
    const std::int32_t status = rp_handoff_listener_accept(listener_, 0, &fd);
    if (status != RP_HANDOFF_OK) {
        if (status != RP_HANDOFF_ERR_TIMED_OUT) {
            loop_.forget(rp_handoff_listener_get_fd(listener_));
            listens_again_ns_ = now_ns() + 5 * millisecond_ns;
        }
        return;
    }
    if (character_.has_small_buffers) {
        const int least = 1;
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
    }
    rp_handoff_session_options options{};
    options.struct_size = sizeof options;
    options.connection_fd = fd;
    options.max_in_flight = random_.percent(50) ? 256 : random_.between(4, 512);
    Session session;
    if (rp_handoff_session_create_backend(&options, &session.handle, nullptr) != RP_HANDOFF_OK) {
        close(fd);
        return;
    }
    if (rp_handoff_session_get_fd(session.handle) < 0) { // no descriptor to be had
        rp_handoff_session_destroy(session.handle);
        return;
    }
    add(self_.life().backend.sessions);
    const std::uint32_t number = ++last_session_;
    loop_.watch(rp_handoff_session_get_fd(session.handle), {Kind::session, number});
    sessions_.emplace(number, session);
}

void Backend::handle(Key key, std::uint32_t events) {
    if (key.kind == Kind::listener) {
        accept_session();
    } else if (key.kind == Kind::served) {
        server_.handle(key.number, events);
    }
}

// Nothing is called on it in this time, so that no answer leaves.
void Backend::pause(Session &session, std::uint64_t duration_ns) {
    loop_.forget(rp_handoff_session_get_fd(session.handle));
    session.paused_until_ns = now_ns() + duration_ns;
}

void Backend::resume(std::uint32_t number, Session &session) {
    loop_.watch(rp_handoff_session_get_fd(session.handle), {Kind::session, number});
    session.paused_until_ns = 0;
}

void Backend::serve_sessions() {
    const std::uint64_t now = now_ns();
    for (auto at = sessions_.begin(); at != sessions_.end();) {
        Session &session = at->second;
        if (session.paused_until_ns != 0 && session.paused_until_ns <= now) {
            resume(at->first, session);
        }
        if (session.paused_until_ns == 0) {
            const std::int32_t status = rp_handoff_session_process(session.handle);
            if (status != RP_HANDOFF_OK) {
                self_.table.violation("a backend's session cannot go on: %s", rp_handoff_strerror(status));
            }
            take_events(at->first, session);
        }
        if (session.is_lost) {
            loop_.forget(rp_handoff_session_get_fd(session.handle));
            rp_handoff_session_destroy(session.handle);
            at = sessions_.erase(at);
        } else {
            ++at;
        }
    }
}

void Backend::take_events(std::uint32_t number, Session &session) {
    rp_handoff_event event{};
    event.struct_size = sizeof event;
    while (session.paused_until_ns == 0 && !session.is_lost &&
           rp_handoff_session_next_event(session.handle, &event, nullptr) == 1) {
        if (event.kind == RP_HANDOFF_EVENT_OPENED) {
            session.is_open = true;
        } else if (event.kind == RP_HANDOFF_EVENT_OFFER) {
            on_offer(number, session, event.offer);
        } else if (event.kind == RP_HANDOFF_EVENT_CLOSED) {
            on_closed(session, event.status);
        }
    }
}

// Brokers here are honest, so that whatever goes wrong is no breach of the protocol; but there may have been no descriptor
// left for the ledger.
void Backend::on_closed(Session &session, std::int32_t status) {
    check_counters(session);
    session.is_lost = true;
    const bool is_excused = status == RP_HANDOFF_ERR_DESCRIPTORS && character_.is_short;
    if (!is_excused && (status == RP_HANDOFF_ERR_PROTOCOL || status <= RP_HANDOFF_ERR_FRAME_INCOMPLETE)) {
        self_.table.violation("a backend's session ended: %s", rp_handoff_strerror(status));
    }
}

bool Backend::is_idle() const {
    return sessions_.size() == self_.table.brokers && late_.empty() && server_.size() == 0 &&
           std::all_of(sessions_.begin(), sessions_.end(),
                       [](const auto &entry) { return entry.second.is_open && entry.second.paused_until_ns == 0; });
}

std::uint64_t Backend::next_due_ns() const {
    std::uint64_t due = now_ns() + 10 * millisecond_ns;
    for (const auto &[number, session] : sessions_) {
        std::uint64_t timeout = RP_HANDOFF_FOREVER;
        if (session.paused_until_ns == 0) {
            rp_handoff_session_get_timeout(session.handle, &timeout);
            due = std::min(due, timeout == RP_HANDOFF_FOREVER ? due : now_ns() + timeout);
        }
    }
    return due;
}

void Backend::run() {
    while (self_.table.phase != Phase::finishing) {
        loop_.wait(next_due_ns(), [this](Key key, std::uint32_t events) { handle(key, events); });
        if (listens_again_ns_ != 0 && listens_again_ns_ <= now_ns()) {
            listens_again_ns_ = 0;
            loop_.watch(rp_handoff_listener_get_fd(listener_), {Kind::listener, 0});
        }
        serve_sessions();
        answer_late();
        if (self_.table.phase == Phase::quiet && is_idle() && !self_.has_reported()) {
            self_.report(static_cast<std::uint32_t>(sessions_.size()));
        }
    }
    finish();
}

// The brokers close their sessions, all of which are open.
void Backend::finish() {
    while (!sessions_.empty()) {
        loop_.wait(now_ns() + 10 * millisecond_ns, [](Key, std::uint32_t) {});
        serve_sessions();
    }
}

void run_backend(const Self &self) {
    Backend(self).run();
}

} // namespace rp::chaos
