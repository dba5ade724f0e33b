// Where a backend's brokers come from: a path that it makes, listeners and connections from outside.
#include <cerrno>
#include <fcntl.h>

#include "os/endpoint.hpp"
#include "os/peer.hpp"
#include "v1/backend.hpp"

namespace rp::handoff {

namespace {

constexpr Duration accept_back_off = std::chrono::milliseconds(50);
constexpr int accepts_at_once = 16;

} // namespace

Status Backend::listen(const char *path, Explanation &why) {
    {
        const Lock lock(mutex_);
        if (has_path_) {
            return why.because(Status::limit, "path", "the backend listens at a path already");
        }
    }
    Result<os::Endpoint> endpoint = os::Endpoint::listen(path, why); // may wait for another process
    if (!endpoint) {
        return endpoint.error();
    }
    const auto shared = std::make_shared<os::Endpoint>(std::move(*endpoint));
    const Lock lock(mutex_);
    if (has_path_) {
        return why.because(Status::limit, "path", "the backend listens at a path already");
    }
    const Status added = add({shared, false});
    has_path_ = added == Status::ok;
    return added;
}

Status Backend::add_listener(std::shared_ptr<os::Endpoint> endpoint, bool trusted) {
    const Lock lock(mutex_);
    return add({std::move(endpoint), trusted});
}

Status Backend::add_listener(int fd, bool trusted, Explanation &why) {
    Result<os::Endpoint> endpoint = os::Endpoint::adopt(fd, why);
    if (!endpoint) {
        return endpoint.error();
    }
    const auto shared = std::make_shared<os::Endpoint>(std::move(*endpoint));
    const Status added = add_listener(shared, trusted);
    if (added == Status::ok) {
        shared->keep();
    }
    return added;
}

Status Backend::add(const Listener &listener) {
    const int fd = listener.endpoint->fd();
    listeners_.emplace(next_id_, listener);
    if (!poller_.add(fd, next_id_)) {
        listeners_.erase(next_id_);
        return Status::system;
    }
    poller_.enable(fd, next_id_, listening_);
    ++next_id_;
    return Status::ok;
}

Status Backend::add_connection(int fd, bool trusted) {
    if (fd < 0 || fd > STDERR_FILENO) {
        return take_connection(fd, trusted);
    }
    UniqueFd higher(fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    if (!higher) {
        return errno == EBADF ? Status::invalid_argument : Status::system;
    }
    const Status taken = take_connection(higher.get(), trusted);
    if (taken == Status::ok) {
        higher.release();
        UniqueFd(fd).reset();
    }
    return taken;
}

Status Backend::take_connection(int fd, bool trusted) {
    const Lock lock(mutex_);
    if (const Status status = os::check_connection(fd); status != Status::ok) {
        return status;
    }
    const auto peer = os::peer_credentials(fd);
    if (!trusted && (!peer || config_.peers.check(*peer, 0) != Cause::none)) {
        ++rejected_peers_;
        return Status::peer_rejected;
    }
    if (connections_.size() >= config_.max_connections) {
        return Status::limit;
    }
    if (!poller_.add(fd, next_id_)) {
        return Status::system;
    }
    struct Undo {
        os::Poller &poller;
        int fd;
        ~Undo() {
            if (fd >= 0) {
                poller.remove(fd);
            }
        }
    } undo{poller_, fd};
    UniqueFd none;
    Connection &added = connections_.add(next_id_, none, peer.value_or(PeerCredentials{}), true, config_.max_frame);
    added.fd.reset(fd);
    os::ask_why_missing(fd);
    undo.fd = -1;
    ++next_id_;
    return Status::ok;
}

void Backend::accept_from(const Listener &listener, Instant now, Leavings &leavings) {
    for (int i = 0; i < accepts_at_once && leavings.has_room() && connections_.size() < config_.max_connections; ++i) {
        auto accepted = os::accept(listener.endpoint->fd());
        if (!accepted) {
            if (accepted.error() != EAGAIN) {
                accept_again_at_ = after(now, accept_back_off); // out of descriptors or memory
            }
            return;
        }
        UniqueFd &socket = leavings.hold(std::move(*accepted));
        const auto peer = os::peer_credentials(socket.get());
        if (!listener.trusted && (!peer || config_.peers.check(*peer, 0) != Cause::none)) {
            ++rejected_peers_;
            continue;
        }
        os::ask_why_missing(socket.get());
        Connection &connection =
            connections_.add(next_id_++, socket, peer.value_or(PeerCredentials{}), false, config_.max_frame);
        leavings.forget_last();
        rest(connection, now, leavings);
    }
}

void Backend::enable_listeners(Instant now) noexcept {
    const bool wanted = connections_.size() < config_.max_connections && is_due(accept_again_at_, now);
    if (wanted == listening_) {
        return;
    }
    listening_ = wanted;
    for (const auto &[id, listener] : listeners_) {
        poller_.enable(listener.endpoint->fd(), id, wanted);
    }
}

} // namespace rp::handoff
