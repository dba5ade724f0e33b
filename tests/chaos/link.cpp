// A broker's way to one backend.
#include "link.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace rp::chaos {

// Every frame is longer than what such a socket takes at once.
int Link::dial_with_small_buffers() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_of(*self_, index_).copy(address.sun_path, sizeof address.sun_path - 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int least = 1;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
    if (connect(fd, reinterpret_cast<const sockaddr *>(&address), sizeof address) == 0) {
        return fd;
    }
    close(fd);
    return -1;
}

void Link::open(rp_handoff_broker *broker, Random &random, Loop &loop) {
    static const std::uint32_t bounds[] = {8, 64, 256, 1024};
    if (session_ != nullptr || now_ns() < next_dial_ns_) {
        return;
    }
    next_dial_ns_ = now_ns() + 5 * millisecond_ns;
    rp_handoff_session_options options{};
    options.struct_size = sizeof options;
    options.max_in_flight = random.one_of(bounds);
    options.service_name = "chaos";
    const std::string path = socket_of(*self_, index_);
    if (random.percent(20)) {
        options.connection_fd = dial_with_small_buffers();
        if (options.connection_fd < 0) {
            return;
        }
    } else {
        options.socket_path = path.c_str();
    }
    rp_handoff_session *session = nullptr;
    const std::int32_t status = rp_handoff_session_create_broker(broker, &options, &session, nullptr);
    if (status == RP_HANDOFF_OK && rp_handoff_session_get_fd(session) < 0) { // no descriptor to be had: another time
        rp_handoff_session_destroy(session);
        return;
    }
    if (status == RP_HANDOFF_OK) {
        session_ = session;
        submitted_ = events_ = to_backend_ = 0;
        add(self_->life().broker.sessions);
        loop.watch(rp_handoff_session_get_fd(session_), {Kind::session, index_});
        return;
    }
    if (options.socket_path == nullptr) {
        close(options.connection_fd);
    }
    if (status != RP_HANDOFF_ERR_UNAVAILABLE && status != RP_HANDOFF_ERR_CLOSED) {
        self_->table.violation("a session cannot be opened: %s, errno %d", rp_handoff_strerror(status), errno);
    }
}

void Link::process() {
    const std::int32_t status = rp_handoff_session_process(session_);
    if (status != RP_HANDOFF_OK) {
        self_->table.violation("a broker's session cannot go on: %s", rp_handoff_strerror(status));
    }
}

void Link::on_opened() {
    rp_handoff_session_peer peer{};
    peer.struct_size = sizeof peer;
    const std::int32_t status = rp_handoff_session_get_peer(session_, &peer);
    peer_ = status == RP_HANDOFF_OK ? self_->table.life_of(peer.pid, Role::backend) : 0;
    if (peer_ == 0 || self_->table.life(peer_).index != index_) {
        self_->table.violation("a session with backend %u is with process %u", index_, peer.pid);
    }
}

bool Link::next_event(rp_handoff_event &event, rp_handoff_outcome &outcome) {
    event.struct_size = sizeof event;
    outcome.struct_size = sizeof outcome;
    if (rp_handoff_session_next_event(session_, &event, &outcome) != 1) {
        return false;
    }
    if (event.kind == RP_HANDOFF_EVENT_OPENED) {
        on_opened();
    } else if (event.kind == RP_HANDOFF_EVENT_OUTCOME) {
        ++events_;
        to_backend_ += event.ownership == RP_HANDOFF_OWNER_BACKEND ? 1u : 0u;
    } else {
        is_closing_ = true;
    }
    return true;
}

bool Link::is_at_rest() const {
    rp_handoff_session_statistics counts{};
    counts.struct_size = sizeof counts;
    return is_open() && rp_handoff_session_get_statistics(session_, &counts) == RP_HANDOFF_OK && counts.in_flight == 0;
}

void Link::check_counters() const {
    rp_handoff_session_statistics counts{};
    counts.struct_size = sizeof counts;
    rp_handoff_session_get_statistics(session_, &counts);
    if (counts.submitted != submitted_ || counts.completed != to_backend_ ||
        counts.fallbacks != events_ - to_backend_ || submitted_ != events_) {
        self_->table.violation(
            "session counters: %llu submitted, %llu completed, %llu fallbacks; but %llu, %llu, "
            "%llu were seen",
            static_cast<unsigned long long>(counts.submitted), static_cast<unsigned long long>(counts.completed),
            static_cast<unsigned long long>(counts.fallbacks), static_cast<unsigned long long>(submitted_),
            static_cast<unsigned long long>(to_backend_), static_cast<unsigned long long>(events_ - to_backend_));
    }
}

void Link::end(Loop &loop, bool at_once) {
    if (!at_once) {
        check_counters();
    }
    loop.forget(rp_handoff_session_get_fd(session_));
    rp_handoff_session_destroy(session_);
    session_ = nullptr;
    peer_ = 0;
    is_closing_ = false;
}

std::uint64_t Link::due_ns() const {
    std::uint64_t timeout = RP_HANDOFF_FOREVER;
    if (session_ == nullptr) {
        return next_dial_ns_;
    }
    rp_handoff_session_get_timeout(session_, &timeout);
    return timeout == RP_HANDOFF_FOREVER ? timeout : now_ns() + timeout;
}

} // namespace rp::chaos
