#include "v1/backend.hpp"

#include <algorithm>
#include <cerrno>
#include <poll.h>

#include "os/descriptor.hpp"
#include "v1/backend_tokens.hpp"

namespace rp::handoff {

namespace {

using State = Connection::State;

} // namespace

Result<std::shared_ptr<Backend>> Backend::create(Config config, std::unique_ptr<TimeSource> time) {
    if (!os::supported) {
        return Failure(Status::unsupported);
    }
    Result<os::Poller> poller = os::Poller::create(true);
    if (!poller) {
        return Failure(poller.error());
    }
    return std::make_shared<Backend>(std::move(config), std::move(time), std::move(*poller));
}

Backend::Backend(Config config, std::unique_ptr<TimeSource> time, os::Poller poller)
    : config_(std::move(config)), time_(std::move(time)), poller_(std::move(poller)), tokens_(config_.tokens) {}

// ---- tokens ---------------------------------------------------------------------------------------------------------

Status Backend::expect(const Token &token) {
    const Instant now = time_->now(); // never with the lock held: it may be a callback
    const Lock lock(mutex_);
    return tokens_.expect(token, now);
}

bool Backend::revoke(const Token &token) noexcept {
    const Lock lock(mutex_);
    return tokens_.revoke(token);
}

Status Backend::consume(const Token &expected, ByteView presented) noexcept {
    const Instant now = time_->now();
    const Lock lock(mutex_);
    return accept_token(tokens_, expected, presented, now);
}

Status Backend::consume(const Token &token) noexcept {
    return consume(token, token.view());
}

// Whether the offer may be shown to the caller. Consumes nothing: that is for accept to do. The expected token is the
// one that came beside the descriptor, and what the offer presents has to be that.
Status Backend::admit(const Token &sideband, ByteView presented, Instant now) {
    const Result<Token> token = Token::parse(presented);
    if (!token) {
        return token.error();
    }
    const bool was_known = tokens_.contains(sideband);
    tokens_.expire(now);
    const bool known = tokens_.contains(sideband);
    if (config_.token_policy == TokenPolicy::expected) {
        if (!known) {
            return was_known ? Status::token_expired : Status::token_not_pending;
        }
        return *token == sideband ? Status::ok : Status::token_mismatch;
    }
    if (*token != sideband) {
        return Status::token_mismatch;
    }
    used_.expire(now);
    if (known || used_.find(sideband)) {
        return Status::token_not_pending; // a replay
    }
    remember(sideband, now);
    return tokens_.expect(sideband, now);
}

void Backend::remember(const Token &token, Instant now) {
    if (used_.size() >= tokens_.config().max_pending) {
        used_.erase(used_.first());
    }
    used_.insert(token, after(now, tokens_.config().ttl), {});
}

// ---- the engine -----------------------------------------------------------------------------------------------------

Result<std::unique_ptr<Offer>> Backend::next_offer(std::optional<Duration> timeout) {
    Instant now = time_->now();
    const Instant until = timeout ? after(now, *timeout) : end_of_time;
    Leavings leavings;
    Lock lock(mutex_);
    const Departure departure{*this};
    for (;;) {
        if (stopped_) {
            return Failure(Status::closed);
        }
        if (const Status status = advance(now, leavings); status != Status::ok) {
            return Failure(status);
        }
        settle(lock, leavings);
        if (std::unique_ptr<Offer> offer = take_ready()) {
            return offer;
        }
        if (is_due(until, now)) {
            return Failure(Status::timed_out);
        }
        asleep_until_ = nearest_deadline();
        const Instant wake_at = std::min(until, asleep_until_);
        ++waiters_;
        lock.unlock();
        const Wait waited = time_->wait(poller_.fd(), POLLIN, wake_at);
        now = time_->now();
        if (waited == Wait::timed_out) {
            now = std::max(now, wake_at); // also with a clock that stands still
        }
        lock.lock();
        --waiters_;
    }
}

// Whoever leaves, with what result ever, hands the watch over the nearest deadline to one who stays.
Backend::Departure::~Departure() {
    if (backend.waiters_ > 0) {
        backend.poller_.nudge();
    } else {
        backend.asleep_until_ = {};
    }
}

Status Backend::advance(Instant now, Leavings &leavings) {
    expire(now, leavings);
    enable_listeners(now);
    const os::Poller::Ready ready = poller_.ready();
    if (ready.os_error != 0) {
        errno = ready.os_error;
        return Status::system;
    }
    for (std::size_t i = 0; i < ready.count && leavings.has_room(); ++i) {
        look_at(ready.ids[i], now, leavings);
    }
    enable_listeners(now);
    return Status::ok;
}

void Backend::look_at(os::Poller::Id id, Instant now, Leavings &leavings) {
    if (id == os::Poller::nudge_id) {
        poller_.take_nudge();
    } else if (id == os::Poller::stop_id && !stopped_) {
        poller_.take_stop(); // somebody else wrote there
        if (stopped_) {
            poller_.stop();
        }
    } else if (const auto listener = listeners_.find(id); listener != listeners_.end()) {
        accept_from(listener->second, now, leavings);
    } else if (Connection *connection = connections_.find(id); connection != nullptr) {
        receive(*connection, now, leavings);
    }
}

// Closes what a turn has left and tells the refusals of it, with nothing locked meanwhile.
void Backend::settle(Lock &lock, Leavings &leavings) noexcept {
    Connection *rejected = take_rejected();
    while (rejected != nullptr || !leavings.empty()) {
        lock.unlock();
        leavings.clear();
        if (rejected != nullptr) {
            tell_rejection(*rejected);
        }
        lock.lock();
        rejected = take_rejected();
    }
}

void Backend::receive(Connection &connection, Instant now, Leavings &leavings) {
    const Status status = connection.receiver.step(connection.fd.get(), leavings.unasked);
    if (status == Status::frame_incomplete) {
        if (connection.state == State::resting && connection.receiver.started()) {
            connections_.move(connection, State::receiving, after(now, config_.io_timeout));
        }
        return;
    }
    const auto offer = status == Status::ok ? wire::open_offer(connection.receiver.body())
                                            : tl::unexpected(wire::FrameError{status, {}});
    if (!offer) {
        receive_nothing(connection, offer.error().status, leavings);
        return;
    }
    connection.offer = *offer;
    connection.received_at = now;
    connection.has_offered = true;
    decide(connection, now, leavings);
}

// The connection is of no further use. A broker that speaks the other protocol is told so first.
void Backend::receive_nothing(Connection &connection, Status reason, Leavings &leavings) noexcept {
    rejected_offers_ += reason == Status::closed ? 0 : 1;
    if (reason == Status::protocol) {
        ++session_brokers_;
        reject(connection, reason);
    } else {
        drop(connection, leavings);
    }
}

void Backend::decide(Connection &connection, Instant now, Leavings &leavings) {
    if (const os::Truncation lost = connection.receiver.lost(); lost != os::Truncation::none) {
        ++rejected_offers_;
        reject(connection, lost == os::Truncation::descriptors ? Status::limit_descriptors : Status::descriptors);
        return;
    }
    // Without memory to remember the token the offer is lost: its broker sees the end of the connection.
    struct Guard {
        Backend &backend;
        Leavings &leavings;
        Connection *connection;
        ~Guard() {
            if (connection != nullptr) {
                backend.drop(*connection, leavings);
            }
        }
    } guard{*this, leavings, &connection};
    const Status admitted = admit(connection.receiver.sideband(), connection.offer.token, now);
    guard.connection = nullptr;
    if (admitted != Status::ok) {
        ++rejected_tokens_;
        reject(connection, admitted);
        return;
    }
    poller_.remove(connection.fd.get());
    connections_.move(connection, State::ready);
}

void Backend::reject(Connection &connection, Status reason) noexcept {
    connection.rejection = reason;
    poller_.remove(connection.fd.get());
    connections_.move(connection, State::rejected);
}

// From then on it is the caller's alone.
Connection *Backend::take_rejected() noexcept {
    Connection *const connection = connections_.first_rejected();
    if (connection != nullptr) {
        connections_.move(*connection, State::offered);
    }
    return connection;
}

// Without waiting: a socket that cannot take an answer is not worth keeping. The duplicate goes first: once the broker reads
// the refusal, the connection is its own again, and so is its SO_LINGER.
void Backend::tell_rejection(Connection &connection) noexcept {
    connection.receiver.take_fd().reset();
    const wire::HandoffOffer &offer = connection.offer;
    const Text text = rejection_text(connection.rejection, offer.token.size());
    const wire::AckMessage ack =
        wire::encode_ack_frame({offer.token, false, text.view(), offer.correlation_id}, wire::Kind::response);
    const bool delivered = os::send(connection.fd.get(), -1, ack.view()).bytes == ack.size;
    answers_undelivered_ += delivered ? 0 : 1;
    answered(connection, delivered && connection.rejection != Status::protocol);
}

// Ready for the next offer. One that the caller did not give us has so much time for it.
void Backend::rest(Connection &connection, Instant now, Leavings &leavings) noexcept {
    connection.receiver.reset();
    connection.offer = {};
    if (connection.lasting) {
        connections_.move(connection, State::resting);
    } else {
        connections_.move(connection, State::receiving, after(now, config_.io_timeout));
    }
    if (!poller_.add(connection.fd.get(), connection.id)) {
        drop(connection, leavings);
    }
}

void Backend::drop(Connection &connection, Leavings &leavings) noexcept {
    poller_.remove(connection.fd.get());
    connections_.take_out(connection, leavings.dropped);
}

void Backend::expire(Instant now, Leavings &leavings) noexcept {
    for (Connection *first = connections_.first_receiving(); first != nullptr && is_due(first->deadline, now);
         first = connections_.first_receiving()) {
        const bool silent = !first->receiver.started() && !first->has_offered;
        silent_connections_ += silent ? 1 : 0;
        rejected_offers_ += silent || first->receiver.started() ? 1 : 0;
        drop(*first, leavings);
    }
}

Instant Backend::nearest_deadline() noexcept {
    const Connection *first = connections_.first_receiving();
    const Instant deadline = first != nullptr ? first->deadline : end_of_time;
    return listening_ || connections_.size() >= config_.max_connections ? deadline
                                                                        : std::min(deadline, accept_again_at_);
}

Instant Backend::next_deadline() noexcept {
    const Lock lock(mutex_);
    asleep_until_ = nearest_deadline();
    return asleep_until_;
}

std::unique_ptr<Offer> Backend::take_ready() {
    Connection *connection = connections_.first_ready();
    if (connection == nullptr) {
        return nullptr;
    }
    Offer::Info info{std::string(connection->offer.service_name), connection->offer.correlation_id, connection->peer,
                     connection->received_at, connection->receiver.sideband()};
    auto offer = std::make_unique<Offer>(shared_from_this(), *connection, std::move(info));
    connections_.move(*connection, State::offered);
    return offer;
}

// ---- the end --------------------------------------------------------------------------------------------------------

void Backend::stop() noexcept {
    stopped_ = true;
    poller_.stop();
}

void Backend::shutdown() noexcept {
    Leavings leavings;
    std::list<Connection> refused;
    std::unordered_map<os::Poller::Id, Listener> listeners;
    {
        const Lock lock(mutex_);
        shut_ = true;
        stopped_ = true;
        while (Connection *connection = connections_.first_ready()) {
            connections_.take_out(*connection, refused);
        }
        for (auto next : {&Connections::first_receiving, &Connections::first_resting, &Connections::first_rejected}) {
            while (Connection *connection = (connections_.*next)()) {
                drop(*connection, leavings);
            }
        }
        for (const auto &[id, listener] : listeners_) {
            poller_.remove(listener.endpoint->fd()); // others may keep it
        }
        listeners_.swap(listeners);
    }
    for (Connection &connection : refused) {
        connection.receiver.take_fd().reset();
        const wire::AckMessage ack = wire::encode_ack_frame(
            {connection.offer.token, false, "the backend is shutting down", connection.offer.correlation_id},
            wire::Kind::response);
        os::send(connection.fd.get(), -1, ack.view());
        ++refused_;
    }
    leavings.dropped.splice(leavings.dropped.end(), refused);
}

Backend::Statistics Backend::statistics() noexcept {
    const Lock lock(mutex_);
    const std::size_t unanswered = connections_.unanswered();
    return {connections_.size() - unanswered,
            unanswered,
            accepted_,
            refused_,
            rejected_peers_,
            rejected_tokens_,
            rejected_offers_,
            answers_undelivered_,
            silent_connections_,
            session_brokers_};
}

} // namespace rp::handoff
