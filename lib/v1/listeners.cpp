// Where a backend's brokers come from: a path that it makes, listeners and connections from outside.
#include "os/endpoint.hpp"
#include "os/peer.hpp"
#include "v1/backend.hpp"

namespace rp::handoff {

namespace {

constexpr Duration accept_back_off = std::chrono::milliseconds(50);
constexpr int accepts_at_once = 16;

} // namespace

Status Backend::listen(const char *path) {
    {
        const Lock lock(mutex_);
        if (endpoint_) {
            return Status::limit;
        }
    }
    Result<os::Endpoint> endpoint = os::Endpoint::listen(path); // may wait for another process
    if (!endpoint) {
        return endpoint.error();
    }
    const Lock lock(mutex_);
    if (endpoint_) {
        return Status::limit;
    }
    const Status added = add({endpoint->fd(), false, UniqueFd()});
    if (added == Status::ok) {
        endpoint_.emplace(std::move(*endpoint));
    }
    return added;
}

Status Backend::add_listener(int fd, bool trusted) {
    const Lock lock(mutex_);
    if (const Status status = os::adopt_listener(fd); status != Status::ok) {
        return status;
    }
    const Status added = add({fd, trusted, UniqueFd()});
    if (added == Status::ok) {
        listeners_.at(next_id_ - 1).owned.reset(fd);
    }
    return added;
}

Status Backend::add(Listener listener) {
    const int fd = listener.fd;
    listeners_.emplace(next_id_, std::move(listener));
    if (!poller_.add(fd, next_id_)) {
        listeners_.erase(next_id_);
        return Status::system;
    }
    poller_.enable(fd, next_id_, listening_);
    ++next_id_;
    return Status::ok;
}

Status Backend::add_connection(int fd, bool trusted) {
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
    undo.fd = -1;
    ++next_id_;
    return Status::ok;
}

void Backend::accept_from(const Listener &listener, Instant now) {
    for (int i = 0; i < accepts_at_once && connections_.size() < config_.max_connections; ++i) {
        auto accepted = os::accept(listener.fd);
        if (!accepted) {
            if (accepted.error() != EAGAIN) {
                accept_again_at_ = after(now, accept_back_off); // out of descriptors or memory
            }
            return;
        }
        const auto peer = os::peer_credentials(accepted->get());
        if (!listener.trusted && (!peer || config_.peers.check(*peer, 0) != Cause::none)) {
            ++rejected_peers_;
            continue;
        }
        Connection &connection =
            connections_.add(next_id_++, *accepted, peer.value_or(PeerCredentials{}), false, config_.max_frame);
        rest(connection, now);
    }
}

void Backend::enable_listeners(Instant now) noexcept {
    const bool wanted = connections_.size() < config_.max_connections && is_due(accept_again_at_, now);
    if (wanted == listening_) {
        return;
    }
    listening_ = wanted;
    for (const auto &[id, listener] : listeners_) {
        poller_.enable(listener.fd, id, wanted);
    }
}

} // namespace rp::handoff
